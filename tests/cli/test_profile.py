"""`forebay profile` against engines whose profile is known, on real sockets."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest
import yaml
from tests.cli.engines import SLOW, beside, profile

from forebay.api.durations import parse_duration
from forebay.api.inference_pool import Profile as DeclaredProfile
from forebay.api.inference_pool import Task
from forebay.cli.main import main
from forebay.cli.profiled import curve
from forebay.dataplane.http.errors import JSON
from forebay.dataplane.http.message import Handler, Request, Response
from forebay.engines.sim.stepping import Profile
from forebay.planning.fit import Fit
from forebay.profiling.capacity import capacity
from forebay.profiling.curve import Measured, concurrencies, knee
from forebay.profiling.load import Endpoint, Level


def test_the_profile_of_an_engine_is_found_and_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The time of a step within a fifth, alone and full; a busy machine makes it longer, and three times cannot be told apart so well."""
    out = tmp_path / "profile.yaml"
    with beside() as port:
        args: tuple[str, ...] = ("--seconds", "4", "--max-concurrency", "16", "--input-tokens", "120", "--output-tokens", "30", "--json")
        args = (*args, "--objective", "timeToFirstToken=p95:2s", "--objective", "endToEnd=p90:8s")
        assert profile(port, *args, "--accelerator", "h100", "--out", str(out)) == 0
    found = json.loads(capsys.readouterr().out)
    times = [found["iteration"][name]["seconds"] for name in ("base", "perToken", "perKvToken")]
    for tokens, context in ((1, 150), (8, 1200), (60, 1200)):
        expected = SLOW.step_s(tokens, context)
        assert times[0] + times[1] * tokens + times[2] * context == pytest.approx(expected, rel=0.25)
    levels = [level["concurrency"] for level in found["levels"]]
    assert levels == [1, 2, 4, 8, 16][: len(levels)] and found["maxConcurrency"] in levels
    full, held = found["holds"]
    assert full["objectives"] == [] and full["requestsPerSecond"] >= held["requestsPerSecond"] > 0
    assert held["objectives"] == ["p95 of timeToFirstToken within 2s", "p90 of endToEnd within 8s"]
    (entry,) = yaml.safe_load(out.read_text())
    declared = DeclaredProfile.model_validate(entry)
    assert declared.accelerator == "h100" and declared.iteration.base == pytest.approx(times[0], rel=0.01)


def test_batches_of_an_embeddings_engine(capsys: pytest.CaptureFixture[str]) -> None:
    with beside(Profile(0.04, 0.0004, 0.0, 8)) as port:
        assert (
            profile(
                port,
                "--task",
                "Embeddings",
                "--seconds",
                "2",
                "--max-concurrency",
                "8",
                "--input-tokens",
                "60",
                "--objective",
                "endToEnd=p99:1ms",
            )
            == 0
        )
    told = capsys.readouterr().out
    (entry,) = yaml.safe_load(told[told.index("- accelerator:") :])
    base_s, per_token_s = (parse_duration(entry["iteration"][name]) for name in ("base", "perToken"))
    for tokens in (75, 600):
        assert base_s + per_token_s * tokens == pytest.approx(0.04 + 0.0004 * tokens, rel=0.3)
    assert re.search(r"inputs/s of 60 tokens: its (fitted|measured) throughput, less a tenth", told)
    assert "one replica never holds endToEnd 1ms: idle it needs " in told
    assert "perKvToken" not in entry["iteration"] and "AT ONCE" in told and "█" in told


def test_the_inputs_of_a_batch_are_alike_and_batches_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    """An engine that pads a batch to its longest input computes more than it counts: of unequal ones a token seemed to take 1.75 times."""
    seen: list[list[int]] = []

    async def handler(request: Request, response: Response) -> None:
        if request.method != "POST":
            response.send(404, b"{}", [JSON])
            return
        seen.append([len(text.split()) for text in orjson.loads(request.body)["input"]])
        response.send(200, orjson.dumps({"data": [], "usage": {"prompt_tokens": sum(seen[-1])}}), [JSON])

    with beside(handler=handler) as port:
        args = ("--task", "Embeddings", "--model", "m", "--seconds", "1", "--max-concurrency", "4", "--input-tokens", "60")
        assert profile(port, *args) == 0
    assert "AT ONCE" in capsys.readouterr().out
    assert {len(lengths) for lengths in seen} == {1, 2, 4}
    assert all(len(set(lengths)) == 1 for lengths in seen) and {lengths[0] for lengths in seen} == {15, 60, 105}


def answering(status: int, body: bytes) -> Handler:
    async def handler(request: Request, response: Response) -> None:
        response.send(status if request.method == "POST" else 404, body, [JSON])

    return handler


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"{}", "--api-key-from-env"),
        (404, b'{"error": "no such model"}', "say --model and --task"),
        (500, b"broken", "the engine answers 500: broken"),
        (200, b'{"choices": [], "data": []}', "reports no usage"),
        (429, b"{}", "30 are needed: the engine turned every request away (429 or 503)"),
        (503, b"{}", "30 are needed: the engine turned every request away (429 or 503)"),
    ],
)
def test_what_is_wrong_with_an_engine_is_said(status: int, body: bytes, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with beside(handler=answering(status, body)) as port:
        assert profile(port, "--model", "m", "--seconds", "1") == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "key", "words"),
    [
        ("/wrong", "good", "the engine answers 404 to /wrong/v1/models: correct the URL, which ends before /v1"),
        ("/v1/chat/completions", "good", "correct the URL, which ends before /v1"),
        ("", "", "the engine answers 401: it wants a key, name the variable that holds it with --api-key-from-env"),
        ("", "bad", "the engine answers 401: the key in the variable that --api-key-from-env names is not one that it takes"),
    ],
)
def test_an_engine_that_does_not_list_its_models_says_why(
    path: str, key: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All came to "say --model": a URL with a path too much, and an engine with a key, whose models would then not answer either."""

    async def handler(request: Request, response: Response) -> None:
        good = (request.header(b"authorization") or b"") == b"Bearer good"
        found = request.path == "/v1/models"
        response.send((200 if good else 401) if found else 404, b'{"data": [{"id": "m"}]}', [JSON])

    monkeypatch.setenv("KEY", key)
    with beside(handler=handler) as port:
        assert main(["profile", f"http://127.0.0.1:{port}{path}", *(["--api-key-from-env", "KEY"] if key else [])]) == 1
    assert words in capsys.readouterr().err


def test_ctrl_c_tells_what_was_measured_and_writes_nothing(tmp_path: Path) -> None:
    """Minutes of measuring went without a word."""
    second, out = threading.Event(), tmp_path / "profile.yaml"

    async def handler(request: Request, response: Response) -> None:
        if request.method != "POST":
            response.send(404, b"{}", [JSON])
            return
        if len(orjson.loads(request.body)["input"]) > 1:
            second.set()
        response.send(200, b'{"data": [], "usage": {"prompt_tokens": 60}}', [JSON])

    with beside(handler=handler) as port:
        args = ["--task", "Embeddings", "--model", "m", "--seconds", "1", "--max-concurrency", "4096", "--out", str(out)]
        command = [sys.executable, "-m", "forebay", "profile", f"http://127.0.0.1:{port}", *args]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert second.wait(60), "the first level was measured"
            running.send_signal(signal.SIGINT)
            told, _ = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 130 and b"AT ONCE" in told and not out.exists()


def test_an_engine_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert profile(1, "--model", "m") == 1
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["http://user:secret@127.0.0.1:1"], "http://127.0.0.1:1: a URL of a host, and perhaps a path, is needed; a key comes by"),
        (["http://127.0.0.1:1/?a=b"], "a URL of a host, and perhaps a path, is needed"),
        (["ftp://x"], "is not a URL such as http://127.0.0.1:8000"),
        (["http://127.0.0.1:1", "--model", "m", "--api-key-from-env", "NOT_SET_ANYWHERE"], "holds no key"),
        (["http://127.0.0.1:1", "--accelerator", "H 100"], "is not a name"),
        (["http://127.0.0.1:1", "--seconds", "0"], "--seconds"),
        (["http://127.0.0.1:1", "--objective", "latency=p95:1s"], "is not METRIC=pQ:TARGET"),
        (["http://127.0.0.1:1", "--objective", "endToEnd=p0:1s"], "is not METRIC=pQ:TARGET"),
        (["http://127.0.0.1:1", "--objective", "endToEnd=p95:0s"], "longer than nothing"),
    ],
)
def test_wrong_usage(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", *args]) == 64
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_too_little_is_not_fitted_but_shown_with_what_would_do(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with beside() as port:
        args = ("--max-concurrency", "2", "--input-tokens", "20", "--output-tokens", "20", *(["--json"] if as_json else []))
        assert profile(port, "--seconds", "2", *args) == 1
        told = capsys.readouterr()
        (enough,) = re.findall(r"only \d+ observations of steps were made, 30 are needed: --seconds (\d+) would be enough", told.err)
        if as_json:
            found = json.loads(told.out)
            assert found["iteration"] is None and found["holds"] == [] and [level["concurrency"] for level in found["levels"]] == [1, 2]
            return
        assert "AT ONCE" in told.out and "█" in told.out and "- accelerator" not in told.out
        assert profile(port, "--seconds", enough, *args) == 0


def test_a_file_that_cannot_be_written_is_noticed_before_the_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = tmp_path / "profile.yaml"
    for out, words in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none/profile.yaml", "No such file"),
        (Path("/proc/profile.yaml"), "No such"),
    ):
        assert profile(1, "--model", "m", "--out", str(out)) == 1
        assert f"--out {out}: {words}" in capsys.readouterr().err
    assert profile(1, "--model", "m", "--out", str(fresh)) == 1
    assert "does not answer" in capsys.readouterr().err and not fresh.exists()


def test_what_was_measured_is_told_before_what_fails_after_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The disk is full."""
    with beside(Profile(0.002, 0.00002, 0.0, 8)) as port:
        args = ("--seconds", "9", "--max-concurrency", "2", "--input-tokens", "20", "--output-tokens", "20")
        assert profile(port, *args, "--out", "/dev/full") == 1
    told = capsys.readouterr()
    assert "--out /dev/full: No space left" in told.err and "AT ONCE" in told.out and "- accelerator: gpu" in told.out
    assert "written to" not in told.out


TOKEN = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}\n\n'
ERROR = b'data: {"error": {"message": "out of memory"}}\n\n'


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (TOKEN + TOKEN, "its stream ended without [DONE]"),
        (TOKEN + TOKEN + USAGE, "its stream ended without [DONE]"),
        (TOKEN + ERROR + b"data: [DONE]\n\n", "its stream has an error in place of tokens"),
        (TOKEN + TOKEN + b"data: [DONE]\n\n", "reports no usage"),
    ],
)
def test_a_stream_without_its_end_is_no_answer(sent: bytes, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a gateway counts it: what was cut off is lost, and its times are not those of whole answers."""

    async def handler(request: Request, response: Response) -> None:
        if request.method != "POST":
            response.send(404, b"{}", [JSON])
            return
        response.start(200, [(b"content-type", b"text/event-stream")])
        await response.write(sent)
        response.end()

    with beside(handler=handler) as port:
        assert profile(port, "--model", "m", "--seconds", "1", "--max-concurrency", "1") == 1
    assert words in capsys.readouterr().err


def test_the_curve_until_the_engine_fails_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    answered = 0

    async def handler(request: Request, response: Response) -> None:
        nonlocal answered
        if request.method != "POST":
            response.send(404, b"{}", [JSON])
        elif len(orjson.loads(request.body)["input"]) < 4:
            answered += 1
            response.send(200, orjson.dumps({"data": [], "usage": {"prompt_tokens": 60 + answered % 3}}), [JSON])
        else:
            response.send(500, b"out of memory")

    with beside(handler=handler) as port:
        args = ("--task", "Embeddings", "--model", "m", "--seconds", "1", "--max-concurrency", "8", "--input-tokens", "60")
        assert profile(port, *args) == 1
    told = capsys.readouterr()
    assert "the engine answers 500: out of memory" in told.err and "AT ONCE" in told.out and answered > 30


def test_a_replica_holds_no_more_than_it_was_seen_to_do() -> None:
    """986 tokens/s are 7.7 answers/s of 128; times that were fitted to other steps promise more."""
    fit = Fit((0.01, 0.00001, 0.0), ((0.0,) * 3,) * 3)
    promised = [("endToEnd", 0.95, 60.0)]
    for tokens_per_s, limit in ((986.0, "measured"), (98600.0, "fitted")):
        found = capacity(Measured(fit, 64, tokens_per_s), Task.CHAT, 512, 128, promised)
        assert {one.limit for one in found} == {limit}
        assert [one.requests_per_s == pytest.approx(0.9 * tokens_per_s / 128) for one in found] == [limit == "measured"] * 2
        assert f": its {limit} throughput, less a tenth" in found[0].said
        assert ("(its measured throughput, less a tenth)" in found[1].said) == (limit == "measured")


def a_curve(*throughputs: float) -> list[Level]:
    return [Level(2**i, span_s=1.0, output_tokens=round(t)) for i, t in enumerate(throughputs)]


def test_the_knee_is_where_twice_as_many_stop_paying() -> None:
    assert knee(a_curve(100, 190, 350, 600, 640, 650), Task.CHAT) == (8, True)
    assert knee(a_curve(100, 190, 350), Task.CHAT) == (4, False)
    assert knee(a_curve(100, 100), Task.CHAT) == (1, True)
    refused = a_curve(100, 190, 300)
    refused[2].refused = 1
    assert knee(refused, Task.CHAT) == (2, True)


@pytest.mark.parametrize(("most", "said"), [(4, True), (8, False)])
def test_a_curve_that_ended_early_is_not_said_to_go_on(most: int, said: bool) -> None:
    """The engine failed at eight: to ask for more at once finds no knee."""
    endpoint = Endpoint("127.0.0.1", 8000, "", "m", Task.CHAT)
    told = curve(endpoint, a_curve(1.4, 2, 4), 100, most)
    assert any("raise --max-concurrency" in line for line in told) == said
    assert told[3].split()[:2] == ["1", "1.0"]


def test_concurrencies_end_with_the_most() -> None:
    assert [concurrencies(n) for n in (1, 2, 5, 8, 12)] == [[1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8], [1, 2, 4, 8, 12]]

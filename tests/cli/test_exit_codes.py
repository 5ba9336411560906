"""What commands end with where a file is not what they need: 1, whichever file it is, and a message that says what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from forebay.cli.main import COMMANDS, NO, main

QUICKSTART = str(Path(__file__).parents[2] / "examples" / "quickstart")
SIMULATE = ["simulate", "-f", QUICKSTART, "--pool", "chat", "--workload"]

BAD = {
    "binary": b"\x89PNG\r\n\x00\xff\xfe",
    "empty": b"",
    "broken": b"a: [\n",
    "text": b"hello\n",
    "list": b"[1, 2]\n",
    "foreign": b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
    "schema": b"apiVersion: forebay.dev/v1alpha1\nkind: InferencePool\nmetadata: {name: x}\nspec: {bogus: 1}\n",
}

READERS = {
    "plan -f": (["plan", "-f"], []),
    "plan --against": (["plan", "-f", QUICKSTART, "--against"], []),
    "plan --shared-limits": (["plan", "-f", QUICKSTART, "--against", "{records}", "--shared-limits"], []),
    "plan --kubeconfig": (["plan", "--kubeconfig"], []),
    "top": (["top", "--once", "--kubeconfig"], []),
    "explain": (["explain", "chat", "--kubeconfig"], []),
    "replay": (["replay"], []),
    "simulate -f": (["simulate", "-f"], ["--workload", "{requests}"]),
    "simulate --workload": (SIMULATE, []),
    "simulate --spot-events": ([*SIMULATE, "{requests}", "--spot-events"], []),
    "simulate --lengths": ([*SIMULATE, "{rates}", "--lengths"], []),
    "up": (["up"], []),
    "up --shared-limits": (["up", QUICKSTART, "--shared-limits"], []),
    "operator --shared-limits": (["operator", "--image", "a:1", "--shared-limits"], []),
    "engine embeddings": (["engine", "embeddings", "--port", "0", "--weights"], []),
}

NO_LIMITS_YET = {("up --shared-limits", "empty"), ("operator --shared-limits", "empty"), ("plan --shared-limits", "empty")}
"""A file of limits may be empty."""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files that nothing is wrong with, by the words that stand for them."""
    (tmp_path / "requests.csv").write_text("arrival_time_s,input_tokens,output_tokens\n1,40,20\n")
    (tmp_path / "rates.csv").write_text("ts_s,total_rate_rps\n0,1\n60,1\n")
    decided = [*SIMULATE, str(tmp_path / "requests.csv"), "--decisions", str(tmp_path / "records.jsonl")]
    assert main(decided) in (0, 2)
    return {"{requests}": "requests.csv", "{rates}": "rates.csv", "{records}": "records.jsonl"}


@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_is_not_what_is_needed_is_1(
    bad: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "")
    (file := tmp_path / "given.yaml").write_bytes(BAD[bad])
    for name, (before, after) in READERS.items():
        if (name, bad) in NO_LIMITS_YET:
            continue
        capsys.readouterr()
        words = [str(tmp_path / files[word]) if word in files else word for word in (*before, str(file), *after)]
        assert main(words) == 1, name
        said = capsys.readouterr()
        assert not said.out, name
        assert said.err.startswith("forebay: ") and said.err.count("\n") == 1, name
        assert "given.yaml" in said.err, name


@pytest.mark.parametrize(
    ("reader", "bad", "told"),
    [
        ("plan -f", "empty", "given.yaml: there is no InferencePool, nor any other object: name a folder that has forebay.dev/v1alpha1"),
        (
            "plan -f",
            "foreign",
            "there is no InferencePool, only 1 Deployment: add an object of forebay.dev/v1alpha1",
        ),
        (
            "replay",
            "binary",
            "a file of decision records is expected, one JSON object a line, as `forebay operator` and `forebay up` write",
        ),
        ("replay", "text", "given.yaml:1: not JSON: Expecting value (character 1); a file of decision records is expected"),
        ("replay", "list", "given.yaml:1: not a decision record, which has time, pool, id, snapshot and plan; a file of decision records"),
        ("simulate --workload", "empty", "given.yaml is empty: expected is text of one row to a line, gzipped or not"),
        ("simulate --spot-events", "binary", "given.yaml is not text: expected is text of one row to a line, gzipped or not"),
    ],
)
def test_the_message_says_what_would_be_right(
    reader: str, bad: str, told: str, files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "given.yaml").write_bytes(BAD[bad])
    before, after = READERS[reader]
    words = [str(tmp_path / files[word]) if word in files else word for word in (*before, str(file), *after)]
    main(words)
    assert told in capsys.readouterr().err


def test_pages_that_differ_are_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs", "--out", str(tmp_path)]) == 0
    assert main(["docs", "--out", str(tmp_path), "--check"]) == 0
    (tmp_path / "metrics.md").write_text("old")
    assert main(["docs", "--out", str(tmp_path), "--check"]) == 2
    assert capsys.readouterr().err == "forebay: metrics.md differ from the code: run `make docs`\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_each_code_means(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Exit codes: 0: done. 1: it could not be done" in said and said.endswith("64: the command was called wrongly.")
    assert f" 2: {NO[command]}." in said if command in NO else " 2: " not in said.partition("Exit codes:")[2]

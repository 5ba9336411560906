"""The role as it runs: configuration that changes or is refused, readiness, metrics, records, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_rule
from tests.dataplane.gateway.gateway_fakes import ApiServer, Sidecar
from tests.dataplane.gateway.gateway_world import World, counted, metric, run, until

from forebay.cli.main import main
from forebay.dataplane.gateway import decisions, metrics, reasons
from forebay.dataplane.gateway.decisions import Decisions
from forebay.dataplane.http.client import Client, UpstreamError


def test_a_bad_configuration_is_refused_and_the_last_good_one_stays(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            good = a_document()["hash"]
            assert metric("forebay_gateway_config_info", hash=good) == 1
            documents: tuple[Any, ...] = (
                {**a_document(a_policy(retryBudget=0.9)), "hash": "0" * 16},
                a_document(a_policy(rules=[a_rule(mode="Sometimes")])),
                a_document(schemaVersion=2),
                [],
            )
            for bad in documents:
                await refused(world, bad)
                assert (await world.chat()).status == 200
                assert metric("forebay_gateway_config_info", hash=good) == 1
                assert world.role.not_ready() == ""
            changed = a_document(a_policy(models=["other-name"]))
            world.write_document(changed)
            await until(lambda: metric("forebay_gateway_config_info", hash=changed["hash"]) == 1)
            assert metric("forebay_gateway_config_info", hash=good) == 0
            assert (await world.chat()).status == 404
            assert (await world.chat(model="other-name")).status == 200

    run(test)


async def refused(world: World, document: Any) -> None:
    before = metric("forebay_gateway_config_refused_total")
    world.write_document(document)
    await until(lambda: metric("forebay_gateway_config_refused_total") == before + 1)


def test_admin_tells_health_readiness_and_metrics(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            with counted("forebay_gateway_requests_total", 1, tenant="acme", batch_class="interactive", pool="default/chat", code="200"):
                await world.chat()
            for path, text in (("/healthz", b"ok"), ("/readyz", b"ok"), ("/metrics", b"gen_ai_client_operation_duration_seconds_bucket")):
                async with await world.client.send("127.0.0.1", world.role.admin_port, "GET", path) as reply:
                    assert (reply.status, text in await reply.read()) == (200, True)

    run(test)


def test_labels_come_from_the_configuration_only(tmp_path: Path) -> None:
    """A client who asks for many names must not fill the memory of whoever scrapes."""

    async def test() -> None:
        async with World(tmp_path) as world:
            for index in range(50):
                await world.chat(model=f"made-up-{index}")
                await world.call(f"/v1/made-up-{index}")
            assert "made-up" not in str([family.samples for family in metrics.REGISTRY.collect()])

    run(test)


def test_stopping_finishes_what_is_under_way(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, grace_s=5.0) as world:
            world.sidecar.hold = asyncio.Event()
            async with world.streaming() as reply:
                await anext(reply)
                stopping = asyncio.create_task(world.stop())
                await until(lambda: world.role.not_ready() == "stopping")
                async with await world.client.send("127.0.0.1", world.role.admin_port, "GET", "/readyz") as ready:
                    assert ready.status == 503
                world.sidecar.hold.set()
                assert (await reply.read()).endswith(b"data: [DONE]\n\n")
            assert await stopping == 0
            assert not (await world.decisions(1))[0]["lost"]
            with pytest.raises(UpstreamError):
                await world.chat()

    run(test)


def test_a_stream_that_outlasts_the_grace_period_counts_as_lost(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, grace_s=0.1) as world:
            world.sidecar.hold = asyncio.Event()
            async with world.streaming() as reply:
                await anext(reply)
                assert await world.stop() == 0
            (record,) = await world.decisions(1)
            assert (record["lost"], record["reasons"][-1]) == (True, "shutdown")

    run(test)


def test_the_command_serves_writes_records_and_ends_on_sigterm(tmp_path: Path) -> None:
    async def test() -> None:
        api, sidecar, client = ApiServer(), Sidecar(), Client()
        await api.start()
        await sidecar.start()
        api.put("chat-forebay", [sidecar.port])
        (tmp_path / "gateway.json").write_bytes(orjson.dumps(a_document()))
        (tmp_path / "keys/support/acme").mkdir(parents=True)
        (tmp_path / "keys/support/acme/key").write_text("acme-key")
        options = {"config": "gateway.json", "keys": "keys", "host": "127.0.0.1", "port": 0, "admin-port": 0, "grace": "1s"}
        options["kubernetes"] = f"http://127.0.0.1:{api.port}"
        command = [
            sys.executable,
            "-m",
            "forebay",
            "gateway",
            *[part for name, value in options.items() for part in (f"--{name}", str(value))],
        ]
        with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
            process = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=err)
        try:
            listens = await until(lambda: [line for line in _lines(tmp_path / "err") if line["message"] == "gateway listens"])
            admin = listens[0]["adminPort"]
            ready = 0
            while ready != 200:
                async with await client.send("127.0.0.1", admin, "GET", "/readyz") as reply:
                    ready = reply.status
            headers, body = [(b"authorization", b"Bearer acme-key")], b'{"model": "support-chat", "messages": [{"role": "user"}]}'
            async with await client.send("127.0.0.1", listens[0]["port"], "POST", "/v1/chat/completions", headers, body) as reply:
                assert reply.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
        (record,) = _lines(tmp_path / "out")
        assert record["tenant"] == "acme"
        text = (tmp_path / "err").read_text() + (tmp_path / "out").read_text()
        assert "acme-key" not in text
        for part in (client.close(), sidecar.stop(), api.stop()):
            await part

    run(test)


def _lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def logs_restored() -> Iterator[None]:
    """The command points all logs at the standard error of its test."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.usefixtures("logs_restored")
@pytest.mark.parametrize(
    "options", [["--port", "70000"], ["--port", "x"], ["--grace", "soon"], ["--cache-bytes", "-1"], ["--kubernetes", "nowhere"], ["--what"]]
)
def test_wrong_flags_are_wrong_usage(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", *options]) == 64
    assert "forebay:" in capsys.readouterr().err


@pytest.mark.usefixtures("logs_restored")
def test_a_port_that_is_taken_and_a_file_that_cannot_be_written_fail_clearly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["gateway", "--host", "127.0.0.1", "--port", str(taken.getsockname()[1]), "--kubernetes", "none"]) == 1
    assert "cannot listen" in capsys.readouterr().err
    assert main(["gateway", "--decisions", str(tmp_path / "no/such/folder"), "--kubernetes", "none"]) == 1
    assert "--decisions" in capsys.readouterr().err


def test_records_are_dropped_and_counted_when_writing_is_too_slow(tmp_path: Path) -> None:
    async def test() -> None:
        with (tmp_path / "records").open("wb") as sink:
            writer = Decisions(sink)
            with counted("forebay_gateway_decisions_dropped_total", 5):
                for index in range(decisions.MAX_PENDING + 5):
                    writer.add(b"%d" % index)
            await writer.close()
        assert len((tmp_path / "records").read_bytes().splitlines()) == decisions.MAX_PENDING
        with counted("forebay_gateway_decisions_dropped_total", 1):
            writer.add(b"the sink is closed")
            await writer.close()

    run(test)


def test_a_reader_of_records_that_went_away_does_not_stop_the_gateway() -> None:
    async def test() -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb", buffering=0) as sink:
            writer = Decisions(sink)
            with counted("forebay_gateway_decisions_dropped_total", 2):
                writer.add(b"1")
                writer.add(b"2")
                await writer.close()

    run(test)


def test_every_reason_code_has_a_meaning_and_stands_in_the_docs() -> None:
    codes = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert codes == set(reasons.MEANING)
    documented = (Path(__file__).parents[3] / "docs/gateway.md").read_text()
    for code, meaning in reasons.MEANING.items():
        assert f"| `{code}` | {meaning} |" in documented

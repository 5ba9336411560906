"""The sidecar as its own process: flags, a bad start, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.dataplane.sidecar.sidecar_world import FakeEngine, a_class, a_document, run
from tests.dataplane.wires import serving, soon

from forebay.cli.main import main as forebay
from forebay.dataplane.http.client import Client, Reply, UpstreamError
from forebay.dataplane.http.server import serve

CHAT = "/v1/chat/completions"


class Process:
    """A running `forebay sidecar`, and a client to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.client = Client()
        self.port = 0
        self.lines: list[dict[str, Any]] = []

    async def said(self, message: str) -> dict[str, Any]:
        """The next log line with this message."""
        assert self.process.stderr is not None
        while True:
            line = await soon(self.process.stderr.readline())
            assert line, self.lines
            self.lines.append(orjson.loads(line))
            if self.lines[-1]["message"] == message:
                return self.lines[-1]

    async def get(self, path: str) -> tuple[int, bytes]:
        reply = await self.client.send("127.0.0.1", self.port, "GET", path)
        return reply.status, await reply.read()

    async def post(self, body: Any) -> Reply:
        return await self.client.send("127.0.0.1", self.port, "POST", CHAT, [], orjson.dumps(body))

    async def until_ready(self, status: int = 200) -> bytes:
        async with asyncio.timeout(10):
            while True:
                found, text = await self.get("/readyz")
                if found == status:
                    return text
                await asyncio.sleep(0.05)


@asynccontextmanager
async def a_process(config: Path, engine_port: int, *options: str) -> AsyncIterator[Process]:
    flags = ["--config", str(config), "--host", "127.0.0.1", "--port", "0", "--engine", f"127.0.0.1:{engine_port}", *options]
    command = [sys.executable, "-m", "forebay", "sidecar", *flags]
    process = Process(await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE))
    try:
        process.port = (await process.said("the sidecar listens"))["port"]
        yield process
    finally:
        await process.client.close()
        if process.process.returncode is None:
            process.process.kill()
        await process.process.wait()


def write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_sigterm_finishes_what_is_running_and_queued_and_turns_away_what_is_new(tmp_path: Path) -> None:
    async def main() -> None:
        engine = FakeEngine()
        config = write(tmp_path / "sidecar.json", a_document(a_class(maxBatchSize=1)))
        async with serving(engine.handle) as server, a_process(config, server.port) as process:
            await process.until_ready()
            engine.release.clear()
            streamed = await process.post({"stream": True, "max_tokens": 5})
            queued = asyncio.ensure_future(process.post({}))
            async with asyncio.timeout(5):
                while orjson.loads((await process.get("/load"))[1])["queued"] != 1:
                    await asyncio.sleep(0.01)
            process.process.send_signal(signal.SIGTERM)
            await process.said("draining")
            assert await process.get("/readyz") == (503, b"draining\n")
            assert orjson.loads((await process.get("/load"))[1])["draining"] is True
            new = await process.post({})
            assert (new.status, new.header(b"retry-after")) == (503, b"1")
            assert b"server_is_overloaded" in await new.read()
            assert b'outcome="rejected_draining"} 1.0' in (await process.get("/metrics"))[1]
            engine.release.set()
            assert (await soon(streamed.read())).endswith(b"data: [DONE]\n\n")
            assert (await soon(queued)).status == 200
            assert await soon(process.process.wait()) == 0

    run(main)


def test_a_grace_period_that_ends_breaks_off_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        engine = FakeEngine()
        config = write(tmp_path / "sidecar.json", a_document())
        async with serving(engine.handle) as server, a_process(config, server.port, "--grace", "200ms") as process:
            await process.until_ready()
            engine.release.clear()
            streamed = await process.post({"stream": True})
            process.process.send_signal(signal.SIGTERM)
            await process.said("the grace period ended")
            with pytest.raises(UpstreamError):
                await soon(streamed.read())
            assert await soon(process.process.wait()) == 0
            await soon(engine.gone.acquire())

    run(main)


def test_without_a_configuration_it_waits_for_one(tmp_path: Path) -> None:
    async def main() -> None:
        engine = FakeEngine()
        config = tmp_path / "sidecar.json"
        config.write_text('{"schemaVersion": 1}')
        async with serving(engine.handle) as server, a_process(config, server.port) as process:
            status, text = await process.get("/readyz")
            assert status == 503 and b"hash is None" in text
            assert (await process.post({})).status == 503
            assert (await process.get("/healthz"))[0] == 200
            write(config, a_document())
            await process.until_ready()
            assert (await process.post({})).status == 200

    run(main)


def test_an_engine_that_is_not_there_yet(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        engine = FakeEngine()
        async with a_process(write(tmp_path / "sidecar.json", a_document()), port) as process:
            assert b"the engine does not answer" in await process.until_ready(503)
            assert (await process.post({})).status == 502
            server = await serve(engine.handle, "127.0.0.1", port)
            await process.until_ready()
            assert (await process.post({})).status == 200
            await server.close(0)

    run(main)


WRONG = {
    "no engine": [],
    "an engine without port": ["--engine", "localhost"],
    "an engine with a port that is none": ["--engine", "localhost:99999"],
    "a port that is none": ["--engine", "localhost:1", "--port", "70000"],
    "a grace that is none": ["--engine", "localhost:1", "--grace", "soon"],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_flags_are_told_apart(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert forebay(["sidecar", *WRONG[name]]) == 64
    assert "--" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    config = write(tmp_path / "sidecar.json", a_document())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        flags = ["--config", str(config), "--host", "127.0.0.1", "--port", str(taken.getsockname()[1]), "--engine", "localhost:1"]
        ended = subprocess.run([sys.executable, "-m", "forebay", "sidecar", *flags], capture_output=True, timeout=20)
    assert ended.returncode == 1
    assert b"cannot listen on 127.0.0.1" in ended.stderr

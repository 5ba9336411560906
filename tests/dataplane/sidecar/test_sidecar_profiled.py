"""A sidecar says what it is, so that `forebay profile` does not load the engine that others use through it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.dataplane.sidecar.sidecar_world import a_document, a_world, run
from tests.dataplane.wires import serving

from forebay.cli.main import main
from forebay.dataplane.http.headers import end_to_end
from forebay.dataplane.http.message import Request, Response


def test_a_sidecar_is_not_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        async with a_world(a_document(), tmp_path) as world:
            args = ["profile", f"http://127.0.0.1:{world.sidecar.port}", "--model", "m", "--seconds", "1"]
            assert await asyncio.to_thread(main, args) == 2
            assert world.engine.seen == []

    run(test)
    assert "is not loaded: this is a Forebay sidecar" in capsys.readouterr().err


def test_a_sidecar_behind_a_proxy_that_hands_on_the_api_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        async with a_world(a_document(), tmp_path) as world:

            async def proxy(request: Request, response: Response) -> None:
                if request.path.startswith("/v1/"):
                    async with await world.client.send("127.0.0.1", world.sidecar.port, request.method, request.path) as reply:
                        response.send(reply.status, await reply.read(), end_to_end(reply.headers))
                else:
                    response.send(404)

            async with serving(proxy) as server:
                args = ["profile", f"http://127.0.0.1:{server.port}", "--model", "m", "--seconds", "1"]
                assert await asyncio.to_thread(main, args) == 2
            assert [request.method for request in world.engine.seen] == ["GET"]

    run(test)
    assert "is not loaded: this is a Forebay sidecar" in capsys.readouterr().err

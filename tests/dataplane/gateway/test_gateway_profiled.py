"""A gateway says what it is on the port where it serves, so that `forebay profile` does not load the engines behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.dataplane.gateway.gateway_world import KEY, World, run

from forebay.cli.main import main


@pytest.mark.parametrize("key", [KEY, "wrong-key"])
@pytest.mark.parametrize("path", ["", "/v1"])
def test_a_gateway_is_not_loaded(
    tmp_path: Path, key: str, path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its metrics are on another port; with the user's key it would answer whatever it is asked."""
    monkeypatch.setenv("GATEWAY_KEY", key)

    async def test() -> None:
        async with World(tmp_path) as world:
            args = ["profile", f"http://127.0.0.1:{world.role.port}{path}", "--model", "support-chat", "--seconds", "1"]
            assert await asyncio.to_thread(main, [*args, "--api-key-from-env", "GATEWAY_KEY"]) == 2
            assert world.sidecar.seen == []

    run(test)
    told = capsys.readouterr()
    assert "is not loaded: this is a Forebay gateway" in told.err and told.out == ""


def test_a_gateway_behind_a_proxy_is_known_by_its_models(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            for path in ("/v1/models", "/v1/models/support-chat", "/metrics", "/v1/none"):
                assert (await world.call(path, method="GET")).header("x-forebay-role") == "gateway"
            assert (await world.chat()).header("x-forebay-role") is None

    run(test)

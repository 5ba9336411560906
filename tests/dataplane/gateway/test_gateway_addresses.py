"""Gateway and sidecar at addresses that pods have: their own beside the loopback, and IPv6."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from tests.dataplane.gateway.gateway_documents import a_document
from tests.dataplane.gateway.gateway_world import CHAT, HELLO, KEY, World, run, until
from tests.dataplane.sidecar.sidecar_world import FakeEngine
from tests.dataplane.sidecar.sidecar_world import a_document as a_sidecar_document
from tests.dataplane.sidecar.test_sidecar_run import a_process, write
from tests.dataplane.wires import wire_to

from forebay.cli.main import main as forebay
from forebay.dataplane.http.client import Client
from forebay.dataplane.http.server import serve
from forebay.dataplane.sidecar.app import Settings, Sidecar

POD = "127.0.0.2"
LOOPBACK = "127.0.0.1"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def status(client: Client, host: str, port: int, path: str) -> int:
    async with await client.send(host, port, "GET", path) as reply:
        return reply.status


def test_port_forward_reaches_the_gateway_and_its_metrics(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, host=POD, beside=LOOPBACK) as world:
            assert (await world.chat()).status == 200
            for host in (POD, LOOPBACK):
                assert await status(world.client, host, world.role.admin_port, "/metrics") == 200

    run(test)


def test_port_forward_reaches_the_sidecar(tmp_path: Path) -> None:
    async def test() -> None:
        engine, client, stop = FakeEngine(), Client(), asyncio.Event()
        server = await serve(engine.handle, LOOPBACK, 0)
        config = write(tmp_path / "sidecar.json", a_sidecar_document())
        sidecar = Sidecar(Settings(config, POD, 0, LOOPBACK, server.port, 1.0, beside=LOOPBACK))
        running = asyncio.create_task(sidecar.run(stop))
        await until(lambda: sidecar.port)
        for host in (POD, LOOPBACK):
            assert await status(client, host, sidecar.port, "/load") == 200
        stop.set()
        await running
        await client.close()
        await server.close(0)

    run(test)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
def test_a_request_goes_from_gateway_to_engine_over_ipv6(tmp_path: Path) -> None:
    """`$(POD_IP):8000` is `fd00::1:8000` in such a pod, without brackets."""

    async def test() -> None:
        engine, client = FakeEngine(), Client()
        server = await serve(engine.handle, "::1", 0)
        config = write(tmp_path / "sidecar.json", a_sidecar_document())
        async with a_process(config, 1, "--host", "::1", "--engine", f"::1:{server.port}") as sidecar:
            while await status(client, "::1", sidecar.port, "/readyz") != 200:
                await asyncio.sleep(0.02)
            async with World(tmp_path, a_document(), {}, host="::1") as world:
                world.api.put_slice("chat-forebay", "six", sidecar.port, {"ready": True}, "::1")
                (endpoint,) = await until(world.role.fleet.endpoints)
                assert endpoint.name == f"[::1]:{sidecar.port}"
                body = b'{"model": "support-chat", "messages": [{"role": "user", "content": "hi"}]}'
                headers = [(b"authorization", b"Bearer " + KEY.encode())]
                async with await client.send("::1", world.role.port, "POST", CHAT, headers, body) as reply:
                    assert reply.status == 200, await reply.read()
                assert await status(client, "::1", world.role.admin_port, "/readyz") == 200
                assert (await world.decisions(1))[0]["endpoint"] == endpoint.name
        (seen,) = engine.seen
        assert seen.header(b"host") == f"[::1]:{server.port}".encode()
        await client.close()
        await server.close(0)

    run(test)


@pytest.mark.parametrize("engine", ["fd00::1", "::", "[fd00::1]", "a:b:8000", ":8000"])
def test_an_engine_that_is_no_address_with_a_port_is_wrong_usage(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert forebay(["sidecar", "--engine", engine]) == 64
    assert "is not HOST:PORT" in capsys.readouterr().err


def test_an_address_that_none_can_have_is_a_502(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={}) as world:
            world.api.put_slice("chat-forebay", "odd", 70_000, {"ready": True}, "a..b" + "c" * 80)
            await until(world.role.fleet.endpoints)
            got = await world.call(CHAT, {"model": "support-chat", "messages": HELLO})
            assert (got.status, got.error["code"]) == (502, "bad_gateway")
            async with wire_to(world.role.admin_port) as wire:
                wire.send(b"GET /healthz HTTP/1.1\r\n\r\n")
                assert (await wire.answer())[0] == 200

    run(test)

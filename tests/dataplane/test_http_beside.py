"""One server on two addresses: a pod's own, and the loopback that `kubectl port-forward` comes to."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
from tests.dataplane.wires import echo, soon

from forebay.dataplane.http.beside import beside
from forebay.dataplane.http.client import Client, UpstreamError
from forebay.dataplane.http.server import serve

POD = "127.0.0.2"


@pytest.mark.parametrize(
    ("host", "other"),
    [
        ("10.0.3.7", "127.0.0.1"),
        ("fd00::7", "127.0.0.1"),
        ("0.0.0.0", "::"),
        ("::", "0.0.0.0"),
        ("127.0.0.1", ""),
        ("127.3.0.2", ""),
        ("::1", ""),
        ("localhost", ""),
        ("", ""),
    ],
)
def test_which_address_goes_with_which(host: str, other: str) -> None:
    assert beside(host) == other


def test_port_forward_found_nobody_at_the_loopback_of_a_pod() -> None:
    async def main() -> None:
        client = Client(max_idle_per_host=0)
        server = await serve(echo, POD, 0, beside="127.0.0.1")
        for host in (POD, "127.0.0.1"):
            async with await soon(client.send(host, server.port, "GET", "/a")) as reply:
                assert (reply.status, await reply.read()) == (200, b"GET /a ")
        await server.close(0)
        for host in (POD, "127.0.0.1"):
            with pytest.raises(UpstreamError, match="no connection"):
                await soon(client.send(host, server.port, "GET", "/a"))

    asyncio.run(main())


def test_a_loopback_that_is_taken_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    """Pods of one network namespace, or with the node's network, share it."""

    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with caplog.at_level(logging.INFO, "forebay.dataplane.http.server"):
                server = await serve(echo, POD, port, beside="127.0.0.1")
            client = Client()
            async with await soon(client.send(POD, port, "GET", "/a")) as reply:
                assert reply.status == 200
            await client.close()
            await server.close(0)
        (line,) = caplog.records
        assert (line.__dict__["host"], line.__dict__["port"]) == ("127.0.0.1", port)

    asyncio.run(main())

"""What gateways hold, asked of themselves: whatever answers there, it is a count or it is not known."""

from __future__ import annotations

import asyncio

import pytest

from forebay.adapters.held import MOST, HeldByScrape, HeldFor
from forebay.dataplane.http.client import Client
from forebay.dataplane.http.server import Request, Response, serve


def asked(status: int, body: bytes) -> dict[str, HeldFor] | None:
    """What a gateway that answers so is understood to hold."""

    async def test() -> dict[str, HeldFor] | None:
        async def answer(request: Request, response: Response) -> None:
            assert (request.method, request.path) == ("GET", "/held")
            response.send(status, body)

        server, client = await serve(answer, "127.0.0.1", 0), Client()
        try:
            return await HeldByScrape(client).held("127.0.0.1", server.port)
        finally:
            await client.close()
            await server.close(0.0)

    return asyncio.run(test())


def test_requests_by_pool_and_class() -> None:
    body = b'{"pools": {"a/chat": {"held": {"interactive": 3, "batch": 0}, "passedOver": true}}}'
    assert asked(200, body) == {"a/chat": HeldFor({"interactive": 3}, passed_over=True)}
    assert asked(200, b'{"pools": {}}') == {}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"pools": 3}', b'{"pools": {"a/b": {}}}', b'{"pools": {"a/b": {"held": {"c": "many"}, "passedOver": false}}}'],
)
def test_nonsense_is_not_an_answer(body: bytes) -> None:
    assert asked(200, body) is None


def test_absurd_counts_are_bounded() -> None:
    body = b'{"pools": {"a/b": {"held": {"c": 1e300, "d": -5}, "passedOver": false}}}'
    assert asked(200, body) == {"a/b": HeldFor({"c": MOST})}


def test_an_error_and_a_closed_port_are_not_an_answer() -> None:
    assert asked(404, b'{"pools": {}}') is None

    async def nobody() -> None:
        client = Client()
        assert await HeldByScrape(client).held("127.0.0.1", 1) is None
        assert await HeldByScrape(client).held("", 1) is None
        await client.close()

    asyncio.run(nobody())

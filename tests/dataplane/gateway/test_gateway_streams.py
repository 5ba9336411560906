"""Streams: passed on as they come, broken ones said to be broken, abandoned ones given up at the replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from pathlib import Path

import pytest
from tests.dataplane.gateway.gateway_documents import a_document, a_policy
from tests.dataplane.gateway.gateway_fakes import DONE, USAGE_EVENT, chat_event, speaks
from tests.dataplane.gateway.gateway_world import CHAT, World, counted, run, until

from forebay.dataplane.http.client import UpstreamError
from forebay.dataplane.http.message import Request, Response


async def read_all(reply: AsyncIterable[bytes]) -> tuple[bytes, bool]:
    """What came, and whether the answer was whole as HTTP has it."""
    got = b""
    try:
        async for chunk in reply:
            got += chunk
    except UpstreamError:
        return got, False
    return got, True


def test_a_stream_passes_as_it_comes_and_byte_for_byte(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            world.sidecar.hold = asyncio.Event()
            async with world.streaming() as reply:
                assert reply.header(b"content-type") == b"text/event-stream"
                first = await anext(reply)
                assert first == chat_event("engine-model", "hel"), "the first token waits for the second"
                world.sidecar.hold.set()
                rest, whole = await read_all(reply)
            assert (rest, whole) == (chat_event("engine-model", "lo") + USAGE_EVENT + DONE, True)
            (record,) = await world.decisions(1)
            assert (record["stream"], record["lost"], record["inputTokens"], record["outputTokens"]) == (True, False, 5, 2)
            assert 0 < record["ttftMs"] <= record["totalMs"]

    run(test)


@pytest.mark.parametrize("end", ["breaks", "ends early", "ends inside an event"])
def test_a_broken_stream_ends_with_an_error_and_without_done(tmp_path: Path, end: str) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={"chat": 2}) as world:
            event = chat_event("engine-model", "hel")
            pieces = [event, event[:10]] if end == "ends inside an event" else [event]
            for sidecar in world.sidecars["chat"]:
                sidecar.answer = speaks(*pieces, broken=end == "breaks")
            with counted("forebay_gateway_lost_total", 1, tenant="acme", batch_class="interactive", pool="default/chat"):
                async with world.streaming() as reply:
                    got, whole = await read_all(reply)
            assert not whole
            assert b"[DONE]" not in got
            assert got.startswith(b"".join(pieces))
            assert got.endswith(b"\n\n")
            assert b'\n\ndata: {"error":{"message":' in got
            assert world.seen() == 1, "nothing is retried after the first byte"
            (record,) = await world.decisions(1)
            assert (record["status"], record["accepted"], record["lost"]) == (200, True, True)
            assert record["reasons"][-1] == "stream-broken"

    run(test)


@pytest.mark.parametrize("end", [b"", DONE])
def test_a_stream_that_says_itself_that_it_broke_is_not_told_twice(tmp_path: Path, end: bytes) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            said = chat_event("engine-model", "hel") + b'data: {"error": {"message": "engine gone", "type": "server_error"}}\n\n' + end
            world.sidecar.answer = speaks(said)
            async with world.streaming() as reply:
                got, whole = await read_all(reply)
            assert (got, whole) == (said, False)
            assert (await world.decisions(1))[0]["lost"]

    run(test)


def test_a_stream_that_stalls_is_broken_off(tmp_path: Path) -> None:
    async def test() -> None:
        document = a_document(a_policy(timeouts={"firstByteSeconds": 5.0, "idleSeconds": 0.05}))
        async with World(tmp_path, document) as world:
            world.sidecar.hold = asyncio.Event()
            async with world.streaming() as reply:
                got, whole = await read_all(reply)
            assert not whole
            assert b'"error"' in got
            await until(lambda: world.sidecar.cancelled == 1)

    run(test)


def test_a_prompt_counts_until_its_stream_begins_or_fails(tmp_path: Path) -> None:
    async def test() -> None:
        document = a_document(a_policy(timeouts={"firstByteSeconds": 0.2, "idleSeconds": 5.0}))
        async with World(tmp_path, document) as world:
            (endpoint,) = world.role.fleet.endpoints()
            seen: list[int] = []
            usual = world.sidecar.answer

            async def look(request: Request, response: Response) -> None:
                seen.append(endpoint.unbegun_bytes)
                assert len(request.body) == endpoint.unbegun_bytes
                await usual(request, response)

            world.sidecar.answer = look
            async with world.streaming() as reply:
                await anext(reply)
                assert endpoint.unbegun_bytes == 0
                await read_all(reply)

            async def never(request: Request, response: Response) -> None:
                seen.append(endpoint.unbegun_bytes)
                await asyncio.Event().wait()

            world.sidecar.answer = never
            async with world.streaming() as reply:
                assert reply.status == 504
            assert endpoint.unbegun_bytes == 0 and len(seen) == 2 and min(seen) > 0
            world.sidecar.answer = usual
            await world.chat()
            assert endpoint.unbegun_bytes == 0

    run(test)


@pytest.mark.parametrize("temperature", [0, 1], ids=["shared", "straight"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_cancels_the_replica(tmp_path: Path, stream: bool, temperature: int) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            world.sidecar.hold = asyncio.Event()
            if stream:
                async with world.streaming(temperature=temperature) as reply:
                    await anext(reply)
            else:
                asked = asyncio.create_task(world.chat(temperature=temperature))
                await until(lambda: world.sidecar.seen)
                asked.cancel()
            await until(lambda: world.sidecar.cancelled == 1)
            (record,) = await world.decisions(1)
            assert record["reasons"][-1] == "client-gone"
            assert (record["status"], record["lost"]) == (200 if stream else 499, False)
            await until(lambda: world.role.fleet.endpoints()[0].since == 0)

    run(test)


def test_a_stream_was_asked_and_the_engine_answers_whole(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:

            async def whole(request: Request, response: Response) -> None:
                response.send(400, b'{"error": {"message": "too long"}}', [(b"content-type", b"application/json")])

            world.sidecar.answer = whole
            got = await world.call(CHAT, {"model": "support-chat", "messages": [{}], "stream": True})
            assert (got.status, got.header("content-type"), got.error["message"]) == (400, "application/json", "too long")

    run(test)

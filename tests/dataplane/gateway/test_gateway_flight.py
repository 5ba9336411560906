"""Single flight on its own: whatever the timing, everyone who follows gets every byte, and memory stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dataplane.gateway.gateway_fakes import DONE
from tests.dataplane.gateway.gateway_world import run, until

from forebay.dataplane.gateway.answer import Answer
from forebay.dataplane.gateway.flight import Flight, Flights, Follower
from forebay.dataplane.http.client import UpstreamError


class Source:
    """A stream that a test feeds."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        for piece in pieces:
            self.pieces.put_nowait(piece)
        self.closed = False
        self.taken = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._all()

    async def _all(self) -> AsyncIterator[bytes]:
        while (piece := await self.pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            self.taken += 1
            yield piece

    def close(self) -> None:
        self.closed = True


def a_flight(source: Source, kept: list[bytes], max_buffer: int = 1000) -> Flight:
    async def start() -> Answer:
        return Answer(200, chunks=source)

    def keep(answer: Answer, body: bytes) -> bool:
        kept.append(body)
        return True

    return Flight(start, keep, lambda: None, max_buffer)


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=30),
    joins=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    max_buffer=st.integers(1, 400),
)
def test_everyone_gets_every_byte(pieces: list[bytes], joins: list[int], max_buffer: int) -> None:
    """Followers join after so many pieces were taken, as long as the whole is still there; the first one is there from the start."""
    pieces = [*pieces, DONE]

    async def test() -> None:
        source, kept = Source(), list[bytes]()
        flight = a_flight(source, kept, max_buffer)

        async def read(follower: Follower) -> bytes:
            try:
                answer = await follower.answer()
                assert answer.chunks is follower
                return b"".join([piece async for piece in follower])
            finally:
                follower.close()

        readers = [asyncio.create_task(read(flight.follow()))]
        for index, piece in enumerate(pieces):
            source.pieces.put_nowait(piece)
            if index in joins and flight.base == 0 and not flight.done:
                readers.append(asyncio.create_task(read(flight.follow())))
                await asyncio.sleep(0)
        source.pieces.put_nowait(None)
        assert await asyncio.gather(*readers) == [b"".join(pieces)] * len(readers)
        assert kept in ([], [b"".join(pieces)])
        assert source.closed

    run(test)


def test_a_long_stream_is_read_no_faster_than_its_slowest_reader_takes_it() -> None:
    async def test() -> None:
        source, kept = Source(*[b"x" * 100] * 100), list[bytes]()
        source.pieces.put_nowait(None)
        flight = a_flight(source, kept, max_buffer=1000)
        fast, slow = flight.follow(), flight.follow()
        taken = asyncio.create_task(_take(fast))
        await until(lambda: source.taken == 11)
        await asyncio.sleep(0.01)
        assert source.taken == 11, "the slow reader did not hold the stream back"
        slow.close()
        assert await taken == 100 * 100
        assert kept == [], "a stream that was not held whole is not kept"

    run(test)


async def _take(follower: AsyncIterator[bytes]) -> int:
    return sum([len(piece) async for piece in follower])


def test_one_reader_that_leaves_does_not_disturb_the_others() -> None:
    async def test() -> None:
        source, kept = Source(), list[bytes]()
        flight = a_flight(source, kept)
        tasks = [asyncio.create_task(_take(flight.follow())) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        source.pieces.put_nowait(DONE)
        source.pieces.put_nowait(None)
        assert await tasks[1] == await tasks[2] == len(DONE)

    run(test)


def test_a_break_reaches_everyone_after_the_bytes_before_it() -> None:
    async def test() -> None:
        source, kept = Source(b"data: 1\n\n"), list[bytes]()
        source.pieces.put_nowait(UpstreamError("closed", "gone"))
        flight = a_flight(source, kept)
        for follower in (flight.follow(), flight.follow()):
            assert await anext(follower) == b"data: 1\n\n"
            with pytest.raises(UpstreamError):
                await anext(follower)
        assert kept == []

    run(test)


def test_a_call_given_up_before_it_began_is_not_joined() -> None:
    """Its task never runs, so nobody would ever be told."""

    async def test() -> None:
        flights = Flights()

        async def start() -> Answer:
            return Answer(200, body=b"x")

        flights.begin(b"key", start, lambda answer, body: False, joinable=True).close()
        assert flights.join(b"key") is None
        follower = flights.begin(b"key", start, lambda answer, body: False, joinable=True)
        assert (await follower.answer()).body == b"x"
        follower.close()

    run(test)

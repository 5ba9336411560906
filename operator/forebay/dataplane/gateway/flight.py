"""Single flight: identical requests that are under way at the same time share one call to a replica.

The call runs in its own task and everyone follows it, the first client included. So it does not matter whose client hangs up: the call
ends when nobody follows any more. Who joins a running stream late gets what was there so far at once, then follows live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from forebay.dataplane.gateway.answer import Answer, Chunks, Tail
from forebay.dataplane.http.client import UpstreamError

MAX_BUFFER_BYTES = 1024 * 1024
"""Most of one stream that is held: beyond it nobody can join any more, and the replica is read as fast as the slowest client."""

Start = Callable[[], Awaitable[Answer]]

Keep = Callable[[Answer, bytes], bool]
"""Called with a whole 200 answer and all its bytes; says whether it was stored."""


class Flight:
    """One call and those who follow it."""

    def __init__(self, start: Start, keep: Keep, landed: Callable[[], None], max_buffer: int = MAX_BUFFER_BYTES) -> None:
        self._loop = asyncio.get_running_loop()
        self._keep, self._landed, self._max_buffer = keep, landed, max_buffer
        self._followers: set[Follower] = set()
        self._room: asyncio.Future[None] | None = None
        self._held = 0
        self.base = 0
        self.buffer: list[bytes] = []
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self.done = False
        self._task = self._loop.create_task(self._run(start))

    def follow(self) -> Follower:
        """A place among those who get the answer. It must be closed."""
        follower = Follower(self, self._loop)
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        self._followers.discard(follower)
        if not self._followers and not self.done:
            # Out of the list first: a task that is being cancelled is nothing to join.
            self._landed()
            self._task.cancel()
        self.consumed()

    def consumed(self) -> None:
        """A follower took something, or left: there may be room again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _run(self, start: Start) -> None:
        chunks: Chunks | None = None
        try:
            answer = await start()
            chunks = answer.chunks
            if chunks is None and answer.status == 200:
                answer.stored = self._keep(answer, answer.body)
            self.answer = answer
            self._wake()
            if chunks is not None:
                await self._pull(answer, chunks)
        except Exception as error:  # whoever follows gets it, whatever it is
            self.error = error
        except asyncio.CancelledError:
            self.error = UpstreamError("closed", "the call was given up")
            raise
        finally:
            if chunks is not None:
                chunks.close()
            self.done = True
            self._landed()
            self._wake()

    async def _pull(self, answer: Answer, chunks: Chunks) -> None:
        tail = Tail()
        async for chunk in chunks:
            tail.add(chunk)
            self.buffer.append(chunk)
            self._held += len(chunk)
            self._wake()
            if self._held > self._max_buffer:
                self._landed()
                await self._make_room()
        if self.base == 0 and tail.complete and answer.status == 200:
            answer.stored = self._keep(answer, b"".join(self.buffer))

    async def _make_room(self) -> None:
        while True:
            taken = min((follower.position for follower in self._followers), default=self.base) - self.base
            self._held -= sum(map(len, self.buffer[:taken]))
            del self.buffer[:taken]
            self.base += taken
            if self._held <= self._max_buffer:
                return
            self._room = self._loop.create_future()
            await self._room

    def _wake(self) -> None:
        for follower in self._followers:
            follower.wake()


class Follower:
    """One client's view of a flight: the answer, then the stream's bytes. It is the `chunks` of the answer that it gives."""

    def __init__(self, flight: Flight, loop: asyncio.AbstractEventLoop) -> None:
        self._flight, self._loop = flight, loop
        self._waiter: asyncio.Future[None] | None = None
        self.position = 0

    async def answer(self) -> Answer:
        """The answer's head, once it is there; what the call raised, where it failed."""
        while self._flight.answer is None:
            if self._flight.error is not None:
                raise self._flight.error
            await self._wait()
        answer = self._flight.answer
        return replace(answer, chunks=self if answer.chunks is not None else None, reasons=list(answer.reasons))

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> bytes:
        flight = self._flight
        while self.position - flight.base >= len(flight.buffer):
            if flight.error is not None:
                raise flight.error
            if flight.done:
                raise StopAsyncIteration
            await self._wait()
        fresh = flight.buffer[self.position - flight.base :]
        self.position += len(fresh)
        flight.consumed()
        return fresh[0] if len(fresh) == 1 else b"".join(fresh)

    def close(self) -> None:
        self._flight.leave(self)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        # A future of one's own: cancelling one client must not cancel what the others wait for.
        self._waiter = self._loop.create_future()
        await self._waiter


class Flights:
    """Calls under way that can be joined, by cache key."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def join(self, key: bytes) -> Follower | None:
        """A place in the call under way for this key, None where there is none."""
        flight = self._flights.get(key)
        return flight.follow() if flight is not None else None

    def begin(self, key: bytes, start: Start, keep: Keep, *, joinable: bool) -> Follower:
        """Starts a call; others can join it unless it is not `joinable`, or another of the same key is under way."""
        if not joinable or key in self._flights:
            return Flight(start, keep, lambda: None).follow()
        flight = Flight(start, keep, lambda: self._land(key, flight))
        self._flights[key] = flight
        return flight.follow()

    def _land(self, key: bytes, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

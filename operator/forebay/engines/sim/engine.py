"""The running simulator: the step model in real time.

One task makes the steps and wakes whoever waits for tokens; a request is nothing but a count that it raises. Each step's end is reckoned
from the end of the one before, not from when the task happened to wake, so that lateness does not add up and the profile is kept over
time whatever the timer's grain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from forebay.engines.openai import Refused
from forebay.engines.sim.metrics import Measurements
from forebay.engines.sim.stepping import Batch, Profile, Sequence

MAX_WAITING = 8192
"""Requests that may wait; more are refused."""

_LARGEST_LAG_S = 0.25
"""How far behind its own time the engine may fall and still catch up; a process that was stopped does not pour out what it missed."""


class Generation(Sequence):
    """A request in the engine; whoever serves it waits until enough tokens are there."""

    __slots__ = ("_waiter", "_wanted", "arrived_s")

    def __init__(self, prompt_tokens: int, output_tokens: int, arrived_s: float) -> None:
        super().__init__(prompt_tokens, output_tokens)
        self.arrived_s = arrived_s
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None

    async def reach(self, tokens: int) -> int:
        """Waits until at least so many tokens are generated; returns how many are."""
        while self.generated < tokens:
            self._wanted = tokens
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.generated

    def wake(self) -> None:
        if self._waiter is not None and self.generated >= self._wanted:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the engine knows it: seconds that only grow, and waiting."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def _queue_full() -> Refused:
    return Refused(f"{MAX_WAITING} requests wait already", status=503)


class Engine:
    """One simulated replica. `profile` may be replaced while it runs; the next step keeps the new one."""

    def __init__(self, profile: Profile, die: Callable[[], None], clock: Clock = Clock()) -> None:
        self.profile = profile
        self.measured = Measurements()
        self.batch: Batch[Generation] = Batch()
        self.embedding_waiting = 0
        self.embedding_running = 0
        self.die_after_tokens: int | None = None
        self._die = die
        self._clock = clock
        self._arrival = asyncio.Event()
        self._embedding_turn = asyncio.Lock()
        self._embedding_free_s = 0.0

    def submit(self, prompt_tokens: int, output_tokens: int) -> Generation:
        """Puts a request into the queue. Raises Refused when the queue is full."""
        if len(self.batch.waiting) >= MAX_WAITING:
            raise _queue_full()
        generation = Generation(prompt_tokens, output_tokens, self._clock.now())
        self.batch.add(generation)
        self._arrival.set()
        return generation

    async def run(self) -> None:
        """Makes steps for as long as there are requests, and waits while there are none. Ends only by cancellation."""
        while True:
            while not self.batch:
                self._arrival.clear()
                await self._arrival.wait()
            started_s = ended_s = self._clock.now()
            while self.batch:
                due_s = max(started_s, self._clock.now() - _LARGEST_LAG_S) + self.batch.begin(self.profile)
                await self._clock.sleep(max(0.0, due_s - self._clock.now()))
                before_s, ended_s, started_s = ended_s, self._clock.now(), due_s
                self._finish_step(ended_s, ended_s - before_s)

    def _finish_step(self, now_s: float, step_s: float) -> None:
        stepped = self.batch.end()
        first = 0
        for generation in stepped:
            if generation.generated == 1:
                first += 1
                self.measured.prompt_tokens += generation.prompt_tokens
                self.measured.time_to_first_token.observe(now_s - generation.arrived_s)
            generation.wake()
        self.measured.inter_token_latency.observe(step_s, len(stepped) - first)
        self.measured.generation_tokens += len(stepped)
        if self.die_after_tokens is not None and stepped:
            self.die_after_tokens -= len(stepped)
            if self.die_after_tokens <= 0:
                self._die()

    async def embed(self, tokens: int) -> None:
        """Waits as long as one batch of texts takes, `tokens` long together. Batches run one after the other, in order of arrival."""
        if self.embedding_waiting >= MAX_WAITING:
            raise _queue_full()
        arrived_s = self._clock.now()
        self.embedding_waiting += 1
        try:
            await self._embedding_turn.acquire()
        finally:
            self.embedding_waiting -= 1
        self.embedding_running += 1
        try:
            await self._embed_now(arrived_s, tokens)
        finally:
            self.embedding_running -= 1
            self._embedding_turn.release()
        self.measured.prompt_tokens += tokens

    async def _embed_now(self, arrived_s: float, tokens: int) -> None:
        started_s = max(arrived_s, self._embedding_free_s, self._clock.now() - _LARGEST_LAG_S)
        self._embedding_free_s = started_s + self.profile.embedding_batch_s(tokens)
        try:
            await self._clock.sleep(max(0.0, self._embedding_free_s - self._clock.now()))
        except asyncio.CancelledError:
            self._embedding_free_s = self._clock.now()
            raise

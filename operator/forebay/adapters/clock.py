"""Time, so that what waits or ages can be tested without waiting.

Two times are kept apart: `now` is the calendar (it may jump, and is what other machines agree on), `monotonic` only ever goes forward
(and is what durations are measured with).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. All figures are seconds."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Returns once that much time has passed."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """Time that stands still until `advance` moves it; whoever sleeps is woken in the order of their alarms."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._start = self._now = now
        self._set_back_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now - self._set_back_s

    def monotonic(self) -> float:
        return self._now - self._start

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), alarm))
        await alarm

    async def advance(self, seconds: float) -> None:
        """Moves time forward and lets each sleeper run at its own moment, those that fall asleep again on the way included."""
        until = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, alarm = heapq.heappop(self._sleepers)
            self._now = max(self._now, at)
            if not alarm.done():
                alarm.set_result(None)
            await settle()
        self._now = until
        await settle()

    def jump(self, seconds: float) -> None:
        """Time passes and nobody notices, as for a process that stands still; sleepers wake late, with the next `advance`."""
        self._now += seconds

    def set_back(self, seconds: float) -> None:
        """The calendar is corrected; no time passes."""
        self._set_back_s += seconds


async def settle(turns: int = 50) -> None:
    """Lets every task run that can run now."""
    for _ in range(turns):
        await asyncio.sleep(0)


def timestamp(epoch_s: float, *, micros: bool = False) -> str:
    """RFC 3339 in UTC as Kubernetes writes it: whole seconds, or microseconds for `MicroTime` fields such as a Lease's."""
    whole, fraction = divmod(round(epoch_s * 1_000_000), 1_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{text}.{fraction:06d}Z" if micros else f"{text}Z"

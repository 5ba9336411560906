"""A keyed work queue: each key is worked on by one worker at a time, however often it is added meanwhile.

kopf's `on.event` handlers do not retry; here a key that fails comes back with growing delays, and a key that asks for it comes back at
its own time. The same rules as Kubernetes' client-go workqueue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 60.0

_log = logging.getLogger(__name__)


class WorkQueue(Generic[Key]):
    """Deduplicates keys, serialises work per key, and brings keys back later."""

    def __init__(self, work: Callable[[Key], Awaitable[float | None]]) -> None:
        """`work` returns after how many seconds it wants the key back, or None; raising brings it back by backoff."""
        self._work = work
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, tuple[float, asyncio.Handle]] = {}
        self._failures: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._queued)

    @property
    def idle(self) -> bool:
        return not self._queued and not self._running

    def add(self, key: Key) -> None:
        """Work on the key soon."""
        if (timer := self._timers.pop(key, None)) is not None:
            timer[1].cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Work on the key in a while, unless it is added sooner."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if (timer := self._timers.get(key)) is not None:
            # Not the handle's own `when`: for a time so near that it is now, uvloop's has none.
            if timer[0] <= due:
                return
            timer[1].cancel()
        self._timers[key] = due, loop.call_at(due, self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def run(self, workers: int) -> None:
        """Works until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._worker())
        finally:
            for _, timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _worker(self) -> None:
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._running.add(key)
            try:
                await self._once(key)
            finally:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    async def _once(self, key: Key) -> None:
        try:
            after_s = await self._work(key)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            delay_s = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (failures - 1))
            _log.warning("%s failed, again in %.1f s: %s", key, delay_s, error, exc_info=failures == 1)
            self.add_after(key, delay_s)
            return
        self._failures.pop(key, None)
        if after_s is not None:
            self.add_after(key, after_s)

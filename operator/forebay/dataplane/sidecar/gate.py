"""Lets requests through to the engine, as many at once as the limit says, the highest priority first."""

from __future__ import annotations

import asyncio

from forebay.dataplane.sidecar.config import Mode
from forebay.dataplane.sidecar.limit import Limiter
from forebay.dataplane.sidecar.metrics import Metrics
from forebay.dataplane.sidecar.queues import Lane, Queues, Waiting


class Gate:
    """For engines that batch themselves: what waits, waits here, where it has a priority, and not in the engine, where it has none."""

    def __init__(self, queues: Queues, limiter: Limiter, metrics: Metrics, loop: asyncio.AbstractEventLoop) -> None:
        self._queues = queues
        self._limiter = limiter
        self._metrics = metrics
        self._loop = loop

    async def enter(self, lane: Lane) -> float:
        """Waits for a place in the engine and returns the seconds waited; `leave` gives it back.

        Raises:
            TurnedAway: the queue is full, or the wait was too long.
        """
        if not lane.waiting and self._free(lane):
            self._admit(lane)
            return 0.0
        waiting = Waiting(lane, self._loop)
        self._queues.join(waiting)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            self._queues.leave(waiting)
            if waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
                # It was let in just when its client went away.
                self.leave(lane)
            raise
        return self._loop.time() - waiting.arrived

    def leave(self, lane: Lane) -> None:
        """Gives a place back."""
        lane.left()
        self._queues.ended()
        self.advance()

    def advance(self) -> None:
        """Lets in whoever has a place now."""
        for lane in self._queues.lanes():
            while lane.waiting and self._free(lane):
                waiting = next(iter(lane.waiting))
                self._queues.leave(waiting)
                if not waiting.turn.done():
                    self._admit(lane)
                    waiting.turn.set_result(None)

    def _free(self, lane: Lane) -> bool:
        config = lane.config
        if config.mode is Mode.DISABLED:
            return True
        return self._queues.in_flight < self._limiter.limit and lane.in_flight < config.max_batch_size

    def _admit(self, lane: Lane) -> None:
        lane.entered()
        running = self._queues.in_flight
        self._limiter.holds(running)
        self._metrics.batch_size.observe(running)

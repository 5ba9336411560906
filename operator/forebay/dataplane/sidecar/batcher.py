"""Forms batches for an engine that takes a list of inputs.

A batch goes out when it is full, when its first request has waited for the window, or at once when no company is to be expected; and
only while fewer than two are out, so that what waits for the engine waits here, in order of priority, and fills the next batch.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from time import monotonic

from forebay.dataplane.sidecar.call import Answer, Batch, Caller, Headers, Job, Piece, failure
from forebay.dataplane.sidecar.config import Mode
from forebay.dataplane.sidecar.embeddings import Ask
from forebay.dataplane.sidecar.engine import Engine
from forebay.dataplane.sidecar.limit import Limiter
from forebay.dataplane.sidecar.measure import Measure
from forebay.dataplane.sidecar.metrics import Metrics
from forebay.dataplane.sidecar.queues import Lane, Queues

log = logging.getLogger(__name__)

# One is computed while the next one is on its way.
_BATCHES_OUT = 2
# How many of those that wait are looked at to fill one batch.
_LOOKED_AT = 1024
_GAP_MEMORY = 0.8


class Batcher:
    """The lines of those that wait, and the batches that are out."""

    def __init__(self, engine: Engine, queues: Queues, limiter: Limiter, metrics: Metrics, loop: asyncio.AbstractEventLoop) -> None:
        self._caller = Caller(engine, limiter, metrics.steps)
        self._queues = queues
        self._limiter = limiter
        self._metrics = metrics
        self._loop = loop
        self._begun: deque[Job] = deque()
        self._out: set[Batch] = set()
        self._inputs_waiting = 0
        # When to look again is kept here: for a time so near that it is now, uvloop's handle does not know it.
        self._timer: tuple[float, asyncio.Handle] | None = None
        self._gap_s = 60.0
        self._last_arrival = loop.time()

    async def submit(self, lane: Lane, ask: Ask, headers: Headers, measure: Measure) -> Answer:
        """Waits for the answer to one request. Cancelling it takes the request out of its line or its batch.

        Raises:
            TurnedAway: the queue is full, or the wait was too long.
        """
        self._note_arrival()
        job = Job(lane, self._loop, ask, headers, measure)
        if len(self._out) >= _BATCHES_OUT:
            self._queues.join(job)
        else:
            # It waits for company alone, not for the engine: that is not what the queue's length bounds.
            self._queues.line_up(job)
        self._inputs_waiting += len(ask.sizes)
        self._advance()
        try:
            await job.turn
            return await job.done
        finally:
            self._end(job)

    def _note_arrival(self) -> None:
        now = self._loop.time()
        self._gap_s = _GAP_MEMORY * self._gap_s + (1 - _GAP_MEMORY) * (now - self._last_arrival)
        self._last_arrival = now

    def _end(self, job: Job) -> None:
        """Forgets a request that is answered, turned away or gone."""
        self._inputs_waiting -= len(job.ask.sizes) - job.taken
        if not job.taken:
            self._queues.leave(job)
            return
        job.lane.left()
        self._queues.ended()
        job.done.cancel()
        for batch in job.batches:
            batch.wanted -= 1
            if not batch.wanted and batch.task is not None:
                batch.task.cancel()

    # forming

    def _advance(self) -> None:
        while len(self._out) < _BATCHES_OUT:
            first = self._next()
            if first is None:
                return
            wait_s = self._worth_waiting_s(first)
            if wait_s > 0:
                self._look_again(self._loop.time() + wait_s)
                return
            self._send(self._form(first))

    def _look_again(self, at: float) -> None:
        if self._timer is not None:
            when, timer = self._timer
            if when <= at:
                return
            timer.cancel()
        self._timer = at, self._loop.call_at(at, self._timed)

    def _timed(self) -> None:
        self._timer = None
        self._advance()

    def _next(self) -> Job | None:
        while self._begun:
            if not self._begun[0].done.done():
                return self._begun[0]
            self._begun.popleft()
        return next(self._waiting(), None)

    def _waiting(self) -> Iterator[Job]:
        for waiting in self._queues.in_order():
            assert isinstance(waiting, Job)
            if not waiting.turn.done():
                yield waiting

    def _worth_waiting_s(self, first: Job) -> float:
        config = first.lane.config
        if first.taken or first.ask.texts is None or self._inputs_waiting >= self._most_inputs(first):
            return 0.0
        if config.mode is Mode.ADAPTIVE and self._gap_s > config.window_s:
            return 0.0
        return first.arrived + config.window_s - self._loop.time()

    def _most_inputs(self, first: Job) -> int:
        config = first.lane.config
        return min(config.max_batch_size, self._limiter.limit) if config.mode is Mode.ADAPTIVE else config.max_batch_size

    def _form(self, first: Job) -> Batch:
        if first.ask.texts is None:
            return Batch([self._take(first, len(first.ask.sizes))])
        room, budget = self._most_inputs(first), first.lane.config.max_batch_tokens
        count, tokens = 0, 0
        for size in first.ask.sizes[first.taken :]:
            # One input goes, however long it is.
            if count >= room or (count and tokens + size > budget):
                break
            count, tokens = count + 1, tokens + size
        pieces = [self._take(first, count)]
        room, budget = room - count, budget - tokens
        company = []
        for looked_at, job in enumerate(self._waiting()):
            if room <= 0 or looked_at >= _LOOKED_AT:
                break
            size = sum(job.ask.sizes)
            if job.ask.key == first.ask.key and job.ask.texts is not None and len(job.ask.sizes) <= room and size <= budget:
                company.append(job)
                room, budget = room - len(job.ask.sizes), budget - size
        pieces += [self._take(job, len(job.ask.sizes)) for job in company]
        return Batch(pieces)

    def _take(self, job: Job, count: int) -> Piece:
        if not job.taken:
            self._queues.leave(job)
            job.lane.entered()
            job.measure.sent(monotonic())
            job.turn.set_result(None)
            if count < len(job.ask.sizes):
                self._begun.append(job)
        piece = Piece(job, job.taken, job.taken + count)
        job.taken += count
        self._inputs_waiting -= count
        if self._begun and job is self._begun[0] and job.taken == len(job.ask.sizes):
            self._begun.popleft()
        return piece

    # out and back

    def _send(self, batch: Batch) -> None:
        inputs = sum(len(piece.sizes) for piece in batch.pieces)
        self._metrics.batch_size.observe(inputs)
        self._limiter.holds(inputs)
        for piece in batch.pieces:
            piece.job.batches.append(batch)
        self._out.add(batch)
        batch.task = self._loop.create_task(self._run(batch))

    async def _run(self, batch: Batch) -> None:
        try:
            await self._caller.call(batch.pieces)
        except Exception:
            log.exception("a batch failed")
            for piece in batch.pieces:
                piece.job.finish(failure(500, "internal error"))
        finally:
            self._out.discard(batch)
            self._advance()

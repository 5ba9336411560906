"""Where requests wait: one line per class, bounded in length and in time.

The line with the highest priority goes first, and inside a line whoever came first. Who waits too long is turned away by one timer per
line: all in it may wait equally long, so the head's time is always up first.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from forebay.dataplane.sidecar.config import ClassConfig
from forebay.dataplane.sidecar.metrics import ClassMetrics, Metrics, Outcome

# Over how long the drain rate is remembered.
_RATE_MEMORY_S = 10.0
_MOST_RETRY_AFTER_S = 60.0


class TurnedAway(Exception):
    """A request that may not wait, or not any longer; `outcome` says which, `retry_after_s` when to come back."""

    def __init__(self, outcome: Outcome, retry_after_s: float) -> None:
        super().__init__("the queue is full" if outcome is Outcome.REJECTED_FULL else "the request waited too long")
        self.outcome = outcome
        self.retry_after_s = retry_after_s


class Waiting:
    """One who waits. `turn` resolves when it is its turn, or raises TurnedAway."""

    __slots__ = ("arrived", "lane", "turn")

    def __init__(self, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
        self.lane = lane
        self.arrived = loop.time()
        self.turn: asyncio.Future[None] = loop.create_future()


class Lane:
    """One class: its configuration, its line, and how many of it the engine has."""

    def __init__(self, config: ClassConfig, metrics: ClassMetrics) -> None:
        self.config = config
        self.metrics = metrics
        self.waiting: OrderedDict[Waiting, None] = OrderedDict()
        self.in_flight = 0
        self.timer: asyncio.TimerHandle | None = None

    def entered(self) -> None:
        """The engine has one more."""
        self.in_flight += 1
        self.metrics.in_flight.inc()

    def left(self) -> None:
        """The engine has one less."""
        self.in_flight -= 1
        self.metrics.in_flight.dec()


class Queues:
    """The lines of all classes."""

    def __init__(self, metrics: Metrics, loop: asyncio.AbstractEventLoop) -> None:
        self._metrics = metrics
        self._loop = loop
        self._lanes: dict[str, Lane] = {}
        self._order: list[Lane] = []
        self._ended = 0.0
        self._ended_at = loop.time()

    def configure(self, classes: Iterable[ClassConfig]) -> None:
        """Takes the classes of a configuration. A class that is gone keeps its line until nobody is in it."""
        wanted = {config.name: config for config in classes}
        for name, config in wanted.items():
            if name in self._lanes:
                self._lanes[name].config = config
            else:
                self._lanes[name] = Lane(config, self._metrics.of_class(name))
        for name, lane in tuple(self._lanes.items()):
            if name not in wanted and not lane.waiting and not lane.in_flight:
                del self._lanes[name]
        self._order = sorted(self._lanes.values(), key=lambda lane: -lane.config.priority)

    def lane(self, name: str) -> Lane:
        """The line of a class of the configuration."""
        return self._lanes[name]

    def lanes(self) -> list[Lane]:
        """All lines, the highest priority first."""
        return self._order

    @property
    def queued(self) -> int:
        return sum(len(lane.waiting) for lane in self._order)

    @property
    def in_flight(self) -> int:
        return sum(lane.in_flight for lane in self._order)

    def join(self, waiting: Waiting) -> None:
        """Lines up.

        Raises:
            TurnedAway: the line is as long as it may be.
        """
        lane = waiting.lane
        if len(lane.waiting) >= lane.config.max_depth:
            raise TurnedAway(Outcome.REJECTED_FULL, self.retry_after_s())
        self.line_up(waiting)

    def line_up(self, waiting: Waiting) -> None:
        """Lines up however long the line is."""
        lane = waiting.lane
        lane.waiting[waiting] = None
        lane.metrics.queue_depth.inc()
        if lane.timer is None:
            self._watch(lane)

    def leave(self, waiting: Waiting) -> None:
        """Takes one out of its line, wherever it stands."""
        lane = waiting.lane
        if waiting in lane.waiting:
            del lane.waiting[waiting]
            lane.metrics.queue_depth.dec()

    def in_order(self) -> Iterator[Waiting]:
        """All who wait, next first. The lines must not change meanwhile."""
        for lane in self._order:
            yield from lane.waiting

    def ended(self) -> None:
        """Counts one request that the engine is done with, for the drain rate."""
        self._ended = self._decayed() + 1
        self._ended_at = self._loop.time()

    def retry_after_s(self) -> float:
        """About how long the requests that wait now will take; at least one second."""
        rate = self._decayed() / _RATE_MEMORY_S
        return min(max((self.queued + 1) / rate, 1.0), _MOST_RETRY_AFTER_S) if rate > 0 else 1.0

    def _decayed(self) -> float:
        return self._ended * math.exp((self._ended_at - self._loop.time()) / _RATE_MEMORY_S)

    def _watch(self, lane: Lane) -> None:
        lane.timer = None
        now = self._loop.time()
        while lane.waiting:
            first = next(iter(lane.waiting))
            due = first.arrived + lane.config.max_wait_s
            if due > now:
                lane.timer = self._loop.call_at(due, self._watch, lane)
                return
            self.leave(first)
            if not first.turn.done():
                first.turn.set_exception(TurnedAway(Outcome.REJECTED_WAIT, self.retry_after_s()))

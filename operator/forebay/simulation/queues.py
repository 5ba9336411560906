"""Where a replica's requests wait, as in its sidecar: a line per class, the highest priority first, inside a line whoever came first.

Each line is bounded in length and in time. Not mirrored is the sidecar's own limit of what the engine has at once: all of its places are
used, and `maxBatchSize` of a class is not looked at.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from forebay.simulation.request import Request


@dataclass(frozen=True, slots=True)
class Rule:
    """What one class's line is held to: `max_depth` requests may wait in it, each for `max_wait_s`.

    `max_attempts` is how many replicas the gateway tries, the first one included.
    """

    priority: int = 0
    max_depth: float = inf
    max_wait_s: float = inf
    max_attempts: int = 2


ANY = Rule()
"""Of a class that nothing is said about."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What the gateway holds of one class while no replica is there: so many requests, of one tenant half of them, each for so long."""

    most: int = sys.maxsize
    longest_s: float = inf

    def takes(self, request: Request, held: Iterable[Request]) -> bool:
        """Whether there is room for one more. Of a workload without tenants it is not known whose requests are the same one's."""
        mine = [other for other in held if other.batch_class == request.batch_class]
        same = sum(other.tenant == request.tenant for other in mine) if request.tenant else 0
        return len(mine) < self.most and same < max(1, self.most // 2)


class Lines:
    """The lines of one replica."""

    __slots__ = ("_lines", "_order", "_rules", "count")

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._lines: dict[str, deque[Request]] = {}
        self._order: list[deque[Request]] = []
        self.count = 0

    def __iter__(self) -> Iterator[Request]:
        """All who wait, next first."""
        for line in self._order:
            yield from line

    def join(self, request: Request, free: int) -> bool:
        """Lines up, if there is room in the line; `free` places are for those who wait already, and who stands there is in no line."""
        line = self._lines.get(request.batch_class)
        if line is None:
            line = self._open(request.batch_class)
        if min(len(line), self.count - free) >= self._rules.get(request.batch_class, ANY).max_depth:
            return False
        line.append(request)
        self.count += 1
        return True

    def take(self, room: int) -> list[Request]:
        """Those whose turn it is, so many at most."""
        taken: list[Request] = []
        for line in self._order:
            while line and len(taken) < room:
                taken.append(line.popleft())
        self.count -= len(taken)
        return taken

    def give_up(self, now: float) -> list[Request]:
        """Those who have waited for too long."""
        gone: list[Request] = []
        for line in self._order:
            while line and line[0].gives_up_at < now:
                gone.append(line.popleft())
        self.count -= len(gone)
        return gone

    def clear(self) -> None:
        for line in self._order:
            line.clear()
        self.count = 0

    def _open(self, name: str) -> deque[Request]:
        self._lines[name] = line = deque[Request]()
        by_priority = sorted(self._lines, key=lambda n: -self._rules.get(n, ANY).priority)
        self._order = [self._lines[n] for n in by_priority]
        return line

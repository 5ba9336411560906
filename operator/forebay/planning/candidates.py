"""Mixes that may hold a load and may cost no more than another, for all that prices and throughput of single replicas say.

There are as many ways to begin a mix as there are counts of each kind to the power of kinds, and few of them end well. So a beginning is
given up as soon as what it lacks cannot be had for what is left of the money, and looking ends after so many steps in any case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, inf

from forebay.planning.mix import Counts

MOST_STEPS = 40_000
"""Counts of single kinds that are tried, over all mixes: some tenths of a second."""

_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Bounds:
    """Fewest and most replicas of each kind, and of all together."""

    least: Counts
    most: Counts
    fewest: int
    total: int

    def only(self, place: int) -> Bounds:
        """The same for one kind alone."""
        return replace(
            self,
            least=tuple(n if i == place else 0 for i, n in enumerate(self.least)),
            most=tuple(n if i == place else 0 for i, n in enumerate(self.most)),
        )


def candidates(bounds: Bounds, each: tuple[float, ...], rps: tuple[float, ...], rate: float, dearest: float) -> Iterator[Counts]:
    """Mixes whose replicas hold the rate at best, requests/s, and cost no more than the dearest may; `each` and `rps` are of a replica.

    From few of the first kind to many; not all of them where there are too many steps to take.
    """
    return _Way(bounds, each, rps, rate, dearest * (1.0 + _CLOSE), iter(range(MOST_STEPS))).on((), 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Way:
    bounds: Bounds
    each: tuple[float, ...]
    rps: tuple[float, ...]
    rate: float
    dearest: float
    steps: Iterator[int]

    def on(self, head: Counts, spent: float, held: float) -> Iterator[Counts]:
        """What these counts of the first kinds, which cost and hold so much, may go on to be."""
        bounds, place = self.bounds, len(head)
        if place == len(self.rps):
            yield head
            return
        each, rps, later = self.each[place], self.rps[place], range(place + 1, len(self.rps))
        fixed = sum(bounds.least[i] * self.each[i] for i in later)
        sure = sum(bounds.least[i] * self.rps[i] for i in later)
        ratio = min((self.each[i] / self.rps[i] for i in later if self.rps[i] > 0.0 and bounds.most[i] > bounds.least[i]), default=inf)
        first = bounds.least[place]
        if not later:
            first = max(first, 1 - sum(head), bounds.fewest - sum(head), ceil((self.rate - held) / max(rps, 1e-12) - _CLOSE))
        for n in range(first, min(bounds.most[place], bounds.total - sum(head)) + 1):
            cost = spent + n * each + fixed
            if next(self.steps, None) is None or cost > self.dearest:
                break
            missing = self.rate - held - n * rps - sure
            if not later or missing <= 0.0 or cost + missing * ratio <= self.dearest:
                yield from self.on((*head, n), spent + n * each, held + n * rps)

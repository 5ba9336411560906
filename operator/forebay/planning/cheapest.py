"""The cheapest replicas, of one kind or of several, that hold every promise.

Exact for the model where few mixes could be cheaper than a good one: all that could are listed by what replicas hold at best, and tried
from the cheapest on. Of many only the cheapest and the dearest are: where there are many, they differ little in price. At best, a replica
holds what one of a pool of its own kind holds; in mixed company it holds no more, for the slower kind bounds what all may have in flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf
from typing import Protocol

from forebay.planning.candidates import Bounds, candidates
from forebay.planning.mix import Counts, Fleet
from forebay.planning.search import fewest

MOST_LISTED = 4000
"""Mixes that may hold; the list ends there, and the good one that was found first stands against it."""

MOST_TRIED = 200
"""Mixes of the list that are held against the model, milliseconds each: whoever decides for a pool has others to decide for."""

HOPE = 1.02
"""How much more than in a pool of its own kind a replica may hold in mixed company, where it makes up for others' misses."""


class Prices(Protocol):
    """What mixes cost."""

    @property
    def in_dollars(self) -> bool:
        """Whether the unit is dollars per hour."""

    @property
    def each(self) -> tuple[float, ...]:
        """What a replica of each kind costs at least: no mix is cheaper than the sum."""

    def of(self, counts: Counts) -> float:
        """Exact, and inf for what may not be."""

    def least(self, total: int) -> float:
        """What so many replicas or more cost at least, of whatever kinds."""


def alone(fleet: Fleet, place: int, total: int) -> int:
    """The fewest replicas of one kind alone that hold; `total` + 1 where that is too few."""
    least = max(1, ceil(fleet.rate / max(fleet.kinds[place].most_rps, 1e-12)))
    found = fewest(lambda n: fleet.lack(only(fleet, place, n)), least, total, least)
    return total + 1 if least > total or fleet.lack(only(fleet, place, found)) else found


def only(fleet: Fleet, place: int, replicas: int) -> Counts:
    """So many of one kind, and none of another."""
    return tuple(replicas if i == place else 0 for i in range(len(fleet.kinds)))


def held_rps(fleet: Fleet, total: int) -> tuple[float, ...]:
    """Requests/s that one replica of each kind holds at best: the load over the most of its kind alone that do not hold it."""
    found = []
    for place, kind in enumerate(fleet.kinds):
        too_few = alone(fleet, place, total) - 1
        found.append(min(kind.most_rps, fleet.rate / too_few) if too_few else kind.most_rps)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Search:
    """A fleet's search. `holds_rps` is what one replica of each kind holds in a pool of its own kind (`held_rps`)."""

    fleet: Fleet
    holds_rps: tuple[float, ...]
    prices: Prices

    def cheapest(self, bounds: Bounds) -> Counts | None:
        """None where nothing within the bounds holds, or may be. Of equally dear ones that with fewer kinds, of kinds listed earlier."""
        good = [c for order in self._orders() if (c := self._added(bounds, order)) is not None]
        best = min([*good, *self._alone(bounds)], key=self._rank, default=None)
        if best is None or self.prices.of(best) == inf:
            return None
        if sum(n > 0 for n in best) == 1 and self.prices.of(best) <= self.prices.least(self._fewest(bounds)):
            return best
        listed = self.listed(bounds, self.prices.of(best))
        failed: list[Counts] = []
        hopeful = [c for c in listed if self._rank(c) < self._rank(best) and self.fleet.rate <= self.fleet.most_rps(c)]
        for counts in _tried(sorted(hopeful, key=self._rank)):
            if any(all(a <= b for a, b in zip(counts, other, strict=True)) for other in failed):
                continue
            if not self.fleet.lack(counts):
                return counts
            failed.append(counts)
        return best

    def _fewest(self, bounds: Bounds) -> int:
        """Replicas that there are at least, for throughput's sake too."""
        return max(1, bounds.fewest, sum(bounds.least), ceil(self.fleet.rate / max(k.most_rps for k in self.fleet.kinds) - 1e-9))

    def _alone(self, bounds: Bounds) -> list[Counts]:
        """The fewest of each kind alone that hold."""
        found = []
        for place, most in enumerate(bounds.most):
            replicas = max(alone(self.fleet, place, bounds.total), bounds.fewest, bounds.least[place])
            if replicas <= min(most, bounds.total) and sum(bounds.least) == bounds.least[place]:
                found.append(only(self.fleet, place, replicas))
        return found

    def _rank(self, counts: Counts) -> tuple[float, int, list[int], int]:
        used = [i for i, n in enumerate(counts) if n]
        return self.prices.of(counts), len(used), used, sum(counts)

    def _orders(self) -> list[list[int]]:
        """Kinds by what they cost for what they hold, and by what they hold."""
        places = range(len(self.holds_rps))
        return [
            sorted(places, key=lambda i: (self.prices.each[i] / max(self.holds_rps[i], 1e-12), i)),
            sorted(places, key=lambda i: (-self.holds_rps[i], i)),
        ]

    def _added(self, bounds: Bounds, order: list[int]) -> Counts | None:
        """Replicas added in this order of kinds, until they hold."""
        counts, rate = list(bounds.least), self.fleet.rate
        for place in order:
            while counts[place] < bounds.most[place] and sum(counts) < bounds.total:
                if sum(counts) >= max(1, bounds.fewest) and not self.fleet.lack(tuple(counts)):
                    return tuple(counts)
                missing = rate / HOPE - sum(n * held for n, held in zip(counts, self.holds_rps, strict=True))
                more = max(1, int(missing / max(self.holds_rps[place], 1e-12)) if missing > 0 else 1)
                more = max(more, bounds.fewest - sum(counts))
                counts[place] += min(more, bounds.most[place] - counts[place], bounds.total - sum(counts))
        return tuple(counts) if sum(counts) >= max(1, bounds.fewest) and not self.fleet.lack(tuple(counts)) else None

    def listed(self, bounds: Bounds, dearest: float, most: int = MOST_LISTED) -> list[Counts]:
        """Mixes that may hold and may be no dearer, at most so many."""
        found: list[Counts] = []
        for counts in candidates(bounds, self.prices.each, self.holds_rps, self.fleet.rate / HOPE, dearest):
            if self.prices.of(counts) <= dearest:
                found.append(counts)
                if len(found) >= most:
                    break
        return found


def _tried(listed: list[Counts]) -> list[Counts]:
    """Of mixes by price the cheapest, which save most, and the dearest, which may hold, where there are too many."""
    half = MOST_TRIED // 2
    return listed if len(listed) <= MOST_TRIED else [*listed[:half], *listed[-half:]]

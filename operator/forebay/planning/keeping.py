"""Whether what there is may stay without a search for another mix. From one look to the next that is nearly always so.

Two things are shown: of what there is, a part holds and one replica fewer does not; and nothing holds that is cheaper by the margin that a
move must save. For the latter, mixes that can be paid with so little are listed. What has less throughput than is asked for, or is a part
of something that does not hold, holds neither; only what is left is tried, from the strongest on. Where much is left, or something of it
holds, nothing is said, and the search decides (cheapest.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from forebay.planning.candidates import Bounds
from forebay.planning.cheapest import HOPE, Prices, Search
from forebay.planning.mix import Counts, Fleet
from forebay.planning.search import fewest

MOST_TRIED = 6
"""Mixes that are tried here. A search costs about as much as twice so many."""

MOST_LISTED = 400


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays, and what was tried in its place: none of it holds."""

    counts: Counts
    tried: tuple[Counts, ...]


def kept(fleet: Fleet, prices: Prices, bounds: Bounds, there: Counts, start: int, share: float) -> Kept | None:
    """The part of what there is that holds, if nothing holds that costs less than this share of it; None where that is not known.

    `start` is how many replicas to look at first.
    """
    stay = _part(fleet, bounds, there, start)
    if stay is None or prices.of(stay) == inf:
        return None
    spared = sum(stay) > max(1, bounds.fewest)
    failed = [less for place, n in enumerate(stay) if n and spared and fleet.lack(less := _less(stay, place))]
    dearest = prices.of(stay) * share
    doubted = _doubted(fleet, prices, bounds, dearest, failed)
    if doubted is None:
        return None
    tried: list[Counts] = []
    while left := [c for c in doubted if not _hopeless(c, failed)]:
        first = max(left, key=lambda c: (sum(n > 0 for n in c) == 1, fleet.most_rps(c), c))
        if len(tried) >= MOST_TRIED or not fleet.lack(first):
            return None
        tried.append(first)
        failed.append(first)
        doubted = left
    return Kept(stay, tuple(tried))


def _part(fleet: Fleet, bounds: Bounds, there: Counts, start: int) -> Counts | None:
    """The fewest replicas of what there is that hold; of several kinds all of them, if not one can be spared."""
    if not bounds.fewest <= sum(there) <= bounds.total:
        return None
    used = [place for place, n in enumerate(there) if n]
    if len(used) != 1:
        spared = [_less(there, place) for place in used if sum(there) > max(1, bounds.fewest)]
        return None if fleet.lack(there) or not all(fleet.lack(less) for less in spared) else there
    place = used[0]

    def alone(n: int) -> Counts:
        return tuple(n if i == place else 0 for i in range(len(there)))

    least = max(1, bounds.fewest, ceil(fleet.rate / max(fleet.kinds[place].most_rps, 1e-12)))
    found = alone(fewest(lambda n: fleet.lack(alone(n)), least, there[place], start))
    return None if fleet.lack(found) else found


def _less(counts: Counts, place: int) -> Counts:
    return tuple(n - (i == place) for i, n in enumerate(counts))


def _doubted(fleet: Fleet, prices: Prices, bounds: Bounds, dearest: float, failed: list[Counts]) -> list[Counts] | None:
    """Mixes that cost less and may hold, for all that is known; None where there are too many to look at."""
    each_rps = tuple(k.most_rps for k in fleet.kinds)
    if prices.least(max(bounds.fewest, ceil(fleet.rate / max(each_rps)))) >= dearest:
        return []
    listed = Search(fleet, each_rps, prices).listed(bounds, dearest, MOST_LISTED + 1)
    if len(listed) > MOST_LISTED:
        return None
    return [c for c in listed if prices.of(c) < dearest and fleet.rate <= fleet.most_rps(c) and not _hopeless(c, failed)]


def _hopeless(counts: Counts, failed: list[Counts]) -> bool:
    """Whether it is part of what does not hold; or less than so many of each kind alone come to, of which none would hold."""
    if any(all(a <= b for a, b in zip(counts, other, strict=True)) for other in failed):
        return True
    alone = [max((f[i] for f in failed if sum(f) == f[i]), default=0) for i in range(len(counts))]
    return all(alone) and sum(n / most for n, most in zip(counts, alone, strict=True)) < 1.0 / HOPE

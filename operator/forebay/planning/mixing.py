"""Which mix of kinds a pool has next: the cheapest, but what is loaded already counts.

A load that grows is met by the cheapest addition to what there is, one that shrinks by giving back what saves most. To another mix the
pool moves only where that is cheaper by a margin for a whole window, and only once what it would have saved since pays for its start
(the ski-rental rule: never more than twice what hindsight would have paid). Where nothing holds within `nodes.limits`, it is not the
cheapest that counts but what holds most within them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from forebay.api.meta import format_duration
from forebay.planning.candidates import Bounds
from forebay.planning.cheapest import Prices, Search, alone, held_rps, only
from forebay.planning.hold import window_s
from forebay.planning.keeping import kept
from forebay.planning.mix import Counts, Fleet
from forebay.planning.prices import PriceList
from forebay.planning.search import fewest
from forebay.planning.snapshot import Snapshot
from forebay.planning.starts import lead_time_s
from forebay.planning.variants import Choice, choice_name, wanted_variants

MARGIN = 0.05
"""Share of its cost that another mix must save at least."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """Replicas of each kind. `moves` where it is no mere addition to what there was, nor part of it; `capped` where it does not hold."""

    counts: Counts
    why: tuple[str, ...]
    binding: str
    better_since: float | None = None
    moves: bool = False
    capped: bool = False


def needed(fleet: Fleet, counts: Counts, floor: int) -> int:
    """Replicas of a mix that the load asks for; the others are there for the floor's sake. Those that hold most are counted on first."""
    total = sum(counts)
    if total > floor:
        return total
    strongest = sorted(range(len(counts)), key=lambda place: (-fleet.kinds[place].most_rps, place))
    return fewest(lambda n: fleet.lack(_first(counts, strongest, n)), 1, total, 1)


def _first(counts: Counts, order: Sequence[int], replicas: int) -> Counts:
    """So many replicas of a mix, kind by kind in this order."""
    taken, left = [0] * len(counts), replicas
    for place in order:
        taken[place] = min(counts[place], left)
        left -= taken[place]
    return tuple(taken)


@dataclass(frozen=True, slots=True)
class Mixing:
    """One decision: the kinds that can keep every promise, and the replicas that there are of each.

    `most` bounds kinds of which no more come at present.
    """

    snapshot: Snapshot
    choices: tuple[Choice, ...]
    fleet: Fleet
    there: Counts
    most: Counts

    def decide(self) -> Mixed:
        scaling = self.snapshot.spec.scaling
        if any(self.there) and self.snapshot.memory.better_since is None and (stays := self._kept()) is not None:
            return stays
        holds = held_rps(self.fleet, scaling.max_replicas)
        zero = tuple(0 for _ in self.choices)
        limited, unlimited = (Search(self.fleet, holds, PriceList(self.snapshot, self.choices, within)) for within in (True, False))
        for most in (self.most, (scaling.max_replicas,) * len(zero)):
            bounds = Bounds(zero, most, scaling.min_replicas, scaling.max_replicas)
            if (best := limited.cheapest(bounds)) is not None:
                return self._chosen(limited, bounds, best)
            if (short := self._short(unlimited, bounds)) is not None:
                return short
        return self._fastest()

    def _kept(self) -> Mixed | None:
        """What there is, or a part of it, where it is clear without a search that this is what a search would choose."""
        scaling, recent = self.snapshot.spec.scaling, self.snapshot.memory.recommendations
        prices = PriceList(self.snapshot, self.choices)
        bounds = Bounds(tuple(0 for _ in self.choices), self.most, scaling.min_replicas, scaling.max_replicas)
        found = kept(self.fleet, prices, bounds, self.there, recent[-1].replicas if recent else sum(self.there), 1.0 - MARGIN)
        if found is None:
            return None
        binding = self._binding(found.counts, bounds)
        tried = ", nor ".join(f"{self.said(c, prices)} by {self.fleet.lack(c)}" for c in found.tried)
        why = (
            f"{self.said(found.counts, prices)}: {sum(found.counts)} replicas by {binding}",
            f"nothing that costs {MARGIN:.0%} less holds{': not ' + tried if tried else ''}",
        )
        return Mixed(found.counts, why, binding)

    def _chosen(self, search: Search, bounds: Bounds, best: Counts) -> Mixed:
        there = tuple(min(a, b) for a, b in zip(self.there, bounds.most, strict=True))
        stay = self._nearest(search, bounds, there) if any(there) else best
        if stay is None or search.prices.of(best) >= search.prices.of(stay) * (1.0 - MARGIN):
            chosen = best if stay is None else stay
            return self._mixed(search, bounds, chosen)
        since = self.snapshot.memory.better_since if self.snapshot.fresh else None
        since = self.snapshot.now if since is None else since
        waits_s, pays = self._waits_s(search, best, stay)
        unsettled = any(r.replicas > sum(stay) for r in self.snapshot.memory.recommendations)
        if self.snapshot.now - since < waits_s or unsettled:
            other, waits = self.said(best, search.prices), format_duration(round(waits_s))
            note = f"{other} would do as well, and must for {waits}{pays} before the pool moves"
            return replace(self._mixed(search, bounds, stay, note), better_since=since)
        return self._mixed(search, bounds, best)

    def _short(self, search: Search, bounds: Bounds) -> Mixed | None:
        """Nothing holds within the limits: the mix of which what they let through holds most; None where nothing holds without them either.

        The pool is overloaded, and a move costs it replicas while others start. So what is there stays, unless another holds clearly more.
        """
        cheapest = None if self.snapshot.spec.capacity.nodes.limits.unset else search.cheapest(bounds)
        if cheapest is None:
            return None
        places = range(len(self.choices))
        best = max((cheapest, *(self._grown(search, bounds, bounds.least, place) for place in places)), key=self._let_through_rps)
        there = self._let_through(_first(tuple(map(min, self.there, bounds.most)), places, bounds.total))
        stay = self._grown(search, bounds, there, max(i for i, n in enumerate(there) if n)) if any(there) else best
        if self._let_through_rps(stay) >= self._let_through_rps(best) * (1.0 - MARGIN):
            return self._mixed(search, bounds, stay)
        since = self.snapshot.memory.better_since if self.snapshot.fresh else None
        since, waits_s = self.snapshot.now if since is None else since, window_s(self.snapshot)
        if self.snapshot.now - since >= waits_s:
            return self._mixed(search, bounds, best)
        other = self.said(self._let_through(best), search.prices)
        note = f"{other} would hold more within nodes.limits, and must for {format_duration(round(waits_s))} before the pool moves"
        return replace(self._mixed(search, bounds, stay, note), better_since=since)

    def _grown(self, search: Search, bounds: Bounds, there: Counts, place: int) -> Counts:
        """What is there and so many more of one kind that it holds, or as many as there may be."""
        most = tuple(bounds.most[i] if i == place else n for i, n in enumerate(there))
        filled = tuple(min(n, there[i] + bounds.total - sum(there)) for i, n in enumerate(most))
        return search.cheapest(replace(bounds, least=there, most=most)) or filled

    def _let_through(self, counts: Counts) -> Counts:
        """As much of a mix as the limits allow, the first kinds first, as placement takes them."""
        prices, order = PriceList(self.snapshot, self.choices), range(len(counts))
        allowed = bisect_left(range(1, sum(counts) + 1), True, key=lambda n: prices.of(_first(counts, order, n)) == inf)
        return _first(counts, order, allowed)

    def _let_through_rps(self, counts: Counts) -> float:
        """Requests/s that what the limits allow of a mix holds."""
        return self.fleet.largest_rate(self._let_through(counts))

    def _nearest(self, search: Search, bounds: Bounds, there: Counts) -> Counts | None:
        """The cheapest part of what there is that holds, or else the cheapest addition to it. Of more than may be, a part or nothing."""
        part = sum(there) > bounds.total or (sum(there) >= bounds.fewest and not self.fleet.lack(there))
        return search.cheapest(replace(bounds, most=there) if part else replace(bounds, least=there))

    def _waits_s(self, search: Search, best: Counts, stay: Counts) -> tuple[float, str]:
        """How long another mix must have been cheaper: a window, and until its start, in which both are paid, is paid for."""
        window = window_s(self.snapshot)
        prices = search.prices
        if not prices.in_dollars:
            return window, ""
        new = zip(best, stay, prices.each, self.choices, strict=True)
        start_usd_s = sum(max(0, a - b) * each * self._start_s(choice) for a, b, each, choice in new)
        pays_s = start_usd_s / (prices.of(stay) - prices.of(best))
        return (pays_s, ", until its start has paid") if pays_s > window else (window, "")

    def _start_s(self, choice: Choice) -> float:
        return lead_time_s(self.snapshot.memory, tuple(v.name for v in wanted_variants(self.snapshot.spec, choice)))

    def _mixed(self, search: Search, bounds: Bounds, counts: Counts, *notes: str) -> Mixed:
        binding = self._binding(counts, bounds)
        pairs = list(zip(counts, self.there, strict=True))
        moves = any(self.there) and not (all(a >= b for a, b in pairs) or all(a <= b for a, b in pairs))
        why = [f"{self.said(counts, search.prices)}: {sum(counts)} replicas by {binding}", *self._compared(search, counts), *notes]
        return Mixed(counts, tuple(why), binding, moves=moves, capped=bool(self.fleet.lack(counts)))

    def _binding(self, counts: Counts, bounds: Bounds) -> str:
        """What one replica fewer of the kind that is used last would not hold."""
        if sum(counts) <= max(1, bounds.fewest):
            return "floor"
        last = max(i for i, n in enumerate(counts) if n)
        fewer = tuple(n - (i == last) for i, n in enumerate(counts))
        return self.fleet.lack(fewer) or "what is there already"

    def _compared(self, search: Search, chosen: Counts) -> list[str]:
        """What each kind alone would take."""
        found, scaling = [], self.snapshot.spec.scaling
        for place, choice in enumerate(self.choices):
            replicas = max(alone(self.fleet, place, scaling.max_replicas), scaling.min_replicas)
            if replicas > scaling.max_replicas:
                found.append(f"{choice_name(choice)} alone would not do")
            elif not chosen[place] or sum(chosen) > chosen[place]:
                found.append(f"{self.said(only(self.fleet, place, replicas), search.prices)} alone")
        return [f"compared with {'; '.join(found)}"] if found else []

    def said(self, counts: Sequence[int], prices: Prices) -> str:
        """A mix in words, with its price where there is one."""
        mix = " + ".join(f"{n} × {choice_name(c)}" for n, c in zip(counts, self.choices, strict=True) if n)
        return f"{mix} at {prices.of(tuple(counts)):.4g} $/h" if prices.in_dollars and prices.of(tuple(counts)) < inf else mix

    def _fastest(self) -> Mixed:
        """Nothing holds: as many as there may be of the kind of which so many, or what the limits allow of them, hold most."""
        total = self.snapshot.spec.scaling.max_replicas
        kinds = [only(self.fleet, place, total) for place in range(len(self.choices))]
        counts = max(kinds, key=self._let_through_rps)
        place = kinds.index(counts)
        binding = self.fleet.lack(counts) or "nodes.limits"
        return Mixed(
            counts, (f"{total} replicas of {choice_name(self.choices[place])}: no mix of maxReplicas {total} holds",), binding, capped=True
        )

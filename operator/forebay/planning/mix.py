"""Whether replicas of several kinds together hold every promise: the queueing model for a fleet that is not all alike.

The router sends each request where the fewest are, so all replicas have about as many in flight, and one that takes longer over them
gets fewer in proportion. Each kind then sees the queue of a fleet that is all of its kind, as large as the whole, at its own rate; what a
request meets is the mean over the kinds, weighted by how many requests each gets. Model and limits: docs/planning/variants.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from forebay.planning.latency import miss, miss_at_most
from forebay.planning.queueing import EngineProfile, Occupancy, occupancy, service_rate
from forebay.planning.sharing import EVEN, Router
from forebay.planning.sizing import MOST_UTILISED, THROUGHPUT, TURNED_AWAY, WAIT, Demanded, Expected, as_met, kind_of
from forebay.planning.work import Promise, Work, dispersion_of

_CLOSE = 1.02
"""Ratio between the ends of a bracket at which a rate is exact enough."""

_NEVER_S = 1e18

Counts = tuple[int, ...]
"""Replicas of each kind, in the order of the kinds."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Replicas of one speed, and what the classes' requests cost on them.

    Promises are sized for `aims_s`, a little less than their targets.
    """

    name: str
    engine: EngineProfile
    works: tuple[Work, ...]
    work: Work
    aims_s: tuple[tuple[float, ...], ...]
    most_rps: float

    def rate_at(self, level: float, gap_s: float) -> float:
        """Requests/s of one replica while all have so many in flight. Below one, idle ones wait their turn: for `gap_s` where half are."""
        steps_s, each_s = (self.work.decodes + 1.0) * self.engine.base_s, self.work.total_s
        if level < 1.0:
            waits_s = gap_s * (1.0 - level) / max(level, 1e-12)
            return min(1.0 / (waits_s + steps_s + each_s), self.most_rps)
        return min(level / (steps_s + each_s * level), self.most_rps)

    @property
    def alone_s(self) -> float:
        """Seconds that a request takes which has a replica to itself."""
        return (self.work.decodes + 1.0) * self.engine.base_s + self.work.total_s


def kind(name: str, classes: tuple[Demanded, ...], engine: EngineProfile, share: float = 1.0, router: Router = EVEN) -> Kind:
    """A kind of replica. `share` is how much of its profile's throughput it is counted on for.

    Raises:
        Infeasible: one replica alone, idle, misses a promise already.
    """
    model = kind_of(classes, engine, router)
    return Kind(name, engine, model.works, model.work, model.aims_s, MOST_UTILISED * share * service_rate(engine, model.work))


Met = tuple[float, Kind, list[Occupancy]]
"""A kind, its share of the requests, and what each class meets on it."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The classes of a pool, the kinds that may serve them, and how evenly requests are shared out (`replicas_for`)."""

    classes: tuple[Demanded, ...]
    kinds: tuple[Kind, ...]
    router: Router = EVEN
    _lacks: dict[Counts, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def rate(self) -> float:
        return sum(c.load.requests_per_s for c in self.classes)

    def most_rps(self, counts: Counts) -> float:
        """The rate that they may be loaded with, whatever is promised."""
        return sum(n * k.most_rps for n, k in zip(counts, self.kinds, strict=True))

    def rates(self, counts: Counts, rate: float) -> list[float] | None:
        """Requests/s of one replica of each kind; None where they cannot keep up."""
        if rate > self.most_rps(counts):
            return None
        used = [k for n, k in zip(counts, self.kinds, strict=True) if n]
        if len(used) == 1:
            return [rate / n if n else 0.0 for n in counts]
        gap_s = min(k.alone_s for k in used)

        def at(level: float) -> list[float]:
            return [k.rate_at(level, gap_s) if n else 0.0 for n, k in zip(counts, self.kinds, strict=True)]

        low, high = 0.0, float(max(k.engine.max_concurrency for k in used))
        while high - low > 1e-4 * high:
            middle = 0.5 * (low + high)
            enough = sum(n * r for n, r in zip(counts, at(middle), strict=True)) >= rate
            low, high = (low, middle) if enough else (middle, high)
        found = at(high)
        total = sum(n * r for n, r in zip(counts, found, strict=True))
        return [r * rate / total for r in found] if total > 0.0 else found

    def states(self, counts: Counts, rate: float) -> list[Met] | None:
        """Each kind with its share of the requests and what each class meets there; None where they cannot keep up."""
        rates, replicas = self.rates(counts, rate), sum(counts)
        if rates is None:
            return None
        window_s = max(c.batch_window_s for c in self.classes)
        dispersion = dispersion_of([c.load for c in self.classes]) if rate > 0.0 else 1.0
        found = []
        for n, own_rps, of in zip(counts, rates, self.kinds, strict=True):
            if n:
                state = occupancy(of.work, of.engine, own_rps * replicas, replicas, self.router, window_s, dispersion)
                if state is None:
                    return None
                found.append((n * own_rps / rate if rate > 0.0 else n / replicas, of, self._in_lines(of, own_rps, state)))
        return found

    def _in_lines(self, of: Kind, own_rps: float, state: Occupancy) -> list[Occupancy]:
        """The state as each class meets it: those of lower priority wait longer for a place, and for company."""
        return as_met(state, self.classes, of.works, own_rps / service_rate(of.engine, of.work))

    def lack(self, counts: Counts) -> str:
        """What they do not hold at the fleet's own rate, or nothing; of counts that were asked about before it is known."""
        if counts not in self._lacks:
            self._lacks[counts] = self.failure(counts, self.rate)
        return self._lacks[counts]

    def failure(self, counts: Counts, rate: float) -> str:
        """What these replicas do not hold at this rate: the first thing that is found, or nothing."""
        states = self.states(counts, rate) if any(counts) else None
        if states is None:
            return THROUGHPUT
        if any(sum(p * s[i].wait_miss(c.max_wait_s) for p, _, s in states) > TURNED_AWAY for i, c in enumerate(self.classes)):
            return WAIT
        for number, demanded in enumerate(self.classes):
            for place, promise in enumerate(demanded.promises):
                asked = [(share, s[number], k.works[number], promise.metric, k.aims_s[number][place]) for share, k, s in states]
                allowed = 1.0 - promise.quantile
                if sum(a[0] * miss_at_most(*a[1:]) for a in asked) > allowed and sum(a[0] * miss(*a[1:]) for a in asked) > allowed:
                    return f"{demanded.name}/{promise.metric}" if demanded.name else promise.metric
        return ""

    def expected(self, counts: Counts, rate: float) -> tuple[Expected, ...]:
        """What becomes of every promise with these replicas."""
        states = self.states(counts, rate) if any(counts) else None
        return tuple(
            Expected(d.name, p.metric, p.quantile, p.target_s, _tail_s(states, number, p))
            for number, d in enumerate(self.classes)
            for p in d.promises
        )

    def largest_rate(self, counts: Counts) -> float:
        """The largest rate that they hold, requests/s; 0 where that is none."""
        low, high = 0.0, self.most_rps(counts)
        if not self.failure(counts, high):
            return high
        while high > max(low * _CLOSE, 1e-6):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if self.failure(counts, middle) else (middle, high)
        return low


def _tail_s(states: Sequence[Met] | None, number: int, promise: Promise) -> float:
    """The time that the promise's quantile of requests stays within, seconds; inf where the replicas cannot keep up."""
    if states is None:
        return inf

    def holds(seconds: float) -> bool:
        return sum(share * miss(s[number], k.works[number], promise.metric, seconds) for share, k, s in states) <= 1.0 - promise.quantile

    low, high = 0.0, promise.target_s
    while not holds(high):
        low, high = high, 2.0 * high
        if high > _NEVER_S:
            return inf
    while high - low > 0.01 * high:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high

"""The smallest replica count that holds every class's tail objectives, and what decided it.

Classes of one pool share its replicas, so their work is mixed and every promise is checked against the same queue. More replicas never
make a request later, which is what the search rests on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil, floor, inf, isfinite, log10

from forebay.api.meta import format_duration
from forebay.planning.latency import miss, miss_at_most
from forebay.planning.priorities import Ranked, in_lines
from forebay.planning.queueing import EngineProfile, Load, Metric, Occupancy, Promise, Work, mixed, occupancy, service_rate, work_of
from forebay.planning.search import fewest
from forebay.planning.sharing import EVEN, Router
from forebay.planning.work import dispersion_of

MOST_UTILISED = 0.9
"""Share of its throughput that a replica may be loaded with: nearer to all of it queues outgrow any promise, and any measurement."""

CARE = 0.02
"""Share of a target that is kept back, where an idle replica leaves it: by about as much the model errs (docs/planning/queueing.md)."""

TURNED_AWAY = 0.01
"""Share of requests that may wait longer than their class allows, and are then refused."""

THROUGHPUT, WAIT, FLOOR = "throughput", "maxWait", "floor"

_AT_ONCE_S, _NEVER_S = 1e-9, 1e18
"""Between these, seconds are looked for."""

_YEAR_S = 365 * 86_400.0
"""Where no time can be named, it is said to be more than this."""

CLOSE = 1.03
"""Ratio between the ends of a bracket at which a reported figure is exact enough."""


@dataclass(frozen=True, slots=True)
class Demanded:
    """One class: what is asked of it and what it is promised. A class without promises only needs room. Times in seconds.

    Where requests wait for a place, those of higher `priority` go first.
    """

    load: Load
    promises: tuple[Promise, ...]
    max_wait_s: float = inf
    batch_window_s: float = 0.0
    name: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """A promise and what becomes of it: the `quantile` of requests is expected to see `tail_s` seconds, inf where nothing bounds it."""

    name: str
    metric: Metric
    quantile: float
    target_s: float
    tail_s: float


@dataclass(frozen=True, slots=True)
class Sizing:
    """A replica count and why.

    `binding` is what one replica fewer would not hold: a metric (after its class's name, where it has one), `maxWait`, `throughput`, or
    `floor` where one replica is enough. `capped` says that `max_replicas` is not enough; `binding` is then what it does not hold.
    `each_rps` is what one replica is asked for, and `full_rps` what it can finish, requests/s.
    """

    replicas: int
    binding: str
    each_rps: float
    full_rps: float
    capped: bool = False

    @property
    def utilisation(self) -> float:
        """Share of the replicas' throughput that is asked for."""
        return self.each_rps / self.full_rps if self.full_rps > 0.0 else 0.0


class Infeasible(Exception):
    """A promise that an idle replica alone misses already: no number of replicas keeps it. `best_target_s` is what can be reached."""

    def __init__(self, metric: Metric, target_s: float, best_target_s: float, name: str = "") -> None:
        self.metric, self.target_s, self.best_target_s, self.name = metric, target_s, best_target_s, name
        self.reason = f"{metric} {target_s:.4g} s is less than the {best_target_s:.4g} s that one idle replica needs"
        super().__init__(self.reason)

    @property
    def best(self) -> str:
        """What can be reached, in words."""
        return format_duration(self.best_target_s) if isfinite(self.best_target_s) else f"more than {format_duration(_YEAR_S)}"


@dataclass(frozen=True, slots=True)
class _Pool:
    """The classes of a pool on one kind of replica."""

    classes: tuple[Demanded, ...]
    works: tuple[Work, ...]
    work: Work
    engine: EngineProfile
    router: Router
    aims_s: tuple[tuple[float, ...], ...] = ()
    """The target that each promise is sized for, seconds."""

    @property
    def rate(self) -> float:
        return sum(c.load.requests_per_s for c in self.classes)

    @property
    def most_rps(self) -> float:
        """The rate that one replica may be loaded with, whatever is promised."""
        return MOST_UTILISED * service_rate(self.engine, self.work)

    def state(self, replicas: int, rate: float) -> Occupancy | None:
        window_s = max(c.batch_window_s for c in self.classes)
        dispersion = dispersion_of([c.load for c in self.classes]) if rate > 0.0 else 1.0
        return occupancy(self.work, self.engine, rate, replicas, self.router, window_s, dispersion)

    def in_lines(self, state: Occupancy, replicas: int, rate: float) -> list[Occupancy]:
        """The state as each class meets it: those of lower priority wait longer for a place, and for company."""
        return as_met(state, self.classes, self.works, rate / replicas / service_rate(self.engine, self.work))

    def failure(self, replicas: int, rate: float) -> str:
        """What so many replicas do not hold at this rate: the first thing that is found, or nothing."""
        if rate > replicas * self.most_rps:
            return THROUGHPUT
        met = self.state(replicas, rate)
        if met is None:
            return THROUGHPUT
        states = self.in_lines(met, replicas, rate)
        if any(state.wait_miss(c.max_wait_s) > TURNED_AWAY for c, state in zip(self.classes, states, strict=True)):
            return WAIT
        for demanded, own, aims_s, state in zip(self.classes, self.works, self.aims_s, states, strict=True):
            for promise, aim_s in zip(demanded.promises, aims_s, strict=True):
                asked, allowed = (state, own, promise.metric, aim_s), 1.0 - promise.quantile
                if miss_at_most(*asked) > allowed and miss(*asked) > allowed:
                    return f"{demanded.name}/{promise.metric}" if demanded.name else promise.metric
        return ""

    def expected(self, replicas: int) -> tuple[Expected, ...]:
        """What becomes of every promise with so many replicas."""
        met = self.state(replicas, self.rate)
        states = [None] * len(self.classes) if met is None else self.in_lines(met, replicas, self.rate)
        return tuple(
            Expected(d.name, p.metric, p.quantile, p.target_s, tail_of(state, own, p))
            for d, own, state in zip(self.classes, self.works, states, strict=True)
            for p in d.promises
        )


def ranked(classes: Sequence[Demanded], works: Sequence[Work]) -> list[Ranked]:
    """Each class's priority, and its work by the steps that its requests take a place for."""
    return [(c.priority, c.load.requests_per_s * (w.decodes + 1.0)) for c, w in zip(classes, works, strict=True)]


def as_met(state: Occupancy, classes: Sequence[Demanded], works: Sequence[Work], utilised: float) -> list[Occupancy]:
    """The state as each class meets it: those of lower priority wait longer for a place, and for company."""
    return in_company(in_lines(state, ranked(classes, works), utilised), classes)


def in_company(states: list[Occupancy], classes: Sequence[Demanded]) -> list[Occupancy]:
    """The states with how long a request of each class may wait for company: its own window, or that of somebody who goes before it."""
    if not any(state.window_s for state in states):
        return states
    windows_s = [max(d.batch_window_s for d in classes if d.priority >= own.priority) for own in classes]
    return [replace(state, window_s=window_s) for state, window_s in zip(states, windows_s, strict=True)]


def kind_of(classes: tuple[Demanded, ...], engine: EngineProfile, router: Router = EVEN) -> _Pool:
    """The classes on one kind of replica: their work, and what each promise is sized for. For pools of several kinds (mix.py) too.

    Raises:
        Infeasible: one replica alone, idle, misses a promise already.
    """
    works = tuple(work_of(c.load, engine) for c in classes)
    work = mixed([(c.load.requests_per_s, w) for c, w in zip(classes, works, strict=True)])
    pool = _Pool(classes, works, work, engine, router)
    idle = pool.state(1, 0.0)
    assert idle is not None
    idles = in_company([idle] * len(classes), classes)
    aims_s = tuple(tuple(_aim_s(state, own, p, d.name) for p in d.promises) for d, own, state in zip(classes, works, idles, strict=True))
    return replace(pool, aims_s=aims_s)


def _aim_s(idle: Occupancy, own: Work, promise: Promise, name: str) -> float:
    """What to size a promise for: a little less than its target, but no less than half-way to what an idle replica reaches."""

    def reaches(seconds: float) -> bool:
        return miss(idle, own, promise.metric, seconds) <= 1.0 - promise.quantile

    target_s = promise.target_s
    if reaches((1.0 - 2.0 * CARE) * target_s):
        return (1.0 - CARE) * target_s
    if not reaches(target_s):
        raise Infeasible(promise.metric, target_s, rounded_up(tail_of(idle, own, promise, close=1.0001)), name)
    return 0.5 * (target_s + min(target_s, tail_of(idle, own, promise, close=1.0001)))


def tail_of(state: Occupancy | None, own: Work, promise: Promise, close: float = CLOSE) -> float:
    """The time that the promise's quantile of requests stays within, seconds; inf where the replicas cannot keep up."""
    if state is None:
        return inf

    def holds(seconds: float) -> bool:
        return miss(state, own, promise.metric, seconds) <= 1.0 - promise.quantile

    high = promise.target_s
    while not holds(high):
        high *= 2.0
        if high > _NEVER_S:
            return inf
    low = high * 0.5
    while holds(low):
        low, high = low * 0.5, low
        if high < _AT_ONCE_S:
            return 0.0
    while high > low * close:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def rounded_up(seconds: float, digits: int = 3) -> float:
    """To so many digits, so that what is shown to people can be met when they write it down; inf is inf."""
    if not isfinite(seconds):
        return seconds
    unit = 10.0 ** (floor(log10(seconds)) + 1 - digits)
    return float(f"{ceil(seconds / unit) * unit:.{digits}g}")


def replicas_for(
    classes: tuple[Demanded, ...], engine: EngineProfile, *, router: Router = EVEN, max_replicas: int, start: int = 0
) -> Sizing:
    """The smallest number of replicas, at most `max_replicas`, that holds every promise of every class, and what decided it.

    `start` is where to look first, such as the last answer: what is found is the same from anywhere.

    Raises:
        Infeasible: one replica alone, idle, misses a promise already.
    """
    if not classes:
        return Sizing(1, FLOOR, 0.0, 0.0)
    pool = kind_of(classes, engine, router)
    rate = pool.rate
    failure = cache(lambda replicas: pool.failure(replicas, rate))
    replicas = fewest(failure, max(1, ceil(rate / pool.most_rps)), max_replicas, start)
    return Sizing(
        replicas=replicas,
        binding=failure(replicas) or (failure(replicas - 1) if replicas > 1 else FLOOR),
        each_rps=rate / replicas,
        full_rps=service_rate(engine, pool.work),
        capped=bool(failure(replicas)),
    )


def expected(classes: tuple[Demanded, ...], engine: EngineProfile, replicas: int, router: Router = EVEN) -> tuple[Expected, ...]:
    """What becomes of every promise with a number of replicas that is given.

    Raises:
        Infeasible: one replica alone, idle, misses a promise already.
    """
    return kind_of(classes, engine, router).expected(replicas)

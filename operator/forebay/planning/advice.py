"""What would do where a pool's bounds do not: how many replicas, which target those would hold, which limits let through what is wanted.

Said to people with the verdict, so what they write down must work: figures are rounded up, and targets are checked with the model that
sizes the pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from forebay.api.meta import format_duration
from forebay.api.pool_capacity import NodeLimits
from forebay.planning.cheapest import alone
from forebay.planning.limits import Bill
from forebay.planning.mix import Fleet, Kind
from forebay.planning.sharing import Router
from forebay.planning.sizing import CARE, Demanded, Infeasible, rounded_up

MOST = 10_000
"""The most that scaling.maxReplicas may be."""

_ANY_S = 1e6
"""A target that every replica meets which can keep up at all."""

_TRIES = 4


@dataclass(frozen=True, slots=True)
class Held:
    """A target that can be held in place of one that no idle replica meets, seconds."""

    name: str
    metric: str
    target_s: float


@dataclass(frozen=True, slots=True)
class Way:
    """Targets that so many replicas hold under the load; where even `MOST` are too few, `MOST` + 1 replicas and no target."""

    replicas: int
    held: tuple[Held, ...]


def too_few(binding: str, enough: int, most: int, name: str) -> str:
    """That maxReplicas are too few, and how many would do; `enough` is more than `MOST` where none would."""
    if enough > MOST:
        return f"{binding} needs more than {MOST:,} replicas of {name}, and maxReplicas is {most}: loosen it, or add a faster accelerator"
    return f"{binding} needs {enough} replicas of {name}, more than maxReplicas {most}: raise scaling.maxReplicas to {enough}"


def let_in_too_few(binding: str, enough: int, name: str, most: int, used: str) -> str:
    """That nodes.limits keep a kind out of which so many would do, and maxReplicas of those that are used are too few."""
    kept_out = f"{binding} needs {enough} replicas of {name}, which nodes.limits do not allow, or more than maxReplicas {most} of {used}"
    return f"{kept_out}: raise nodes.limits or scaling.maxReplicas"


def fewest_alone(fleet: Fleet) -> tuple[int, int]:
    """The fewest replicas of any one kind that hold everything, `MOST` + 1 where none do, and the kind's place."""
    return min((alone(fleet, place, MOST), place) for place in range(len(fleet.kinds)))


def way(classes: tuple[Demanded, ...], as_kind: Callable[[tuple[Demanded, ...]], Kind], router: Router, most: int) -> Way:
    """Targets in place of those that an idle replica of a kind misses, such that so many replicas hold all: `most`, or more if they must.

    `as_kind` makes the kind for these classes, and raises Infeasible for the first promise that it misses.
    """
    loosened = _loosened(classes, as_kind)
    if loosened is None:
        return Way(most, ())
    loose, missed = loosened
    fleet = Fleet(loose, (as_kind(loose),), router)
    replicas = max(most, alone(fleet, 0, MOST))
    if replicas > MOST:
        return Way(replicas, ())
    tails: dict[tuple[str, str], float] = {
        (e.name, e.metric): e.tail_s for e in fleet.expected((replicas,), fleet.rate) if (e.name, e.metric) in missed
    }
    for attempt in range(_TRIES):
        targets = {key: rounded_up(tail_s * 1.02**attempt / (1.0 - CARE), digits=2) for key, tail_s in tails.items()}
        if _holds(_with_targets(classes, targets), as_kind, router, replicas):
            return Way(replicas, tuple(Held(name, metric, target_s) for (name, metric), target_s in targets.items()))
    return Way(replicas, ())


def _holds(classes: tuple[Demanded, ...], as_kind: Callable[[tuple[Demanded, ...]], Kind], router: Router, replicas: int) -> bool:
    try:
        return not Fleet(classes, (as_kind(classes),), router).lack((replicas,))
    except Infeasible:
        return False


def _loosened(
    classes: tuple[Demanded, ...], as_kind: Callable[[tuple[Demanded, ...]], Kind]
) -> tuple[tuple[Demanded, ...], dict[tuple[str, str], float]] | None:
    """The classes with targets that anything meets in place of those that an idle replica misses, and which those are.

    None where it misses even one of these: a replica that takes weeks for a request.
    """
    missed: dict[tuple[str, str], float] = {}
    while True:
        loose = _with_targets(classes, missed)
        try:
            as_kind(loose)
        except Infeasible as miss:
            if (miss.name, miss.metric) in missed:
                return None
            missed[miss.name, miss.metric] = _ANY_S
        else:
            return loose, missed


def _with_targets(classes: tuple[Demanded, ...], targets: dict[tuple[str, str], float]) -> tuple[Demanded, ...]:
    return tuple(
        replace(c, promises=tuple(replace(p, target_s=targets.get((c.name, p.metric), p.target_s)) for p in c.promises)) for c in classes
    )


def raise_target(miss: Infeasible, found: Way | None, most: int) -> str:
    """What to write down for a promise that an idle replica misses. Without a load, `found` None, the figure of an idle replica does."""
    others = "shorten requests, or add a faster accelerator"
    if found is None:
        return f"Raise the target to {miss.best}, {others}."
    if found.replicas > MOST:
        return f"Even {MOST:,} replicas are too few for the measured load: {others}."
    mine = next((h for h in found.held if (h.name, h.metric) == (miss.name, miss.metric)), None)
    if mine is None:
        return f"Raise the target above {miss.best}, {others}."
    more = "".join(f" and that of class {h.name}'s {h.metric} to {format_duration(h.target_s)}" for h in found.held if h is not mine)
    count = f"scaling.maxReplicas to {found.replicas} and " if found.replicas > most else ""
    who = f"{found.replicas} replicas" if count else f"maxReplicas {most}"
    return f"Raise {count}the target to {format_duration(mine.target_s)}{more}, which {who} can hold for the measured load, {others}."


def limits_for(taken: Bill, limits: NodeLimits) -> str:
    """The limits that let through what takes so much: those that are set, and no narrower than they are."""
    found = []
    if limits.gpus is not None and taken.gpus is not None:
        found.append(f"gpus {max(limits.gpus, taken.gpus)}")
    if limits.usd_per_hour is not None and taken.usd_per_hour is not None:
        # To the cent, and up: what is written down must be enough.
        cents = ceil(round(100.0 * taken.usd_per_hour, 4))
        found.append(f"usdPerHour {limits.usd_per_hour if cents <= 100.0 * limits.usd_per_hour else cents / 100.0:.10g}")
    return ", ".join(found)

"""Divides what several pools may take together: by the objective that is gained per dollar, replica by replica.

Each pool says what any number of replicas would take and what it is worth: dollars per hour of the requests that so many keep within
their promises. First every pool gets its floor, then whoever gains most for a dollar more (for a GPU, where a price is missing) gets the
next replicas. From a pool that has them they are taken only where others gain clearly more, so that two do not take turns.
Docs: docs/planning/shared-limits.md.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import inf

from forebay.api.inference_pool import NodeLimits
from forebay.api.meta import K8sModel
from forebay.api.shared_limits import SharedLimit
from forebay.planning.limits import NOTHING, Bill
from forebay.planning.snapshot import Share

MARGIN = 0.2
"""By so much more others must gain than a pool loses from which something is taken."""


class Step(K8sModel):
    """So many replicas: what they take (None is unknown), and dollars per hour that the requests are worth which they keep in time."""

    replicas: int
    gpus: int | None = None
    usd_per_hour: float | None = None
    worth_usd_per_hour: float = 0.0

    @property
    def bill(self) -> Bill:
        return Bill(self.gpus, self.usd_per_hour)


class Ask(K8sModel):
    """What one pool would do with any part of a limit. `steps` begin at no replica and rise to what it wants; what is unknown of one is
    unknown of those after it.

    `floor` replicas come before any comparison, `holding` are there. It has taken `taken_gpus` and `taken_usd_per_hour` until what goes
    is gone. What it has is taken from it only after `window_s` of being worth more elsewhere. One that is `dry` neither grows nor shrinks.
    """

    steps: tuple[Step, ...]
    floor: int = 0
    holding: int = 0
    window_s: float = 300.0
    taken_gpus: int | None = 0
    taken_usd_per_hour: float | None = 0.0
    dry: bool = False

    @property
    def taken(self) -> Bill:
        return Bill(self.taken_gpus, self.taken_usd_per_hour)

    @property
    def wanted(self) -> Step:
        return self.steps[-1]


@dataclass(frozen=True, slots=True)
class Part:
    """What a division gives to one pool. `next_gain` is what more replicas would gain per dollar or GPU, None where no more are wanted;
    `last_gain` what the last given ones do, None where they are part of its floor.
    """

    step: Step
    next_gain: float | None = None
    last_gain: float | None = None


@dataclass(frozen=True, slots=True)
class Division:
    """What every pool gets, whether gains are per dollar of cost or per GPU, and what is left over. One that `stays` leaves every pool what
    it has, for another would not gain enough.
    """

    parts: dict[str, Part]
    per_dollar: bool
    left: Bill
    stays: bool = False


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Steps of one pool that gain alike: all of them are worth taking where the first is. The floor's come `first`."""

    first: bool
    gain: float
    steps: tuple[Step, ...]


def divide(limit: NodeLimits, asks: Mapping[str, Ask]) -> Division:
    """Divides a limit among pools whose bills are known: anew where that takes from nobody or gains enough, else what is not taken yet."""
    wanted = sum((ask.wanted.bill for ask in asks.values()), NOTHING)
    if wanted.within(limit):
        parts = {name: Part(ask.wanted) for name, ask in asks.items()}
        return Division(parts, wanted.usd_per_hour is not None, _less(Bill(limit.gpus, limit.usd_per_hour), wanted))
    anew = _divided(limit, asks)
    if all(anew.parts[name].step.replicas >= _there(ask).replicas for name, ask in asks.items()):
        return anew
    stays = _divided(limit, {name: ask.model_copy(update={"floor": max(ask.floor, _there(ask).replicas)}) for name, ask in asks.items()})
    if any(stays.parts[name].step.replicas < _there(ask).replicas for name, ask in asks.items()):
        return anew
    pairs = [(anew.parts[name].step, stays.parts[name].step, ask.floor) for name, ask in asks.items()]
    if any(old.replicas < floor and old.replicas < new.replicas for new, old, floor in pairs):
        return anew
    changes = [new.worth_usd_per_hour - old.worth_usd_per_hour for new, old, _ in pairs]
    gained, lost = sum(max(0.0, c) for c in changes), sum(max(0.0, -c) for c in changes)
    if gained > (1.0 + MARGIN) * lost + 1e-9:
        return anew
    parts = {name: _part(stays.parts[name].step, _stretches(ask, anew.per_dollar)) for name, ask in asks.items()}
    return replace(stays, parts=parts, stays=any(new != old for new, old, _ in pairs))


def _there(ask: Ask) -> Step:
    """What the pool has of what it wants."""
    return ask.steps[bisect_right(ask.steps, ask.holding, key=lambda step: step.replicas) - 1]


def _divided(limit: NodeLimits, asks: Mapping[str, Ask]) -> Division:
    """Greedily, the stretch that gains most first. A pool's steps are taken in order, none beyond the first that does not fit."""
    per_dollar = all(ask.wanted.usd_per_hour is not None for ask in asks.values())
    stretches, steps = {name: _stretches(ask, per_dollar) for name, ask in asks.items()}, {name: ask.steps[0] for name, ask in asks.items()}
    left = Bill(limit.gpus, limit.usd_per_hour)
    queue = [_entry(name, 0, own[0]) for name, own in stretches.items() if own]
    heapq.heapify(queue)
    while queue:
        _, _, name, place = heapq.heappop(queue)
        for step in stretches[name][place].steps:
            more = _less(step.bill, steps[name].bill)
            if not more.within(left):
                break
            left, steps[name] = _less(left, more), step
        else:
            if place + 1 < len(stretches[name]):
                heapq.heappush(queue, _entry(name, place + 1, stretches[name][place + 1]))
    return Division({name: _part(step, stretches[name]) for name, step in steps.items()}, per_dollar, left)


def _part(step: Step, stretches: list[_Stretch]) -> Part:
    more = [s.gain for s in stretches if s.steps[-1].replicas > step.replicas]
    given = [s.gain for s in stretches if s.steps[0].replicas <= step.replicas and not s.first]
    return Part(step, more[0] if more else None, given[-1] if given else None)


def _entry(name: str, place: int, stretch: _Stretch) -> tuple[bool, float, str, int]:
    return not stretch.first, -stretch.gain, name, place


def _less(a: Bill, b: Bill) -> Bill:
    gpus = None if a.gpus is None or b.gpus is None else a.gpus - b.gpus
    usd = None if a.usd_per_hour is None or b.usd_per_hour is None else round(a.usd_per_hour - b.usd_per_hour, 6)
    return Bill(gpus, usd)


def _stretches(ask: Ask, per_dollar: bool) -> list[_Stretch]:
    """The floor, and beyond it the steps in stretches that gain less and less: what gains more later is averaged with what leads there."""
    floor = tuple(s for s in ask.steps[1:] if s.replicas <= ask.floor)
    start, found = floor[-1] if floor else ask.steps[0], list[_Stretch]()
    for step in ask.steps[1 + len(floor) :]:
        steps: tuple[Step, ...] = (step,)
        gain = _gain(found[-1].steps[-1] if found else start, step, per_dollar)
        while found and gain >= found[-1].gain:
            steps = found.pop().steps + steps
            gain = _gain(found[-1].steps[-1] if found else start, step, per_dollar)
        found.append(_Stretch(False, gain, steps))
    return [_Stretch(True, _gain(ask.steps[0], start, per_dollar), floor), *found] if floor else found


def _gain(a: Step, b: Step, per_dollar: bool) -> float:
    """What going from one step to another gains, for each dollar or GPU that it takes more."""
    cost = (b.usd_per_hour or 0.0) - (a.usd_per_hour or 0.0) if per_dollar else float((b.gpus or 0) - (a.gpus or 0))
    return (b.worth_usd_per_hour - a.worth_usd_per_hour) / cost if cost > 0.0 else inf


@dataclass(frozen=True, slots=True)
class Due:
    """A pool's share as the division has it. `takes_away`: it is less than the pool has, for others gain more by it; so it may wait."""

    share: Share
    takes_away: bool = False


def division_of(limit: SharedLimit, asks: Mapping[str, Ask]) -> Division:
    """How a limit is divided among the pools that can grow and whose bills can be counted; what the others have taken is not divided."""
    return _divided_beside(limit.bounds, {}, asks)


def _divided_beside(bounds: NodeLimits, own: Mapping[str, Ask], others: Mapping[str, Ask]) -> Division:
    """The same with a pool's `own` ask in any case."""
    fixed = {name for name, ask in others.items() if ask.dry or ask.wanted.bill.unknown(bounds)}
    rest = _left(bounds, sum((others[name].taken for name in fixed), NOTHING))
    return divide(rest, {**own, **{name: ask for name, ask in others.items() if name not in fixed}})


def share_of(
    limit: SharedLimit, pool: str, asks: Mapping[str, Ask], unknown: Collection[str], own: Bill, division: Division | None = None
) -> Due:
    """What a pool that has `own` may take of a limit, so that all together never exceed it: others keep what they have until it is gone.

    `asks` are those of every pool under it, but for `unknown` ones: before they have asked nobody grows. A `division` made a moment ago
    spares making one: who gains most may have changed since, what is free is counted all the same.
    """
    others = {name: ask for name, ask in asks.items() if name != pool}
    if unknown or pool not in asks:
        first = min(unknown, default=pool)
        missing = f"{first} and {len(unknown) - 1} more were" if len(unknown) > 1 else f"{first} was"
        return Due(_keeps(limit, own, f"{limit}: nothing grows while {missing} not planned yet"))
    bounds = limit.bounds
    uncounted = sorted(name for name, ask in others.items() if ask.taken.unknown(bounds))
    if uncounted:
        return Due(_keeps(limit, own, f"{limit}: what {uncounted[0]} takes cannot be counted: set the prices of its accelerators"))
    taken = sum((ask.taken for ask in others.values()), NOTHING)
    if division is None or pool not in division.parts:
        division = _divided_beside(bounds, {pool: asks[pool]}, others)
    given, safe = division.parts[pool].step.bill + division.left, _left(bounds, taken)
    gpus = None if bounds.gpus is None else int(_least(given.gpus, safe.gpus, own.gpus))
    usd = None if bounds.usd_per_hour is None else _least(given.usd_per_hour, safe.usd_per_hour, own.usd_per_hour)
    share = Share(limit=limit.name, gpus=gpus, usd_per_hour=usd, why=_why(limit, pool, asks[pool], division, others))
    takes_away = not own.within(Bill(share.gpus, share.usd_per_hour)) and (taken + own).within(bounds)
    return Due(share, takes_away)


def kept(limit: SharedLimit, share: Share, own: Bill) -> Share:
    """The share, but no less than the pool has: what is taken from it waits."""
    why = f"{share.why}. It keeps what it has until that was so for a whole window" if share.why else ""
    return _keeps(limit, own, why)


def _keeps(limit: SharedLimit, own: Bill, why: str) -> Share:
    gpus = (own.gpus or 0) if limit.gpus is not None else None
    return Share(limit=limit.name, gpus=gpus, usd_per_hour=(own.usd_per_hour or 0.0) if limit.usd_per_hour is not None else None, why=why)


def _left(bounds: NodeLimits, taken: Bill) -> NodeLimits:
    gpus = None if bounds.gpus is None else max(0, bounds.gpus - (taken.gpus or 0))
    usd = None if bounds.usd_per_hour is None else max(0.0, round(bounds.usd_per_hour - (taken.usd_per_hour or 0.0), 6))
    return NodeLimits(gpus=gpus, usd_per_hour=usd)


def _least(given: float | None, safe: float | None, own: float | None) -> float:
    """What is given, as far as others have left it; what the pool has already it need not wait for."""
    return min(given or 0, max(safe or 0, own or 0))


def _why(limit: SharedLimit, pool: str, ask: Ask, division: Division, others: Mapping[str, Ask]) -> str:
    part, unit = division.parts[pool], "$" if division.per_dollar else "GPU"
    if part.step.replicas < ask.wanted.replicas and part.next_gain is None:
        return f"{limit}: it was divided a moment ago, when the pool wanted {part.step.replicas}; the next division knows of more"
    if part.next_gain is None:
        return f"{limit}: what is wanted is taken by other pools until they have given it back"
    gains = [(p.last_gain, name) for name, p in division.parts.items() if name != pool and p.last_gain is not None]
    worth = f"more would gain ${part.next_gain:.3g} of answers in time per {unit}"
    if division.stays:
        worth += f", not {MARGIN:.0%} more than others would lose"
    beside = "what is left goes to the floors of other pools" if len(division.parts) > 1 else "what is left is too little for the next"
    if gains:
        least, name = min(gains)
        beside = f"{name}'s last gain ${least:.3g}"
    return f"{limit}: {part.step.replicas} of {ask.wanted.replicas} replicas, {worth}; {beside}{_kept_beside(limit, others)}"


def _kept_beside(limit: SharedLimit, others: Mapping[str, Ask]) -> str:
    """What is not divided, for those who have it neither grow nor give back."""
    names = sorted(name for name, ask in others.items() if ask.dry and ask.taken != NOTHING)
    if not names:
        return ""
    taken = sum((others[name].taken for name in names), NOTHING)
    kept = NodeLimits(
        gpus=None if limit.gpus is None else taken.gpus, usd_per_hour=None if limit.usd_per_hour is None else taken.usd_per_hour
    )
    return f"; {names[0]} and {len(names) - 1} more keep {kept}" if len(names) > 1 else f"; {names[0]} keeps {kept}"

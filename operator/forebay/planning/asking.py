"""What a pool asks of the limits that it shares: what any number of its replicas would take and be worth. The division: shares.py."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TypeVar

from forebay.api.inference_pool import InferencePoolSpec, NodeLimits
from forebay.planning.demand import ClassLoad
from forebay.planning.hold import window_s
from forebay.planning.limits import Bill
from forebay.planning.mix import Fleet
from forebay.planning.nodes import taken
from forebay.planning.placement import Placed, bills
from forebay.planning.shares import Ask, Step
from forebay.planning.sizing import Infeasible
from forebay.planning.snapshot import Snapshot
from forebay.planning.split import Lot, first_of
from forebay.planning.target import counted_kind, demanded, router_of
from forebay.planning.variants import choice_name, preferred_profile, wanted_variants

_N = TypeVar("_N", int, float)

MOST_STEPS = 64
PARTS = 4
"""In so many parts of what is wanted it is looked at what replicas are worth; between them it is taken to rise evenly."""

MISS_USD_PER_1K = 1.0
"""What a thousand late answers are taken to cost where their class does not say."""


def within_shares(snapshot: Snapshot) -> Snapshot:
    """The snapshot with limits that are no wider than the pool's shares of what it shares."""
    if not snapshot.shares:
        return snapshot
    own = snapshot.spec.capacity.nodes.limits
    limits = NodeLimits(
        gpus=_tightest([own.gpus, *(share.gpus for share in snapshot.shares)]),
        usd_per_hour=_tightest([own.usd_per_hour, *(share.usd_per_hour for share in snapshot.shares)]),
    )
    return snapshot.model_copy(update={"spec": _limited(snapshot.spec, limits)})


def _tightest(bounds: list[_N | None]) -> _N | None:
    return min((bound for bound in bounds if bound is not None), default=None)


def _limited(spec: InferencePoolSpec, limits: NodeLimits) -> InferencePoolSpec:
    nodes = spec.capacity.nodes.model_copy(update={"limits": limits})
    return spec.model_copy(update={"capacity": spec.capacity.model_copy(update={"nodes": nodes})})


def held_now(snapshot: Snapshot) -> Bill:
    """What the pool's replicas take before anything is decided."""
    choices = preferred_profile(snapshot.spec)
    return taken(snapshot, wanted_variants(snapshot.spec, choices[0] if choices else None)[0])


def ask(snapshot: Snapshot, own: NodeLimits, lots: tuple[Lot, ...], loads: list[ClassLoad], placed: Placed, dry: bool) -> Ask:
    """What the pool asks for within its `own` limits, having decided on these lots and `placed` so many; `dry` where nothing is done."""
    counts = _counts(sum(lot.replicas for lot in lots), snapshot.spec.scaling.min_replicas)
    asked = [(n, b) for n, b in zip(counts, bills(snapshot, lots, counts), strict=True) if not n or b.unknown(own) or b.within(own)]
    worth = _worth(snapshot, lots, loads, asked[-1][0])
    steps = tuple(Step(replicas=n, gpus=b.gpus, usd_per_hour=b.usd_per_hour, worth_usd_per_hour=worth(n)) for n, b in asked)
    now = held_now(snapshot)
    # What is only recommended takes nothing from anybody.
    then = now if dry else placed.bill
    return Ask(
        steps=steps,
        floor=snapshot.spec.scaling.min_replicas if snapshot.fresh else max(snapshot.spec.scaling.min_replicas, placed.replicas),
        holding=placed.replicas,
        window_s=window_s(snapshot),
        taken_gpus=_most(now.gpus, then.gpus),
        taken_usd_per_hour=_most(now.usd_per_hour, then.usd_per_hour),
        dry=dry,
    )


def _most(now: _N | None, then: _N | None) -> _N | None:
    return None if now is None or then is None else max(now, then)


def _counts(wanted: int, floor: int) -> list[int]:
    """Every count up to what is wanted, or so many of them, and the floor among them."""
    spread = {round(wanted * k / MOST_STEPS) for k in range(MOST_STEPS + 1)}
    return sorted(spread | {min(floor, wanted)})


def _worth(snapshot: Snapshot, lots: tuple[Lot, ...], loads: list[ClassLoad], wanted: int) -> Callable[[int], float]:
    """Dollars per hour of requests that so many replicas keep within their promises. What is promised nothing is worth nothing here: it
    gets what is left.
    """
    usd = 3600.0 * sum(item.load.requests_per_s * _price(snapshot, item.name) for item in loads)
    fleet = _fleet(snapshot, lots, loads) if usd > 0.0 and wanted else None
    if fleet is None:
        return lambda count: 0.0
    points = [0.0, *(min(1.0, _held(fleet, lots, ceil(wanted * k / PARTS)) / fleet.rate) for k in range(1, PARTS + 1))]

    def worth(count: int) -> float:
        at = PARTS * min(count, wanted) / wanted
        below = min(int(at), PARTS - 1)
        return round(usd * (points[below] + (at - below) * (points[below + 1] - points[below])), 6)

    return worth


def _price(snapshot: Snapshot, name: str) -> float:
    """What a late answer costs, dollars."""
    objectives = snapshot.classes[name].objectives
    if objectives is None:
        return 0.0
    return (MISS_USD_PER_1K if objectives.miss_usd_per_1k is None else objectives.miss_usd_per_1k) / 1000.0


def _fleet(snapshot: Snapshot, lots: tuple[Lot, ...], loads: list[ClassLoad]) -> Fleet | None:
    """The lots as the queueing model takes them; None where a promise cannot be kept or no profile is known."""
    choices = {choice_name(c): c for c in preferred_profile(snapshot.spec)}
    wanted, router = demanded(snapshot, loads), router_of(snapshot)
    try:
        kinds = [counted_kind(snapshot, wanted, choices[lot.name]) for lot in lots if lot.name in choices]
    except Infeasible:
        return None
    return Fleet(wanted, tuple(kinds), router) if len(kinds) == len(lots) else None


def _held(fleet: Fleet, lots: tuple[Lot, ...], replicas: int) -> float:
    """The largest rate that so many replicas hold, the first lots' first."""
    counts = tuple(lot.replicas for lot in first_of(lots, replicas))
    return fleet.rate if not fleet.lack(counts) else fleet.largest_rate(counts)

"""What a pool would settle at: the plan that its resources lead to once nothing is held back, and how far from its promises that is.

For a change that is not applied yet: the same state, demand and memory with another spec, without the windows that delay giving back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from forebay.api.conditions import TOO_FEW, Type
from forebay.api.shared_limits import SharedLimit
from forebay.planning.asking import held_now
from forebay.planning.decision import Plan
from forebay.planning.demand import loads, remembered
from forebay.planning.limits import NOTHING
from forebay.planning.memory import Memory, Recommendation
from forebay.planning.mix import Fleet, kind
from forebay.planning.planner import plan
from forebay.planning.profiles import forgotten, speed
from forebay.planning.shares import Ask, division_of, share_of
from forebay.planning.sizing import Expected, Infeasible, expected
from forebay.planning.snapshot import Share, Snapshot
from forebay.planning.target import demanded
from forebay.planning.variants import choice_name, preferred_profile

LONG_AGO_S = 30 * 86_400.0
_BREAKS = (Type.SLO_FEASIBLE, Type.BUDGET_RESPECTED, Type.RESOLVED_REFS)


@dataclass(frozen=True, slots=True)
class Preview:
    """Where a pool ends up. Dollars are per hour, None where a price is unknown; `problems` are what it then cannot hold, `notes` what else
    is to be known of these figures.
    """

    replicas: int
    on_demand: int
    spot: int
    usd_per_hour: float | None
    expected: tuple[Expected, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    why: tuple[str, ...]

    @property
    def headroom(self) -> float | None:
        """The least share of a target that is left, negative where one is missed; None where nothing is promised or nothing is known."""
        left = [1.0 - e.tail_s / e.target_s if isfinite(e.tail_s) else -inf for e in self.expected]
        return min(left) if left else None


def preview(snapshot: Snapshot) -> Preview:
    """Where this pool settles under its present demand. Measurements count as fresh however old they are: a preview waits for none."""
    snapshot = _settled(snapshot)
    decision = plan(snapshot)
    desired, rate = decision.status.desired, decision.status.rate.usd_per_hour
    told = [v for v in decision.verdicts if v.type in _BREAKS and (v.status == "False" or v.reason in TOO_FEW)]
    return Preview(
        replicas=decision.replicas,
        on_demand=desired.on_demand,
        spot=desired.spot,
        usd_per_hour=None if rate in ("", "unknown") else float(rate),
        expected=_expected(snapshot, _allowed(decision)),
        problems=tuple(f"{v.type}: {v.message}" for v in told),
        notes=forgotten(snapshot),
        why=decision.why,
    )


def with_shares(limits: Sequence[SharedLimit], snapshots: Mapping[str, Snapshot]) -> dict[str, Snapshot]:
    """The pools, by namespace/name, with what each would have of limits that they share once nobody waits for another any more."""
    found = {name: snapshot.model_copy(update={"shares": ()}) for name, snapshot in snapshots.items()}
    for limit in limits:
        bound = {name: snapshot for name, snapshot in found.items() if limit.binds(snapshot.pool.namespace)}
        asks = {name: ask for name, snapshot in bound.items() if (ask := _asked(limit, snapshot)) is not None}
        division = division_of(limit, asks)
        for name in asks:
            share = share_of(limit, name, asks, (), held_now(bound[name]), division).share
            found[name] = found[name].model_copy(update={"shares": (*found[name].shares, share)})
    return found


def _asked(limit: SharedLimit, snapshot: Snapshot) -> Ask | None:
    """What the pool asks for in the end, having taken nothing yet; one that neither grows nor gives back has what it has."""
    asked = plan(_settled(snapshot).model_copy(update={"shares": (Share(limit=limit.name),)})).ask
    if asked is None:
        return None
    stays = asked.dry or asked.wanted.bill.unknown(limit.bounds)
    taken = held_now(snapshot) if stays else NOTHING
    return asked.model_copy(update={"taken_gpus": taken.gpus, "taken_usd_per_hour": taken.usd_per_hour})


def _settled(snapshot: Snapshot) -> Snapshot:
    """The snapshot as if its demand had lasted for long: nothing is held any more, no start is under way."""
    demand = snapshot.demand
    if demand is None:
        return snapshot
    now = demand.measured_at
    memory: Memory = snapshot.memory.model_copy(
        update={
            "observed_since": now - LONG_AGO_S,
            "recommendations": tuple[Recommendation, ...](),
            "surges": tuple[Recommendation, ...](),
            "spot_hold_until": 0.0,
        }
    )
    whole = demand.model_copy(update={"replicas_reporting": max(demand.replicas_reporting, snapshot.ready), "unheard": 0})
    return snapshot.model_copy(update={"now": now, "memory": memory, "demand": whole})


def _allowed(decision: Plan) -> dict[str, int]:
    """The decided mix, as far as the limits let it through."""
    left, mix = decision.replicas, dict[str, int]()
    for name, count in decision.memory.mix.items():
        mix[name] = min(count, left)
        left -= mix[name]
    return mix


def _expected(snapshot: Snapshot, mix: dict[str, int]) -> tuple[Expected, ...]:
    """What becomes of each promise with these replicas; nothing where no profile or class is known or an idle one misses it already."""
    if snapshot.demand is None or not any(mix.values()):
        return ()
    history, shapes = remembered(snapshot)
    known = loads(snapshot, history, shapes)
    wanted, choices = demanded(snapshot, known), [c for c in preferred_profile(snapshot.spec) if mix.get(choice_name(c))]
    if not wanted:
        return ()
    try:
        kinds = tuple(kind(choice_name(c), wanted, speed(snapshot, c).engine) for c in choices)
        if len(kinds) == 1:
            return expected(wanted, kinds[0].engine, mix[kinds[0].name])
        fleet = Fleet(wanted, kinds)
        return fleet.expected(tuple(mix[k.name] for k in kinds), fleet.rate)
    except Infeasible:
        return ()

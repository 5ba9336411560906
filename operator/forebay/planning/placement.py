"""Which replicas stand on spot and which on on-demand nodes, within limits that are never exceeded.

Spot that is about to go is replaced at once beside what still runs; spot that does not come is made up by on-demand until it is tried
again. On-demand that stands in for spot goes only when spot is ready, and replicas of a variant that is no longer wanted go one by one as
the wanted become ready (make before break), unless the limits leave no room for both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from forebay.api.conditions import Reason, Type
from forebay.planning.decision import Verdict
from forebay.planning.interruption import interruption
from forebay.planning.limits import NOTHING, Bill, bill, replicas_per_node
from forebay.planning.room import blocked
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType, DeploymentView, Snapshot
from forebay.planning.starts import lead_of
from forebay.planning.supply import named, stuck
from forebay.planning.variants import Variant, existing_variant
from forebay.planning.workload import MAX_SURGE

MIN_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Split:
    """Replicas per capacity type, with what is doomed already made up for."""

    on_demand: int
    spot: int

    @property
    def total(self) -> int:
        return self.on_demand + self.spot

    def of(self, capacity_type: CapacityType) -> int:
        return self.spot if capacity_type == SPOT else self.on_demand


def doomed(snapshot: Snapshot) -> dict[str, str]:
    """Pods that are about to lose their node, or have, with the reason."""
    known = {node.name for node in snapshot.nodes}
    going = {node.name: why for node in snapshot.nodes if (why := interruption(node))}
    result = {}
    for pod in snapshot.pods:
        if pod.node in going:
            result[pod.name] = going[pod.node]
        elif pod.ready and pod.node and pod.node not in known:
            # A pod that is not ready may be on a node that is too new to be known.
            result[pod.name] = "the node is gone"
    return result


@dataclass(frozen=True, slots=True)
class Supply:
    """What there is of the wanted variants, counted once. Replicas that are doomed or being deleted count only as such."""

    doomed: dict[CapacityType, int]
    spot_arrived: int
    spot_ready: int
    spot_overdue: int
    on_demand: int
    ready: int


def patience_s(snapshot: Snapshot) -> float:
    """How long a spot replica may be without a node before on-demand stands in."""
    return max(MIN_PATIENCE_S, 2 * lead_of(snapshot)) if snapshot.memory.start_times_s else 2 * MIN_PATIENCE_S


def supply(snapshot: Snapshot, variants: tuple[Variant, ...]) -> Supply:
    """Counts pods and Deployments of these variants."""
    names, lost, started = {v.name for v in variants}, doomed(snapshot), set(snapshot.memory.started_pods)
    pods = [p for p in snapshot.pods if p.variant in names and not p.deleting]
    alive = [p for p in pods if p.name not in lost]
    spot = [p for p in alive if p.capacity_type == SPOT]
    waiting = [p for p in spot if not (p.node or p.ready or p.name in started)]
    coming = _coming(snapshot, variants)
    return Supply(
        doomed={ct: sum(p.capacity_type == ct and p.name in lost for p in pods) for ct in (ON_DEMAND, SPOT)},
        spot_arrived=len(spot) - max(0, len(waiting) - coming),
        spot_ready=sum(p.ready for p in spot),
        spot_overdue=max(0, sum(snapshot.now - p.created_at > patience_s(snapshot) for p in waiting) - coming),
        on_demand=sum(d.replicas for d in snapshot.deployments if d.variant in names and d.capacity_type == ON_DEMAND),
        ready=sum(p.ready for p in alive),
    )


def _coming(snapshot: Snapshot, variants: tuple[Variant, ...]) -> int:
    """Spot replicas whose nodes the cloud has granted, though they have not joined yet."""
    nodes = sum(c.coming and c.capacity_type == SPOT for c in snapshot.node_claims)
    per_node = max((replicas_per_node(snapshot.spec, v) for v in variants if v.capacity_type == SPOT), default=0)
    return nodes * per_node


def spot_share(snapshot: Snapshot) -> tuple[float, str]:
    """The stricter of the pool's and its classes' bounds, and which one it is."""
    shares = [(snapshot.spec.capacity.spot.max_share, "the pool's spot.maxShare")]
    shares += [(c.capacity.max_spot_share, f"class {name}'s maxSpotShare") for name, c in sorted(snapshot.classes.items())]
    return min(shares, key=lambda s: s[0])


def spot_held_until(snapshot: Snapshot, there: Supply) -> float:
    """Until when no more spot is asked for; a moment that has passed where it may be."""
    spot = snapshot.spec.capacity.spot
    if not spot.enabled:
        return 0.0
    held = snapshot.memory.spot_hold_until
    return max(held, snapshot.now + spot.return_after) if there.spot_overdue else held


def split(snapshot: Snapshot, there: Supply, replicas: int) -> Split:
    """Divides the replicas between capacity types."""
    capacity, spot = snapshot.spec.capacity, 0
    if capacity.spot.enabled:
        base = min(capacity.on_demand.base_replicas, replicas)
        spot = min(math.floor(replicas * spot_share(snapshot)[0] + 1e-9), replicas - base)
        if spot_held_until(snapshot, there) > snapshot.now:
            spot = min(spot, there.spot_arrived)
    on_demand = max(replicas - spot, min(there.on_demand, replicas - min(there.spot_ready, spot)))
    # No more than there should be is replaced: where new replicas land on doomed nodes too, this ends it.
    return Split(on_demand + min(there.doomed[ON_DEMAND], replicas), spot + min(there.doomed[SPOT], replicas))


@dataclass(frozen=True, slots=True)
class Placed:
    """A split that respects the limits.

    `old` holds the replicas to keep of Deployments that are no longer wanted, `surge` how many more of a capacity type a new template may
    bring up beside the old ones, `bill` what all of it takes.
    """

    split: Split
    replicas: int
    spot_hold_until: float
    bill: Bill
    verdict: Verdict
    old: dict[str, int] = field(default_factory=dict)
    surge: dict[CapacityType, int] = field(default_factory=dict)
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Room:
    """What a decision may use: the wanted variants, and Deployments of others that are still there."""

    snapshot: Snapshot
    variants: tuple[Variant, ...]
    there: Supply
    leftovers: tuple[DeploymentView, ...]

    def bill(self, of: Split, old: int = 0) -> Bill:
        spec = self.snapshot.spec
        total = sum((bill(spec, v, of.of(v.capacity_type)) for v in self.variants), NOTHING)
        kept = self.kept(old)
        return sum((bill(spec, existing_variant(spec, d, self.variants[0]), kept[d.name]) for d in self.leftovers), total)

    def kept(self, old: int) -> dict[str, int]:
        """So many replicas of the leftovers, one Deployment after the other."""
        result = {}
        for deployment in self.leftovers:
            result[deployment.name] = min(deployment.replicas, old)
            old -= result[deployment.name]
        return result

    def fits(self, of: Split, old: int) -> bool:
        return self.bill(of, old).within(self.snapshot.spec.capacity.nodes.limits)

    def has_gpus(self, of: Split, old: int) -> bool:
        """The same where only GPUs can be counted; what cannot be counted at all is let be."""
        limit, gpus = self.snapshot.spec.capacity.nodes.limits.gpus, self.bill(of, old).gpus
        return limit is None or gpus is None or gpus <= limit


def place(snapshot: Snapshot, replicas: int, variants: tuple[Variant, ...], rolling: frozenset[str] = frozenset()) -> Placed:
    """The split for this many replicas, or for as many as the limits allow. `rolling` names variants whose template is being replaced."""
    there, names = supply(snapshot, variants), {v.name for v in variants}
    late = stuck(snapshot)
    leaving = (d for d in snapshot.deployments if d.variant not in names)
    # Those that are not coming are released at once: nothing is lost with them.
    released = (d.model_copy(update={"replicas": max(0, d.replicas - len(late.get(d.variant, ())))}) for d in leaving)
    room = _Room(snapshot, variants, there, tuple(released))
    old = _to_keep(room, replicas, names)
    if room.bill(Split(1, int(len(variants) > 1))).unknown(snapshot.spec.capacity.nodes.limits):
        while old and not room.has_gpus(Split(0, 0), old):
            old -= 1
        count, result, verdict = _frozen(room, replicas, old)
    else:
        old = _beside(room, old)
        count, result, verdict = _within(room, replicas, old)
    surge = _surge(room, result, old, rolling)
    why = _why(snapshot, there, count, result)
    hold = spot_held_until(snapshot, there)
    return Placed(result, count, hold, room.bill(result, old), verdict, room.kept(old), surge, why)


def _to_keep(room: _Room, replicas: int, names: set[str]) -> int:
    """Replicas that are no longer wanted and stay until the wanted are ready; one fewer at a time where those wait for their room."""
    there = sum(d.replicas for d in room.leftovers)
    old = min(there, max(0, replicas - room.there.ready))
    moving = any(p.deleting or (p.variant in names and p.node and not p.ready) for p in room.snapshot.pods)
    return min(old, there - 1) if old and not moving and blocked(room.snapshot, room.variants, names) else old


def _beside(room: _Room, old: int) -> int:
    """Replicas that are no longer wanted and may stay: as many as leave room for one that is wanted, if the limits allow it at all."""
    one = _lighter(split(room.snapshot, room.there, 1), 1)[-1]
    first = one if room.fits(one, 0) else Split(0, 0)
    while old and not room.fits(first, old):
        old -= 1
    return old


def _frozen(room: _Room, replicas: int, old: int) -> tuple[int, Split, Verdict]:
    """What cannot be held against a limit does not grow: neither the count nor what is there of it."""
    snapshot, accelerator = room.snapshot, room.variants[0].accelerator
    existing = sum(d.replicas for d in snapshot.deployments if d.variant in {v.name for v in room.variants})
    name = accelerator.name if accelerator else "an accelerator: list it"
    message = f"nodes.limits cannot be checked: set usdPerHour of {name}. Until then the pool does not grow"
    verdict = _budget("Unknown", Reason.PRICE_UNKNOWN, message)
    for count in range(min(replicas, existing), 0, -1):
        for result in _lighter(split(snapshot, room.there, count), count):
            if result.total <= existing and room.has_gpus(result, old):
                return count, result, verdict
    return 0, Split(0, 0), verdict


def _within(room: _Room, replicas: int, old: int) -> tuple[int, Split, Verdict]:
    """As many as the limits allow: rather without replacements beside what is doomed than with fewer replicas."""
    limits = room.snapshot.spec.capacity.nodes.limits
    set_ = [f"{name} {value:g}" for name, value in (("gpus", limits.gpus), ("usdPerHour", limits.usd_per_hour)) if value is not None]
    text = ", ".join(set_)
    count, result = _most(room, replicas, old)
    if count < replicas:
        message = f"{replicas} replicas are wanted; limits ({text}) allow {count}. Raise nodes.limits, or accept missed objectives"
    elif result != split(room.snapshot, room.there, count):
        message = f"limits ({text}) leave no room beside replicas that are about to go: they are replaced once they are gone"
    else:
        return count, result, _budget("True", Reason.WITHIN_LIMITS, f"within {text}" if text else "no limits are set")
    return count, result, _budget("True", Reason.LIMITED, message)


def _most(room: _Room, replicas: int, old: int) -> tuple[int, Split]:
    """The largest count that fits, and its split. More replicas never take less, so half of what is left is ruled out at a time."""

    def fitting(count: int) -> Split | None:
        return next((s for s in _lighter(split(room.snapshot, room.there, count), count) if room.fits(s, old)), None)

    best, found, high = 0, Split(0, 0), replicas + 1
    count = replicas
    while best < count < high:
        if (result := fitting(count)) is not None:
            best, found = count, result
        else:
            high = count
        count = (best + high) // 2
    return best, found


def _budget(status: Literal["True", "Unknown"], reason: Reason, message: str) -> Verdict:
    return Verdict(type=Type.BUDGET_RESPECTED, status=status, reason=reason, message=message)


def _lighter(full: Split, replicas: int) -> list[Split]:
    """The split, and the same without replacements beside what is doomed."""
    surplus = full.total - replicas
    if surplus <= 0:
        return [full]
    spot = max(0, full.spot - surplus)
    return [full, Split(replicas - spot, spot)]


def _surge(room: _Room, of: Split, old: int, rolling: frozenset[str]) -> dict[CapacityType, int]:
    """Replicas that new templates may bring up beside the old ones; none where the limits leave no room."""
    surge = {v.capacity_type: math.ceil(MAX_SURGE * of.of(v.capacity_type)) for v in room.variants if v.name in rolling}
    more = Split(of.on_demand + surge.get(ON_DEMAND, 0), of.spot + surge.get(SPOT, 0))
    return surge if room.fits(more, old) else {}


def _why(snapshot: Snapshot, there: Supply, replicas: int, result: Split) -> tuple[str, ...]:
    why, capacity = [], snapshot.spec.capacity
    if capacity.spot.enabled:
        share, bound = spot_share(snapshot)
        base = min(capacity.on_demand.base_replicas, replicas)
        why.append(f"spot share {share:g} by {bound}, base {base}: {result.on_demand} on-demand + {result.spot} spot")
        if there.spot_overdue:
            why.append(f"{there.spot_overdue} spot replicas did not come within {patience_s(snapshot):.0f} s: on-demand stands in")
        if (held := spot_held_until(snapshot, there) - snapshot.now) > 0:
            why.append(f"spot is tried again in {held:.0f} s")
    reasons: dict[str, list[str]] = {}
    for name, reason in sorted(doomed(snapshot).items()):
        reasons.setdefault(reason, []).append(name)
    return (*why, *(f"replaced now: {named(names)}: {reason}" for reason, names in reasons.items()))

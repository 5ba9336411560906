"""Which replicas stand on spot and which on on-demand nodes, within limits that are never exceeded.

Spot that is about to go is replaced at once beside what still runs; spot that does not come is made up by on-demand until it is tried
again. On-demand that stands in for spot goes only when spot is ready (make before break).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import Accelerator, Backend, InferencePoolSpec, Profile
from forebay.planning.decision import Verdict
from forebay.planning.demand import lead_time_s
from forebay.planning.interruption import interruption
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType, PodView, Snapshot
from forebay.planning.variants import Variant

MIN_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Split:
    """Replicas per capacity type, with what is doomed already made up for."""

    on_demand: int
    spot: int
    hold_until: float
    why: tuple[str, ...]

    def of(self, capacity_type: CapacityType) -> int:
        return self.spot if capacity_type == SPOT else self.on_demand


def spot_share(snapshot: Snapshot) -> tuple[float, str]:
    """The stricter of the pool's and its classes' bounds, and which one it is."""
    shares = [(snapshot.spec.capacity.spot.max_share, "the pool's spot.maxShare")]
    shares += [(c.capacity.max_spot_share, f"class {name}'s maxSpotShare") for name, c in sorted(snapshot.classes.items())]
    return min(shares, key=lambda s: s[0])


def doomed(snapshot: Snapshot) -> dict[str, str]:
    """Pods that are about to lose their node, with the reason."""
    going = {node.name: why for node in snapshot.nodes if (why := interruption(node))}
    known = {node.name for node in snapshot.nodes}
    result = {pod.name: going[pod.node] for pod in snapshot.pods if pod.node in going}
    gone = {pod.name: "the node is gone" for pod in snapshot.pods if pod.node and known and pod.node not in known}
    return {**gone, **result}


def _alive(pods: tuple[PodView, ...], capacity_type: CapacityType, lost: dict[str, str]) -> list[PodView]:
    return [p for p in pods if p.capacity_type == capacity_type and not p.deleting and p.name not in lost]


def patience_s(snapshot: Snapshot) -> float:
    """How long a spot replica may take to be ready before on-demand stands in."""
    return max(MIN_PATIENCE_S, 2 * lead_time_s(snapshot.memory)) if snapshot.memory.start_times_s else 2 * MIN_PATIENCE_S


def split(snapshot: Snapshot, replicas: int) -> Split:
    """Divides the replicas between capacity types."""
    spec = snapshot.spec
    if not spec.capacity.spot.enabled:
        lost = len([p for p in snapshot.pods if p.name in (d := doomed(snapshot)) and not p.deleting and d])
        return Split(replicas + lost, 0, 0.0, _doomed_why(snapshot))
    share, bound = spot_share(snapshot)
    base = min(spec.capacity.on_demand.base_replicas, replicas)
    spot = min(math.floor(replicas * share + 1e-9), replicas - base)
    lost_pods = doomed(snapshot)
    alive = _alive(snapshot.pods, SPOT, lost_pods)
    ready = sum(p.ready for p in alive)
    overdue = [p for p in alive if not p.ready and snapshot.now - p.created_at > patience_s(snapshot)]
    hold_until = snapshot.memory.spot_hold_until
    why = [f"spot share {share:g} by {bound}, base {base}: {replicas - spot} on-demand + {spot} spot", *_doomed_why(snapshot)]
    if overdue:
        hold_until = max(hold_until, snapshot.now + spec.capacity.spot.return_after)
        why.append(f"{len(overdue)} spot replicas did not come within {patience_s(snapshot):.0f} s: on-demand stands in")
    if hold_until > snapshot.now:
        spot = min(spot, ready)
        why.append(f"spot is tried again in {hold_until - snapshot.now:.0f} s")
    standing_in = sum(d.replicas for d in snapshot.deployments if d.capacity_type == ON_DEMAND)
    on_demand = max(replicas - spot, min(standing_in, replicas - min(ready, spot)))
    lost_by = {
        ct: sum(1 for p in snapshot.pods if p.name in lost_pods and p.capacity_type == ct and not p.deleting) for ct in (ON_DEMAND, SPOT)
    }
    return Split(on_demand + lost_by[ON_DEMAND], spot + lost_by[SPOT], hold_until, tuple(why))


def _doomed_why(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(f"replica {name} is replaced now: {why}" for name, why in sorted(doomed(snapshot).items()))


def nodes_needed(accelerator: Accelerator, profile: Profile, replicas: int, partitions_per_gpu: int) -> int:
    """Whole nodes that carry this many replicas."""
    units = accelerator.gpus_per_node * partitions_per_gpu
    per_node = units // profile.gpus if profile.gpus else replicas
    return math.ceil(replicas / per_node) if per_node else replicas


@dataclass(frozen=True, slots=True)
class Bill:
    """What a split takes: GPUs of whole nodes, and dollars per hour (None where a price is missing)."""

    gpus: int
    usd_per_hour: float | None


def bill(spec: InferencePoolSpec, accelerator: Accelerator, profile: Profile, on_demand: int, spot: int) -> Bill:
    """GPUs and price of the nodes behind a split."""
    per_gpu = spec.partitioning.layout.get(profile.partition, 1)
    gpus, usd = 0, 0.0
    known = True
    for capacity_type, replicas in ((ON_DEMAND, on_demand), (SPOT, spot)):
        nodes = nodes_needed(accelerator, profile, replicas, per_gpu)
        share = 1.0 if spec.capacity.nodes.backend == Backend.KARPENTER else _used(accelerator, profile, replicas, nodes, per_gpu)
        gpus += round(nodes * accelerator.gpus_per_node * share) if profile.gpus else 0
        price = Variant(capacity_type, accelerator, profile).usd_per_node_hour
        if replicas and price is None:
            known = False
        usd += nodes * share * (price or 0.0)
    return Bill(gpus, round(usd, 6) if known else None)


def _used(accelerator: Accelerator, profile: Profile, replicas: int, nodes: int, per_gpu: int) -> float:
    """Share of existing nodes that the replicas take: only that is the pool's."""
    if not nodes or not profile.gpus:
        return 1.0
    return math.ceil(replicas * profile.gpus / per_gpu) / (nodes * accelerator.gpus_per_node)


@dataclass(frozen=True, slots=True)
class Placed:
    """A split that respects the limits."""

    split: Split
    replicas: int
    bill: Bill | None
    verdict: Verdict


def place(snapshot: Snapshot, replicas: int, chosen: tuple[Accelerator, Profile] | None, current: int) -> Placed:
    """The split for this many replicas, or for as many as the limits allow."""
    limits = snapshot.spec.capacity.nodes.limits
    bounded = limits.gpus is not None or limits.usd_per_hour is not None
    if chosen is None or not bounded:
        result = split(snapshot, replicas)
        spent = bill(snapshot.spec, *chosen, result.on_demand, result.spot) if chosen else None
        return Placed(
            result,
            replicas,
            spent,
            _budget("True", Reason.WITHIN_LIMITS, "no limits are set" if not bounded else "no profile to count with"),
        )
    return _within(snapshot, replicas, chosen, current)


def _budget(status: str, reason: Reason, message: str) -> Verdict:
    return Verdict(type=Type.BUDGET_RESPECTED, status=status, reason=reason, message=message)


def _within(snapshot: Snapshot, replicas: int, chosen: tuple[Accelerator, Profile], current: int) -> Placed:
    """Fewer and fewer until the limits hold: first replacements beside what is doomed, then replicas."""
    limits = snapshot.spec.capacity.nodes.limits
    text = ", ".join(
        f"{name} {value:g}" for name, value in (("gpus", limits.gpus), ("usdPerHour", limits.usd_per_hour)) if value is not None
    )
    unknown = (
        limits.usd_per_hour is not None and bill(snapshot.spec, *chosen, 1, int(snapshot.spec.capacity.spot.enabled)).usd_per_hour is None
    )
    most = min(replicas, current) if unknown else replicas
    for count in range(most, -1, -1):
        full = split(snapshot, count)
        for result in _lighter(full, count):
            spent = bill(snapshot.spec, *chosen, result.on_demand, result.spot)
            if limits.gpus is not None and spent.gpus > limits.gpus:
                continue
            if limits.usd_per_hour is not None and spent.usd_per_hour is not None and spent.usd_per_hour > limits.usd_per_hour:
                continue
            if unknown:
                message = f"limits.usdPerHour cannot be checked: set usdPerHour of {chosen[0].name}. Until then the pool does not grow"
                return Placed(result, count, spent, _budget("Unknown", Reason.PRICE_UNKNOWN, message))
            if count < replicas or result != full:
                message = f"{replicas} replicas are wanted; limits ({text}) allow {count}. Raise nodes.limits, or accept missed objectives"
                return Placed(result, count, spent, _budget("True", Reason.LIMITED, message))
            return Placed(result, count, spent, _budget("True", Reason.WITHIN_LIMITS, f"within {text}"))
    raise AssertionError("no replicas at all cost nothing, which every limit allows")


def _lighter(full: Split, replicas: int) -> list[Split]:
    """The split, and the same without replacements beside what is doomed."""
    surplus = full.on_demand + full.spot - replicas
    if surplus <= 0:
        return [full]
    spot = max(0, full.spot - surplus)
    on_demand = full.on_demand - (surplus - (full.spot - spot))
    return [full, Split(on_demand, spot, full.hold_until, full.why)]

"""What a decision says about itself: the pool's status, its conditions and its Events."""

from __future__ import annotations

from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import (
    Backend,
    DemandStatus,
    DesiredStatus,
    InferencePoolStatus,
    Mode,
    ObjectiveStatus,
    RateStatus,
    StageStatus,
    VariantStatus,
)
from forebay.api.meta import format_duration
from forebay.planning.decision import Note, Verdict
from forebay.planning.facts import Facts
from forebay.planning.forecast_status import forecast_status, forecast_verdict
from forebay.planning.freshness import fresh_verdict
from forebay.planning.measured import ClassDemand
from forebay.planning.memory import Memory
from forebay.planning.notes import notes
from forebay.planning.profile_status import profiles_status
from forebay.planning.sleep import asleep_verdict
from forebay.planning.snapshot import Snapshot
from forebay.planning.starts import SLOWEST, quantile
from forebay.planning.supply import named, unavailable_variants
from forebay.planning.variants import LABEL_POOL, Variant

MAX_LEAVING = 32

Report = tuple[InferencePoolStatus, tuple[Verdict, ...], tuple[Note, ...]]


def report(facts: Facts) -> Report:
    """Status, conditions and Events of one decision."""
    verdicts = _verdicts(facts)
    return _status(facts), verdicts, notes(facts, verdicts)


def _status(facts: Facts) -> InferencePoolStatus:
    snapshot = facts.snapshot
    alive = [p for p in snapshot.pods if not p.deleting]
    split = facts.placed.split
    partitions = {v.partition: 0 for v, _ in facts.targets.values()}
    for variant, count in facts.targets.values():
        partitions[variant.partition] += count
    return InferencePoolStatus(
        observed_generation=snapshot.pool.generation,
        replicas=len(alive),
        ready_replicas=sum(p.ready for p in alive),
        selector=f"{LABEL_POOL}={snapshot.pool.name}",
        desired=DesiredStatus(
            on_demand=split.on_demand,
            spot=split.spot,
            warm_standby=max(0, min(facts.sized.standby, facts.placed.replicas - facts.sized.needed)),
            partitions=partitions or {"full": 0},
        ),
        variants=[*(_variant(facts, name, variant, replicas) for name, (variant, replicas) in facts.targets.items()), *_leaving(facts)],
        profiles=profiles_status(snapshot),
        demand=_demand(facts),
        objective=_objective(snapshot),
        rate=RateStatus(usd_per_hour=_dollars(facts)),
        conditions=[],
    )


def _variant(facts: Facts, name: str, variant: Variant, replicas: int) -> VariantStatus:
    pods = [p for p in facts.snapshot.pods if p.variant == variant.name and not p.deleting]
    ready = sum(p.ready for p in pods)
    return VariantStatus(
        name=name,
        accelerator=variant.accelerator.name if variant.accelerator else "",
        partition=variant.partition,
        capacity_type=variant.capacity_type,
        desired=replicas,
        ready=ready,
        pending=len(pods) - ready,
        usd_per_hour=variant.usd_per_node_hour,
        lead=_lead(facts.snapshot.memory, variant.name),
    )


def _lead(memory: Memory, variant: str) -> list[StageStatus]:
    """How long its replicas took to start."""
    return [
        StageStatus(
            stage=stage,
            p50=format_duration(quantile(times, 0.5)),
            p90=format_duration(quantile(times, SLOWEST)),
            samples=len(times),
        )
        for stage, times in memory.starts.get(variant, {}).items()
    ]


def _leaving(facts: Facts) -> list[VariantStatus]:
    """Variants that are no longer wanted, until they are gone."""
    old = [d for d in facts.snapshot.deployments if d.name in facts.placed.old]
    return [
        VariantStatus(
            name=d.name,
            accelerator=d.accelerator,
            partition=d.partition,
            capacity_type=d.capacity_type,
            desired=facts.placed.old[d.name],
            ready=d.ready,
            pending=max(0, d.replicas - d.ready),
            lead=_lead(facts.snapshot.memory, d.variant),
        )
        for d in old[:MAX_LEAVING]
    ]


def _demand(facts: Facts) -> DemandStatus:
    """What is asked, as far as that is known: nothing fresh is not no load."""
    snapshot = facts.snapshot
    if snapshot.demand is None or not snapshot.fresh:
        return DemandStatus(forecast=forecast_status(facts.loads))
    classes = snapshot.demand.classes.values()
    return DemandStatus(
        requests_per_second=round(sum(c.requests_per_s for c in classes), 2),
        input_tokens_per_second=round(sum(c.input_tokens_per_s for c in classes), 1),
        output_tokens_per_second=round(sum(c.output_tokens_per_s for c in classes), 1),
        queued=round(sum(c.queued for c in classes)),
        in_flight=round(sum(c.in_flight for c in classes)),
        forecast=forecast_status(facts.loads),
    )


def _objective(snapshot: Snapshot) -> ObjectiveStatus:
    classes: list[ClassDemand] = list(snapshot.demand.classes.values()) if snapshot.demand and snapshot.fresh else []
    tails = [c.p95_time_to_first_token_s for c in classes if c.p95_time_to_first_token_s is not None]
    met = [c.objectives_met for c in classes if c.objectives_met is not None]
    p95 = format_duration(float(f"{max(tails):.3g}")) if tails else ""
    return ObjectiveStatus(p95_time_to_first_token=p95, attainment=round(min(met), 4) if met else None)


def _dollars(facts: Facts) -> str:
    spent = facts.placed.bill
    return f"{spent.usd_per_hour:.2f}" if spent and spent.usd_per_hour is not None else "unknown"


def _verdict(type_: Type, ok: bool | None, reason: Reason, message: str) -> Verdict:
    return Verdict(type=type_, status="Unknown" if ok is None else "True" if ok else "False", reason=reason, message=message)


def _verdicts(facts: Facts) -> tuple[Verdict, ...]:
    listed = [
        _resolved(facts),
        facts.sized.feasible,
        fresh_verdict(facts.snapshot),
        forecast_verdict(facts.snapshot, facts.loads),
        facts.placed.verdict,
        _provisioned(facts),
        _paused(facts),
    ]
    if facts.partitioned is not None:
        listed.append(facts.partitioned)
    accepted = _verdict(Type.ACCEPTED, True, Reason.ACCEPTED, "the pool is planned")
    return (accepted, *listed, _ready(facts))


def _resolved(facts: Facts) -> Verdict:
    missing = [name for name in facts.snapshot.spec.classes if name not in facts.snapshot.classes]
    if not missing:
        return _verdict(Type.RESOLVED_REFS, True, Reason.RESOLVED, "every class exists")
    message = f"there is no BatchClass named {', '.join(missing)}: create it, or take it out of spec.classes"
    return _verdict(Type.RESOLVED_REFS, False, Reason.UNKNOWN_CLASS, message)


def _provisioned(facts: Facts) -> Verdict:
    snapshot = facts.snapshot
    if snapshot.spec.capacity.nodes.backend == Backend.KARPENTER and not snapshot.backend_installed:
        message = (
            "Karpenter's NodePool kind is not installed: existing nodes are used. Install Karpenter, or set capacity.nodes.backend to None"
        )
        return _verdict(Type.CAPACITY_PROVISIONED, False, Reason.BACKEND_MISSING, message)
    waiting = [p.name for p in snapshot.pods if not p.deleting and not p.node]
    away = unavailable_variants(snapshot)
    if waiting and away:
        told = "; ".join(f"{variant}: {reason}" for variant, reason in away.items())
        return _verdict(Type.CAPACITY_PROVISIONED, False, Reason.VARIANT_UNAVAILABLE, told)
    if waiting:
        unasked = snapshot.spec.capacity.nodes.backend == Backend.KARPENTER and not snapshot.spec.capacity.accelerators
        hint = "; Karpenter is asked for none, for capacity.accelerators is empty" if unasked else ""
        return _verdict(Type.CAPACITY_PROVISIONED, False, Reason.PROVISIONING, f"{len(waiting)} replicas wait for a node{hint}")
    if snapshot.spec.capacity.nodes.backend == Backend.NONE or not snapshot.spec.capacity.accelerators:
        return _verdict(Type.CAPACITY_PROVISIONED, True, Reason.EXISTING_NODES, "every replica has a node")
    return _verdict(Type.CAPACITY_PROVISIONED, True, Reason.PROVISIONED, "every replica has a node")


def _paused(facts: Facts) -> Verdict:
    if facts.snapshot.spec.scaling.paused:
        return _verdict(Type.PAUSED, True, Reason.PAUSED, "scaling.paused is true: everything is held as it is")
    if facts.snapshot.spec.mode == Mode.RECOMMEND:
        return _verdict(Type.PAUSED, True, Reason.RECOMMEND_ONLY, "mode is Recommend: planned and reported, nothing is touched")
    return _verdict(Type.PAUSED, False, Reason.NOT_PAUSED, "the plan is carried out")


def conflict_verdict(conflicts: tuple[str, ...]) -> Verdict:
    """Whether another manager owns fields that are needed, given one sentence for each write that was refused for that."""
    if conflicts:
        return _verdict(Type.FIELD_CONFLICT, True, Reason.CONFLICT, named(list(conflicts), 8))
    return _verdict(Type.FIELD_CONFLICT, False, Reason.NO_CONFLICT, "no other manager owns a field that is needed")


def _ready(facts: Facts) -> Verdict:
    """One summary for people, Argo CD and `kubectl wait`: as many replicas answer as are wanted."""
    snapshot = facts.snapshot
    ready = snapshot.ready
    wanted = facts.placed.replicas
    if facts.document is None:
        return _verdict(Type.READY, False, Reason.UNKNOWN_CLASS, "none of the pool's classes exists")
    if snapshot.spec.mode == Mode.RECOMMEND:
        return _verdict(Type.READY, True, Reason.RECOMMEND_ONLY, f"{wanted} replicas are recommended")
    if not facts.held.replicas:
        return asleep_verdict(snapshot)
    if ready >= wanted > 0:
        return _verdict(Type.READY, True, Reason.REPLICAS_READY, f"{ready} replicas answer")
    if ready:
        message = f"{ready} of {wanted} replicas answer{_troubles(snapshot)}"
        return _verdict(Type.READY, ready >= snapshot.spec.scaling.min_replicas, Reason.REPLICAS_PENDING, message)
    if not wanted:
        return _verdict(Type.READY, False, Reason.NO_REPLICAS, "there are no replicas, for nodes.limits allow none: see BudgetRespected")
    return _verdict(Type.READY, False, Reason.NO_REPLICAS, f"none of {wanted} replicas answers yet{_troubles(snapshot)}")


def _troubles(snapshot: Snapshot) -> str:
    """Why replicas do not answer, by what their containers say: what most of them say comes first, and no more than two of it."""
    sufferers: dict[str, list[str]] = {}
    told = [(deployment.trouble, deployment.name) for deployment in snapshot.deployments]
    told += [(pod.trouble, pod.name) for pod in snapshot.pods if not (pod.ready or pod.deleting)]
    for trouble, name in told:
        if trouble:
            sufferers.setdefault(trouble, []).append(name)
    listed = sorted(sufferers.items(), key=lambda found: (-len(found[1]), found[0]))
    return "".join(f"; {named(names)}: {trouble}" for trouble, names in listed[:2])

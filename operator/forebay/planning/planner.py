"""The decision about one pool: `plan(snapshot) -> Plan`.

Pure and deterministic: no clock, no randomness, nothing read or written. The story: what is asked → how many replicas → where → which
objects → what to say about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from forebay.api.inference_pool import Accelerator, Backend, Mode
from forebay.planning import mig, nodes, workload
from forebay.planning.decision import Action, Plan, Ref, apply
from forebay.planning.demand import ClassLoad, loads, remembered
from forebay.planning.placement import Placed, doomed, place
from forebay.planning.sidecar_config import compile_sidecar
from forebay.planning.snapshot import DeploymentView, Memory, PodView, Snapshot
from forebay.planning.status import Facts, report
from forebay.planning.target import Held, Sized, hold, size, unloaded
from forebay.planning.variants import LABEL_ROUTED, Variant, capacity_types

MAX_START_TIMES = 20
MAX_STARTED_PODS = 200


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was decided, before it becomes objects."""

    sized: Sized
    held: Held
    placed: Placed
    targets: dict[str, tuple[Variant, int]]


def plan(snapshot: Snapshot) -> Plan:
    """Decides what one pool should look like now."""
    memory = _observed(snapshot)
    snapshot = snapshot.model_copy(update={"memory": memory})
    known = loads(snapshot, memory.history, memory.shapes)
    chosen = _choose(snapshot, known)
    moves = mig.repartition(snapshot)
    document = compile_sidecar(snapshot.pool, snapshot.spec, snapshot.classes)
    actions = _actions(snapshot, chosen, document) + _unroute(snapshot, moves) + moves.actions
    remembered_next = chosen.held.memory.model_copy(
        update={
            "target": chosen.placed.replicas,
            "spot_hold_until": chosen.placed.split.hold_until,
            "partitioning": moves.progress,
        }
    )
    dry = snapshot.spec.mode == Mode.RECOMMEND or snapshot.spec.scaling.paused
    facts = Facts(snapshot, chosen.sized, chosen.held, chosen.placed, chosen.targets, moves.verdict, document)
    status, verdicts, notes = report(facts)
    return Plan(
        actions=() if dry else actions,
        status=status,
        verdicts=verdicts,
        notes=notes,
        memory=remembered_next if not dry else remembered_next.model_copy(update={"partitioning": snapshot.memory.partitioning}),
        requeue_after_s=snapshot.settings.interval_s,
        why=(
            *chosen.sized.why,
            *chosen.held.why,
            *chosen.placed.split.why,
            f"{chosen.placed.verdict.reason}: {chosen.placed.verdict.message}",
        ),
        replicas=chosen.placed.replicas,
        dry=dry,
    )


def _observed(snapshot: Snapshot) -> Memory:
    """The memory with what this snapshot adds: a demand point, request shapes, start times of replicas that became ready."""
    memory = snapshot.memory
    new = [p for p in snapshot.pods if p.ready and p.ready_at is not None and p.name not in memory.started_pods]
    started = (*memory.started_pods, *(p.name for p in new))[-MAX_STARTED_PODS:]
    times = (*memory.start_times_s, *(round(p.ready_at - p.created_at, 1) for p in new if p.ready_at is not None))[-MAX_START_TIMES:]
    update: dict[str, object] = {"started_pods": started, "start_times_s": times}
    if snapshot.demand is not None and snapshot.fresh:
        update["history"], update["shapes"] = remembered(memory, snapshot.demand)
    return memory.model_copy(update=update)


def _choose(snapshot: Snapshot, known: list[ClassLoad]) -> Chosen:
    current = snapshot.memory.target or sum(d.replicas for d in snapshot.deployments)
    fresh = known if snapshot.fresh else unloaded(snapshot, known)
    sized = size(snapshot, fresh)
    held = hold(snapshot, sized.replicas, current)
    placed = place(snapshot, held.replicas, sized.profile, current)
    return Chosen(sized, held, placed, _targets(snapshot, sized, placed))


def _targets(snapshot: Snapshot, sized: Sized, placed: Placed) -> dict[str, tuple[Variant, int]]:
    """Deployment name to variant and replicas, for every capacity type of the chosen profile."""
    accelerator, profile = sized.profile if sized.profile else (_only_accelerator(snapshot), None)
    targets = {}
    for capacity_type in capacity_types(snapshot.spec):
        variant = Variant(capacity_type, accelerator, profile)
        targets[workload.deployment_name(snapshot.pool.name, variant)] = (variant, placed.split.of(capacity_type))
    return targets


def _only_accelerator(snapshot: Snapshot) -> Accelerator | None:
    listed = snapshot.spec.capacity.accelerators
    return listed[0] if listed else None


def _actions(snapshot: Snapshot, chosen: Chosen, document: dict[str, object] | None) -> tuple[Action, ...]:
    """The pool's objects in the order in which they need each other. Nothing is started while no class is known."""
    if document is None:
        return ()
    pool, spec = snapshot.pool, snapshot.spec
    actions = [apply(workload.config_map(pool, document)), apply(workload.service(pool))]
    if snapshot.backend_installed and spec.capacity.nodes.backend == Backend.KARPENTER:
        wanted = nodes.node_pools(pool, spec, chosen.sized.profile, chosen.placed.split)
        actions += [apply(obj, "bounds of what the plan needs") for obj in wanted]
        names = {obj["metadata"]["name"] for obj in wanted}
        actions += [_delete("karpenter.sh/v1", "NodePool", None, p.name) for p in snapshot.node_pools if p.name not in names]
    existing = {d.name: d for d in snapshot.deployments}
    for name, (variant, replicas) in chosen.targets.items():
        actions += _workload(snapshot, existing.get(name), variant, replicas)
    return tuple(actions + _leftovers(snapshot, chosen))


def _workload(snapshot: Snapshot, existing: DeploymentView | None, variant: Variant, replicas: int) -> list[Action]:
    """Creates, rolls or scales one variant. A template is applied only when the pool's own part of it changed."""
    if existing is None and replicas == 0:
        return []
    if existing is None or existing.template_hash != workload.template_hash(snapshot.spec, variant):
        own_nodes = snapshot.backend_installed and snapshot.spec.capacity.nodes.backend == Backend.KARPENTER
        obj = workload.deployment(snapshot.pool, snapshot.spec, variant, replicas, snapshot.settings, own_nodes)
        return [apply(obj, "the pool's template is new")]
    if existing.replicas == replicas:
        return []
    return [_scale(snapshot, existing.name, replicas, f"{existing.replicas} → {replicas}")]


def _leftovers(snapshot: Snapshot, chosen: Chosen) -> list[Action]:
    """Deployments of variants that the pool no longer wants: kept until the wanted replicas are ready, then deleted."""
    ready = sum(d.ready for d in snapshot.deployments if d.name in chosen.targets)
    enough = ready >= min(chosen.placed.replicas, sum(replicas for _, replicas in chosen.targets.values()))
    old = [d for d in snapshot.deployments if d.name not in chosen.targets]
    return [_delete("apps/v1", "Deployment", snapshot.pool.namespace, d.name) for d in old] if enough else []


def _scale(snapshot: Snapshot, name: str, replicas: int, reason: str) -> Action:
    ref = Ref(api_version="apps/v1", kind="Deployment", namespace=snapshot.pool.namespace, name=name)
    return Action(verb="scale", ref=ref, body={"spec": {"replicas": replicas}}, reason=reason)


def _delete(api_version: str, kind: str, namespace: str | None, name: str) -> Action:
    return Action(verb="delete", ref=Ref(api_version=api_version, kind=kind, namespace=namespace, name=name), reason="no longer wanted")


def _unroute(snapshot: Snapshot, moves: mig.Repartition) -> tuple[Action, ...]:
    """Takes replicas that are about to go out of the Service, and puts those back whose node stays after all."""
    draining = {node for node, progress in moves.progress.items() if progress.phase in ("Draining", "Applying")}
    going = doomed(snapshot)

    def leaves(pod: PodView) -> bool:
        return pod.name in going or pod.node in draining

    changed = [p for p in snapshot.pods if not p.deleting and p.routed == leaves(p)]
    return tuple(_route(snapshot, pod, not leaves(pod)) for pod in changed)


def _route(snapshot: Snapshot, pod: PodView, routed: bool) -> Action:
    ref = Ref(api_version="v1", kind="Pod", namespace=snapshot.pool.namespace, name=pod.name)
    body = {"metadata": {"labels": {LABEL_ROUTED: "true" if routed else None}}}
    return Action(verb="patch", ref=ref, body=body, reason="routed again" if routed else "unrouted before it goes")

"""The decision about one pool: `plan(snapshot) -> Plan`.

Pure and deterministic: no clock, no randomness, nothing read or written. The story: what is asked → how many replicas → where → which
objects → what to say about it.
"""

from __future__ import annotations

from dataclasses import dataclass

from forebay.api.inference_pool import Mode
from forebay.api.pool_scaling import ForecastMode
from forebay.planning import mig, nodes, workload
from forebay.planning.asking import ask, within_shares
from forebay.planning.backfill import backfilled, told
from forebay.planning.burstiness import dispersed
from forebay.planning.decision import Action, Plan, Ref, apply
from forebay.planning.demand import ClassLoad, loads, of_all, remembered
from forebay.planning.facts import Facts
from forebay.planning.hold import Held, hold, unbroken
from forebay.planning.interruption import doomed
from forebay.planning.memory import DemandPoint, Memory, Partitioning, Shape, Sparing, Spread
from forebay.planning.outlook import early_s, foreseen, learn
from forebay.planning.placement import Placed, place
from forebay.planning.profiles import forgotten, learned
from forebay.planning.room import blocked, makes_nodes
from forebay.planning.router import routed
from forebay.planning.saturation import floored, observed_share, saturation
from forebay.planning.sidecar_config import compile_sidecar
from forebay.planning.sleep import rest, with_gateways
from forebay.planning.snapshot import DeploymentView, PodView, Snapshot
from forebay.planning.sparing import spared
from forebay.planning.split import Lot
from forebay.planning.standby import with_standby
from forebay.planning.starts import learn_starts
from forebay.planning.status import report
from forebay.planning.supply import marked, replacements, supply_why
from forebay.planning.target import Sized, routed_why, router_of, settled, size, unloaded
from forebay.planning.variants import LABEL_ROUTED, Variant

MAX_WHY = 64


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was decided, before it becomes objects."""

    sized: Sized
    held: Held
    placed: Placed
    loads: list[ClassLoad]
    shares: dict[str, float]
    router: Spread | None
    sparing: Sparing | None
    targets: dict[str, tuple[Variant, int]]
    lots: tuple[Lot, ...]
    mix: dict[str, int]
    templates: dict[str, str]
    supplied: tuple[str, ...] = ()

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(variant for variant, _ in self.targets.values())


def plan(snapshot: Snapshot) -> Plan:
    """Decides what one pool should look like now."""
    own = snapshot.spec.capacity.nodes.limits
    snapshot = within_shares(with_gateways(snapshot))
    lost = forgotten(snapshot)
    snapshot = snapshot.model_copy(update={"memory": _observed(snapshot)})
    chosen = _choose(snapshot)
    moves = mig.repartition(snapshot)
    document = compile_sidecar(snapshot.pool, snapshot.spec, snapshot.classes)
    dry = snapshot.spec.mode == Mode.RECOMMEND or snapshot.spec.scaling.paused
    facts = Facts(snapshot, chosen.sized, chosen.held, chosen.placed, chosen.loads, chosen.targets, moves.verdict, document)
    status, verdicts, notes = report(facts)
    return Plan(
        actions=() if dry else _actions(snapshot, chosen, document) + moves.actions + _unroute(snapshot, moves),
        status=status,
        verdicts=verdicts,
        notes=notes,
        memory=_remembered(snapshot, chosen, snapshot.memory.partitioning if dry else moves.progress),
        requeue_after_s=snapshot.settings.interval_s,
        why=_why(snapshot, chosen, lost),
        replicas=chosen.placed.replicas,
        dry=dry,
        ask=ask(snapshot, own, chosen.lots, chosen.loads, chosen.placed, dry) if snapshot.shares else None,
    )


def _observed(snapshot: Snapshot) -> Memory:
    """The memory with what this snapshot adds: a past, a demand point, request shapes, start times of replicas that became ready."""
    memory = backfilled(unbroken(snapshot), snapshot.history)
    snapshot = snapshot.model_copy(update={"memory": memory})
    update = learn_starts(snapshot) | {"profiles": learned(snapshot)}
    if snapshot.demand is not None and snapshot.fresh:
        history, shapes = remembered(snapshot)
        update |= {"history": history, "shapes": shapes, "saturation": saturation(snapshot)}
        update |= _followed(snapshot, history, shapes)
    seen = snapshot.model_copy(update={"memory": memory.model_copy(update=update)})
    return seen.memory.model_copy(update={"unavailable": marked(seen)})


def _followed(snapshot: Snapshot, history: dict[str, tuple[DemandPoint, ...]], shapes: dict[str, Shape]) -> dict[str, object]:
    """What is learned of arrivals, where those of all replicas are known; else when they last were not."""
    memory, whole, learns = snapshot.memory, of_all(snapshot), snapshot.spec.scaling.forecast.mode != ForecastMode.DISABLED
    if whole is None:
        return {"partly_at": snapshot.now} | ({} if learns else {"forecasts": {}})
    return {
        "dispersion": {name: dispersed(memory.dispersion.get(name), points, whole.window_s) for name, points in history.items()},
        "forecasts": learn(memory.forecasts, whole, shapes, foreseen(snapshot), early_s(snapshot.pool)) if learns else {},
    }


def _remembered(snapshot: Snapshot, chosen: Chosen, partitioning: dict[str, Partitioning]) -> Memory:
    scaling, there = snapshot.spec.scaling, sum(d.replicas for d in snapshot.deployments)
    return chosen.held.memory.model_copy(
        update={
            # What a pause has kept is given back from what there is once it is over, at the pace that is set.
            "target": max(chosen.held.replicas, min(there, scaling.max_replicas)) if scaling.paused else chosen.held.replicas,
            "placed": snapshot.memory.placed if scaling.paused else chosen.placed.replicas,
            "mix": chosen.mix,
            "better_since": chosen.sized.better_since if snapshot.fresh else None,
            "spot_hold_until": chosen.placed.spot_hold_until,
            "partitioning": partitioning,
            "throughput_shares": chosen.shares,
            "router": chosen.router,
            "sparing": chosen.sparing,
        }
    )


def _why(snapshot: Snapshot, chosen: Chosen, lost: tuple[str, ...]) -> tuple[str, ...]:
    """The sentences that lead to the decision. What the load would ask for is left out where there is no fresh load."""
    sized = (*chosen.sized.why, *routed_why(snapshot)) if snapshot.fresh else ()
    verdict = chosen.placed.verdict
    steps = (*sized, *chosen.held.why, *chosen.supplied, *chosen.placed.why, f"{verdict.reason}: {verdict.message}")
    return (*told(snapshot), *lost, *steps)[:MAX_WHY]


def _choose(snapshot: Snapshot) -> Chosen:
    current = _current(snapshot)
    known = loads(snapshot, snapshot.memory.history, snapshot.memory.shapes)
    sized = size(snapshot, known if snapshot.fresh else unloaded(known))
    shares = observed_share(snapshot, known, sized.profile)
    sized = _raised(snapshot, known, sized, shares) if snapshot.fresh else sized
    held = (
        hold(_unheld(snapshot), sized.replicas, sized.replicas)
        if sized.moves and snapshot.fresh
        else hold(snapshot, sized.replicas, current, _lasting(snapshot, known, sized, shares))
    )
    held = rest(snapshot, held, current, known, sized.standby)
    lots = settled(snapshot, sized, held.replicas)
    variants = tuple(variant for lot in lots for variant in lot.variants)
    beside, late = _beside(snapshot, lots)
    templates = {v.name: workload.template_hash(snapshot.spec, v) for v in variants}
    placed = place(snapshot, beside, _rolling(snapshot, templates))
    targets = {workload.deployment_name(snapshot.pool.name, v): (v, placed.of(v)) for v in variants}
    mix, router = {lot.name: lot.replicas for lot in lots if lot.name}, routed(snapshot, known, sized.profile)
    sparing = spared(snapshot, known, sized.profile, router_of(snapshot).efficiency)
    return Chosen(sized, held, placed, known, shares, router, sparing, targets, lots, mix, templates, (*late, *supply_why(snapshot)))


def _current(snapshot: Snapshot) -> int:
    """Replicas that were decided last; where that is not remembered, what is deployed.

    Of a pool that may sleep none is a decision too, but nothing that is there goes by it while nobody knows whether it is asked. What is
    only recommended takes nothing away, and stands: metrics are not there yet when an operator has just begun.
    """
    memory, unharmed = snapshot.memory, snapshot.fresh or snapshot.spec.mode == Mode.RECOMMEND
    known = memory.target or (memory.rest is not None and snapshot.spec.scaling.min_replicas == 0 and unharmed)
    return memory.target if known else sum(d.replicas for d in snapshot.deployments)


def _unheld(snapshot: Snapshot) -> Snapshot:
    """Counts of another mix say nothing about this one."""
    return snapshot.model_copy(update={"memory": snapshot.memory.model_copy(update={"recommendations": (), "surges": ()})})


def _lasting(snapshot: Snapshot, known: list[ClassLoad], sized: Sized, shares: dict[str, float]) -> int:
    """Replicas that would do if nothing waited."""
    calm = [item.lasting for item in known]
    if not snapshot.fresh or calm == known:
        return sized.replicas
    return _raised(snapshot, calm, size(snapshot, calm), shares).replicas


def _raised(snapshot: Snapshot, loads: list[ClassLoad], sized: Sized, shares: dict[str, float]) -> Sized:
    """The size by the model, or what replicas were seen to finish asks for, with what is to be kept ready beside it."""
    return with_standby(snapshot, loads, floored(snapshot, loads, sized, shares))


def _beside(snapshot: Snapshot, lots: tuple[Lot, ...]) -> tuple[tuple[Lot, ...], tuple[str, ...]]:
    """The lots with what is ordered once more for replicas that are overdue, within maxReplicas; and why."""
    room = max(0, snapshot.spec.scaling.max_replicas - sum(lot.replicas for lot in lots))
    found: list[Lot] = []
    why: tuple[str, ...] = ()
    for lot in lots:
        late = replacements(snapshot, [v.name for v in lot.variants], lot.replicas, room)
        found.append(Lot(lot.variants, lot.replicas + late.replicas))
        room, why = room - late.replicas, (*why, *late.why)
    return tuple(found), why


def _rolling(snapshot: Snapshot, templates: dict[str, str]) -> frozenset[str]:
    """Variants whose replicas have, or are about to get, a new template."""
    existing = {d.variant: d for d in snapshot.deployments if d.variant in templates}
    return frozenset(name for name, d in existing.items() if d.rolling or d.template_hash != templates[name])


def _actions(snapshot: Snapshot, chosen: Chosen, document: dict[str, object] | None) -> tuple[Action, ...]:
    """The pool's objects in the order in which they need each other. Nothing is started while no class is known."""
    if document is None:
        return ()
    pool = snapshot.pool
    actions = [apply(workload.config_map(pool, document)), apply(workload.service(pool))]
    wanted = nodes.node_pools(snapshot, chosen.variants, chosen.placed)
    actions += [apply(obj, "bounds of what the plan needs") for obj in wanted]
    existing = {d.name: d for d in snapshot.deployments}
    for name in chosen.targets:
        actions += _workload(snapshot, chosen, existing.get(name), name)
    for name, replicas in chosen.placed.old.items():
        actions += _leaving(snapshot, existing[name], replicas)
    actions += [_delete("karpenter.sh/v1", "NodePool", None, p.name) for p in nodes.unwanted(snapshot, wanted)]
    return tuple(actions)


def _workload(snapshot: Snapshot, chosen: Chosen, existing: DeploymentView | None, name: str) -> list[Action]:
    """Creates, rolls or scales one variant. A template is applied only when the pool's own part of it changed."""
    variant, replicas = chosen.targets[name]
    if existing is None and replicas == 0:
        return []
    if existing is None or existing.template_hash != chosen.templates[variant.name]:
        own_nodes, surges = makes_nodes(snapshot, chosen.variants), existing is None or variant.name in chosen.placed.surge
        obj = workload.deployment(snapshot.pool, snapshot.spec, variant, replicas, snapshot.settings, own_nodes=own_nodes, surges=surges)
        return [apply(obj, "the pool's template is new")]
    stuck = existing.rolling and not existing.yields and blocked(snapshot, chosen.variants, (variant.name,))
    way = [_yield(snapshot, existing)] if stuck else []
    return way if existing.replicas == replicas else [*way, _scale(snapshot, existing, replicas)]


def _yield(snapshot: Snapshot, deployment: DeploymentView) -> Action:
    """Lets a roll-out end one replica before its successor is ready. The next new template comes with the first strategy again."""
    ref = Ref(api_version="apps/v1", kind="Deployment", namespace=snapshot.pool.namespace, name=deployment.name)
    body = {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 1}}}}
    return Action(verb="patch", ref=ref, body=body, reason="no node has room beside the old replicas: they go one by one")


def _leaving(snapshot: Snapshot, deployment: DeploymentView, replicas: int) -> list[Action]:
    """A Deployment of a variant that is no longer wanted shrinks as the wanted ones become ready, and is then deleted."""
    if replicas == 0:
        return [_delete("apps/v1", "Deployment", snapshot.pool.namespace, deployment.name)]
    return [_scale(snapshot, deployment, replicas)] if replicas != deployment.replicas else []


def _scale(snapshot: Snapshot, deployment: DeploymentView, replicas: int) -> Action:
    ref = Ref(api_version="apps/v1", kind="Deployment", namespace=snapshot.pool.namespace, name=deployment.name)
    return Action(verb="scale", ref=ref, body={"spec": {"replicas": replicas}}, reason=f"{deployment.replicas} → {replicas}")


def _delete(api_version: str, kind: str, namespace: str | None, name: str) -> Action:
    return Action(verb="delete", ref=Ref(api_version=api_version, kind=kind, namespace=namespace, name=name), reason="no longer wanted")


def _unroute(snapshot: Snapshot, moves: mig.Repartition) -> tuple[Action, ...]:
    """Takes replicas that are about to go out of the Service, and puts those back whose node stays after all.

    The last that answer stay in it, whatever notice their node has: nobody else could take their requests.
    """
    draining = {node for node, progress in moves.progress.items() if progress.phase in ("Draining", "Applying")}
    going = doomed(snapshot)
    others = any(p.ready and not p.deleting and p.name not in going and p.node not in draining for p in snapshot.pods)

    def leaves(pod: PodView) -> bool:
        return pod.node in draining or (pod.name in going and (others or not pod.ready))

    changed = [p for p in snapshot.pods if not p.deleting and p.routed == leaves(p)]
    return tuple(_route(snapshot, pod, not leaves(pod)) for pod in changed)


def _route(snapshot: Snapshot, pod: PodView, routed: bool) -> Action:
    ref = Ref(api_version="v1", kind="Pod", namespace=snapshot.pool.namespace, name=pod.name)
    body = {"metadata": {"labels": {LABEL_ROUTED: "true" if routed else None}}}
    return Action(verb="patch", ref=ref, body=body, reason="routed again" if routed else "unrouted before it goes")

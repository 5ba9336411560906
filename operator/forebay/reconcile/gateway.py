"""Reconciles one gateway: the policies that name it, what it loads, and the objects that run it."""

from __future__ import annotations

import asyncio

from pydantic import ValidationError

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Forbidden, Object
from forebay.api.conditions import Type
from forebay.api.inference_pool import InferencePoolSpec
from forebay.api.routing_policy import RoutingPolicySpec
from forebay.planning.gateway_workload import ADMIN_PORT, ANNOTATION_ACCESS, gateway_name, revoked
from forebay.planning.routing import GatewayReplica, GatewaySnapshot, PolicyReport, PolicyView, PoolView, plan_gateway
from forebay.planning.starts import DEFAULT_LEAD_S, lead_time_s
from forebay.reconcile.apply import Outcome, apply, due, remember
from forebay.reconcile.keys import Key
from forebay.reconcile.observe import classes, identity, is_ready, known_memory
from forebay.reconcile.pool import report_invalid
from forebay.reconcile.report import conditions, refusal_notes, verdicts_after, write_status
from forebay.reconcile.world import World


async def reconcile_gateway(world: World, key: Key) -> float | None:
    """One round; None when no policy names the gateway any more (its objects go with their last owner)."""
    policies = {obj["metadata"]["name"]: obj for obj in world.view.all(kinds.ROUTING_POLICIES) if _names(obj, key)}
    if not policies:
        await _take_back(world, key)
        return None
    snapshot = await gateway_snapshot(world, key, policies)
    plan = plan_gateway(snapshot)
    world.routes[key.namespace, key.name] = frozenset(plan.document["pools"])
    applied = world.gateways.setdefault((key.namespace, key.name), {})
    outcome = await apply(due(plan.actions, applied, world.view, world.clock.monotonic()), world.cluster)
    remember(outcome, applied, world.clock.monotonic())
    for report in plan.reports:
        await _report(world, policies[report.name], report, outcome)
    outcome.raise_error()
    return plan.requeue_after_s


async def _take_back(world: World, key: Key) -> None:
    """Nothing outside of the gateway's namespace goes with its owners. What was noted counts, and what this process did itself."""
    applied = world.gateways.get((key.namespace, key.name), {})
    given = {place.split("/")[1] for place in applied if place.startswith("Role/")} | set(_access_in(world, key))
    outcome = await apply(revoked(key.name, key.namespace, given), world.cluster)
    outcome.raise_error()
    for known in (world.gateways, world.routes, world.heard):
        known.pop((key.namespace, key.name), None)


def _access_in(world: World, key: Key) -> tuple[str, ...]:
    deployment = world.view.get(kinds.DEPLOYMENTS, key.namespace, gateway_name(key.name)) or {"metadata": {}}
    noted = (deployment["metadata"].get("annotations") or {}).get(ANNOTATION_ACCESS, "")
    return tuple(name for name in noted.split(",") if name)


def _names(obj: Object, key: Key) -> bool:
    meta = obj["metadata"]
    named = obj.get("spec", {}).get("gateway", {}).get("name", "default")
    return bool(meta["namespace"] == key.namespace and named == key.name and "deletionTimestamp" not in meta)


async def gateway_snapshot(world: World, key: Key, policies: dict[str, Object]) -> GatewaySnapshot:
    views = []
    for obj in policies.values():
        try:
            spec = RoutingPolicySpec.model_validate(obj["spec"])
        except ValidationError as error:
            await report_invalid(world, obj, error)
            continue
        meta = obj["metadata"]
        views.append(
            PolicyView(
                namespace=meta["namespace"], name=meta["name"], uid=meta["uid"], generation=meta.get("generation", 0),
                created_at=meta.get("creationTimestamp", ""), spec=spec,
            )
        )  # fmt: skip
    return GatewaySnapshot(
        now=world.clock.now(),
        namespace=key.namespace,
        name=key.name,
        policies=tuple(views),
        pools=await _pools(world),
        classes=classes(world),
        namespace_labels=await _namespace_labels(world, key.namespace),
        replicas=await _replicas(world, key),
        access_in=_access_in(world, key),
        settings=world.settings,
    )


async def _pools(world: World) -> tuple[PoolView, ...]:
    result = []
    for obj in world.view.all(kinds.INFERENCE_POOLS):
        try:
            spec = InferencePoolSpec.model_validate(obj["spec"])
        except ValidationError:
            continue  # its own reconcile says what is wrong with it
        who = identity(obj)
        start_s = lead_time_s(await known_memory(world, who)) if spec.scaling.min_replicas == 0 else DEFAULT_LEAD_S
        result.append(PoolView(namespace=who.namespace, name=who.name, uid=who.uid, spec=spec, start_s=start_s))
    return tuple(sorted(result, key=lambda p: (p.namespace, p.name)))


async def _namespace_labels(world: World, namespace: str) -> dict[str, dict[str, str]]:
    """Labels of the policies' namespace. They open pools to it, so where they may not be read they open none."""
    try:
        obj = await world.cluster.get(kinds.NAMESPACES, None, namespace)
    except Forbidden:
        return {}
    return {namespace: (obj or {}).get("metadata", {}).get("labels") or {}}


async def _replicas(world: World, key: Key) -> tuple[GatewayReplica, ...]:
    pods = [p for p in world.view.of_gateway(kinds.PODS, key.namespace, key.name) if "deletionTimestamp" not in p["metadata"]]
    loaded = await asyncio.gather(*(world.loaded.hash(p.get("status", {}).get("podIP", ""), ADMIN_PORT) for p in pods))
    return tuple(
        GatewayReplica(name=p["metadata"]["name"], ready=is_ready(p), loaded_hash=loaded_hash)
        for p, loaded_hash in zip(pods, loaded, strict=True)
    )


async def _report(world: World, obj: Object, report: PolicyReport, outcome: Outcome) -> None:
    verdicts = verdicts_after(report.verdicts, outcome, (Type.PROGRAMMED,))
    status = {
        "observedGeneration": report.generation,
        "configHash": report.config_hash,
        "conditions": conditions(verdicts, obj, report.generation, world.clock.now()),
    }
    await write_status(world, obj, status)
    for note in refusal_notes(outcome):
        await world.recorder.record(obj, note)

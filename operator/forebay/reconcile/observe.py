"""Reads: from the view of the cluster, the sidecars' metrics and the saved memory to a snapshot."""

from __future__ import annotations

import datetime
import logging
from typing import Any

from pydantic import ValidationError

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object
from forebay.adapters.metrics import Target
from forebay.api.batch_class import BatchClassSpec
from forebay.api.canonical import bounded_name
from forebay.api.inference_pool import FULL, InferencePoolSpec
from forebay.planning.backfill import missing
from forebay.planning.interruption import SIGNALS
from forebay.planning.memory import Memory
from forebay.planning.mig import ANNOTATION_CORDONED, LABEL_CONFIG, LABEL_STATE
from forebay.planning.snapshot import (
    ON_DEMAND,
    SPOT,
    CapacityType,
    DeploymentView,
    NodeClaimView,
    NodePoolView,
    NodeView,
    PodView,
    PoolIdentity,
    Snapshot,
    Taint,
)
from forebay.planning.variants import (
    LABEL_CAPACITY_TYPE,
    LABEL_NODE_POOL,
    LABEL_OWNER_UID,
    LABEL_POOL,
    LABEL_ROUTED,
    LABEL_VARIANT,
    qualified,
)
from forebay.planning.workload import ANNOTATION_ACCELERATOR, ANNOTATION_PARTITION, ANNOTATION_TEMPLATE, SIDECAR_PORT
from forebay.reconcile.held import at_gateways
from forebay.reconcile.keys import Key, pool_key
from forebay.reconcile.trouble import refusal, trouble
from forebay.reconcile.world import PoolRecord, World, urgent

MEMORY_KEY = "memory.json"

_log = logging.getLogger(__name__)
_OVER = ("Succeeded", "Failed")
_NODE_LABELS = {LABEL_NODE_POOL, LABEL_CONFIG, LABEL_STATE, LABEL_POOL, LABEL_CAPACITY_TYPE} | {s.key for s in SIGNALS if s.on == "label"}


def memory_name(pool: str) -> str:
    return bounded_name(pool, "forebay-memory")


def epoch_s(text: str | None) -> float | None:
    """Seconds since the epoch of a Kubernetes timestamp."""
    return datetime.datetime.fromisoformat(text).timestamp() if text else None


def identity(obj: Object) -> PoolIdentity:
    meta = obj["metadata"]
    return PoolIdentity(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"], generation=meta.get("generation", 0))


def classes(world: World) -> dict[str, BatchClassSpec]:
    """Every BatchClass that can be read; of one that cannot its own reconcile says so."""
    result = {}
    for obj in world.view.all(kinds.BATCH_CLASSES):
        try:
            result[obj["metadata"]["name"]] = BatchClassSpec.model_validate(obj["spec"])
        except ValidationError:
            continue
    return result


async def pool_snapshot(world: World, key: Key, obj: Object, spec: InferencePoolSpec) -> Snapshot:
    """Everything that the next decision about the pool stands on."""
    deployments = [deployment_view(d) for d in world.view.of_pool(kinds.DEPLOYMENTS, key.namespace, key.name)]
    record = await pool_record(world, key, obj["metadata"]["uid"], sum(d.replicas for d in deployments))
    bodies = [b for b in world.view.of_pool(kinds.PODS, key.namespace, key.name) if b.get("status", {}).get("phase") not in _OVER]
    demand = await world.metrics.demand(key.namespace, key.name, [t for b in bodies if (t := target(b))], world.clock.now())
    known = classes(world)
    snapshot = Snapshot(
        now=world.clock.now(),
        pool=identity(obj),
        spec=spec,
        classes={name: known[name] for name in spec.classes if name in known},
        deployments=tuple(sorted(deployments, key=lambda d: d.name)),
        pods=tuple(sorted((pod_view(b) for b in bodies), key=lambda p: p.name)),
        nodes=_nodes(world, key, bodies),
        node_pools=_node_pools(world, key, obj["metadata"]["uid"]),
        node_claims=_node_claims(world, qualified(key.namespace, key.name)),
        backend_installed=world.backend_installed,
        demand=demand,
        gateways=await at_gateways(world, key) if spec.scaling.min_replicas == 0 else None,
        memory=record.memory,
        settings=world.settings,
    )
    since = missing(snapshot)
    if not since:
        return snapshot
    history = await world.history.read(key.namespace, key.name, since, snapshot.now)
    return snapshot.model_copy(update={"history": history, "history_trouble": world.history.trouble(key.namespace, key.name)})


async def pool_record(world: World, key: Key, uid: str, deployed: int) -> PoolRecord:
    """What is kept of the pool; after a restart its memory is read back once.

    Nobody looked meanwhile, so the window before anything may shrink begins anew. Without a memory what is `deployed` is held for as long.
    """
    place = (key.namespace, key.name)
    if place not in world.pools or world.pools[place].uid != uid:
        saved = await _saved_memory(world, key, uid)
        resumed = saved.model_copy(update={"observed_since": None, "target": saved.target or deployed})
        world.pools[place] = PoolRecord(uid=uid, memory=resumed, saved=urgent(saved))
    return world.pools[place]


async def known_memory(world: World, pool: PoolIdentity) -> Memory:
    """What the pool's decisions rest on now; what was saved of it where none was made since the start."""
    record = world.pools.get((pool.namespace, pool.name))
    if record is not None and record.uid == pool.uid:
        return record.memory
    return await _saved_memory(world, pool_key(pool.namespace, pool.name), pool.uid)


async def _saved_memory(world: World, key: Key, uid: str) -> Memory:
    saved = await world.cluster.get(kinds.CONFIG_MAPS, key.namespace, memory_name(key.name))
    owners = (saved or {}).get("metadata", {}).get("ownerReferences") or []
    if saved is None or not any(owner.get("uid") == uid for owner in owners):
        return Memory()
    try:
        return Memory.model_validate_json(saved.get("data", {}).get(MEMORY_KEY, "{}"))
    except ValueError:
        _log.warning("the saved memory of %s cannot be read and is started anew", key)
        return Memory()


def target(pod: Object) -> Target | None:
    """Where the pod's sidecar can be asked, once it has an address and runs."""
    status = pod.get("status", {})
    if not status.get("podIP") or status.get("phase") != "Running":
        return None
    ready_at = None if "deletionTimestamp" in pod["metadata"] else _ready_at(pod)
    return Target(pod["metadata"]["name"], status["podIP"], SIDECAR_PORT, ready_at, pod["metadata"]["labels"].get(LABEL_VARIANT, ""))


def _condition(obj: Object, kind: str) -> dict[str, Any]:
    return next((c for c in obj.get("status", {}).get("conditions", []) if c.get("type") == kind), {})


def is_ready(obj: Object) -> bool:
    """Whether a pod or a node says that it is ready."""
    return _condition(obj, "Ready").get("status") == "True"


def _ready_at(pod: Object) -> float | None:
    return epoch_s(_condition(pod, "Ready").get("lastTransitionTime")) if is_ready(pod) else None


def _server(pod: Object) -> dict[str, Any]:
    """Status of the model server's container, the first of the template."""
    name = (pod["spec"].get("containers") or [{}])[0].get("name")
    return next((c for c in pod.get("status", {}).get("containerStatuses") or [] if c.get("name") == name), {})


def _scheduled_at(pod: Object) -> float | None:
    condition = _condition(pod, "PodScheduled")
    return epoch_s(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def _running_at(server: dict[str, Any]) -> float | None:
    """When the server's process was started; of one that was started again the first time is not known any more."""
    return None if server.get("restartCount") else epoch_s((server.get("state", {}).get("running") or {}).get("startedAt"))


def _capacity_type(labels: dict[str, str]) -> CapacityType:
    return SPOT if labels.get(LABEL_CAPACITY_TYPE) == SPOT else ON_DEMAND


def deployment_view(obj: Object) -> DeploymentView:
    meta, status = obj["metadata"], obj.get("status", {})
    notes = meta.get("annotations") or {}
    return DeploymentView(
        name=meta["name"],
        variant=meta["labels"].get(LABEL_VARIANT, ""),
        capacity_type=_capacity_type(meta["labels"]),
        accelerator=notes.get(ANNOTATION_ACCELERATOR, ""),
        partition=notes.get(ANNOTATION_PARTITION) or FULL,
        replicas=obj["spec"].get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        rolling=status.get("updatedReplicas", 0) < status.get("replicas", 0),
        yields=_yields(obj["spec"]),
        template_hash=notes.get(ANNOTATION_TEMPLATE, ""),
        trouble=refusal(obj),
    )


def _yields(spec: Object) -> bool:
    rolling = spec.get("strategy", {}).get("rollingUpdate") or {}
    return rolling.get("maxUnavailable", 0) not in (0, "0%")


def pod_view(obj: Object) -> PodView:
    meta, labels = obj["metadata"], obj["metadata"]["labels"]
    ready_at, server = _ready_at(obj), _server(obj)
    probed = "startupProbe" in (obj["spec"].get("containers") or [{}])[0]
    return PodView(
        name=meta["name"],
        variant=labels.get(LABEL_VARIANT, ""),
        capacity_type=_capacity_type(labels),
        node=obj["spec"].get("nodeName", ""),
        ready=ready_at is not None,
        deleting="deletionTimestamp" in meta,
        routed=labels.get(LABEL_ROUTED) == "true",
        created_at=epoch_s(meta["creationTimestamp"]) or 0.0,
        scheduled_at=_scheduled_at(obj),
        running_at=_running_at(server),
        loaded=bool(server.get("started")) if probed else None,
        ready_at=ready_at,
        trouble="" if ready_at is not None else trouble(obj),
    )


def node_view(obj: Object, own: str) -> NodeView:
    """A node, with only those labels and annotations that decisions look at."""
    meta, spec, status = obj["metadata"], obj.get("spec", {}), obj.get("status", {})
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    return NodeView(
        name=meta["name"],
        own=labels.get(LABEL_POOL) == own,
        capacity_type=_capacity_type(labels),
        ready=is_ready(obj),
        unschedulable=bool(spec.get("unschedulable")),
        deleting="deletionTimestamp" in meta,
        labels={k: v for k, v in labels.items() if k in _NODE_LABELS},
        annotations={k: v for k, v in notes.items() if k == ANNOTATION_CORDONED},
        taints=tuple(Taint(key=t["key"], value=t.get("value", ""), effect=t.get("effect", "")) for t in spec.get("taints", [])),
        allocatable={k: str(v) for k, v in status.get("allocatable", {}).items() if k.startswith("nvidia.com/")},
    )


def _nodes(world: World, key: Key, pods: list[Object]) -> tuple[NodeView, ...]:
    own = qualified(key.namespace, key.name)
    hosts = {p["spec"].get("nodeName", "") for p in pods}
    found = {n["metadata"]["name"]: n for n in world.view.of_pool(kinds.NODES, "", own)}
    found |= {name: node for name in hosts if (node := world.view.get(kinds.NODES, None, name)) is not None}
    return tuple(node_view(found[name], own) for name in sorted(found))


def node_claim_view(obj: Object) -> NodeClaimView:
    meta = obj["metadata"]
    launched = _condition(obj, "Launched").get("status") == "True"
    return NodeClaimView(
        name=meta["name"],
        node_pool=meta["labels"].get(LABEL_NODE_POOL, ""),
        capacity_type=_capacity_type(meta["labels"]),
        coming=launched and "deletionTimestamp" not in meta,
    )


def _node_claims(world: World, own: str) -> tuple[NodeClaimView, ...]:
    """Those without a node: a node that is there is counted as such."""
    there = {n["metadata"]["name"] for n in world.view.of_pool(kinds.NODES, "", own)}
    claims = world.view.of_pool(kinds.NODE_CLAIMS, "", own)
    under_way = (c for c in claims if c.get("status", {}).get("nodeName") not in there)
    return tuple(sorted((node_claim_view(c) for c in under_way), key=lambda c: c.name))


def _node_pools(world: World, key: Key, uid: str) -> tuple[NodePoolView, ...]:
    listed = world.view.of_pool(kinds.NODE_POOLS, "", qualified(key.namespace, key.name))
    mine = [n["metadata"]["name"] for n in listed if n["metadata"]["labels"].get(LABEL_OWNER_UID) == uid]
    return tuple(NodePoolView(name=name) for name in sorted(mine))

"""Work that belongs to no single object: what a pool that is gone has left behind, and the layouts that mig-manager may be asked for."""

from __future__ import annotations

import logging
from typing import Any

import yaml

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import FIELD_MANAGER, Cluster, Object
from forebay.planning.mig import ANNOTATION_CORDONED, CONFIG_MAP, config_document, uncordon
from forebay.planning.variants import LABEL_OWNER_NAMESPACE, LABEL_OWNER_UID, LABEL_POOL, qualified
from forebay.reconcile.apply import apply
from forebay.reconcile.observe import node_view
from forebay.reconcile.world import World

SWEEP_EVERY_S = 60.0
MIG_CONFIG_FILE = "config.yaml"

_log = logging.getLogger(__name__)


async def sweep(world: World) -> float:
    """Cleans up after pools that are gone. No ownerReference can do it: NodePools and nodes are cluster-scoped."""
    if world.backend_installed:
        await sweep_node_pools(world.cluster, world.namespaces)
    await release_nodes(world)
    return SWEEP_EVERY_S


async def release_nodes(world: World) -> None:
    """Uncordons nodes that were cordoned for the layout of a pool that no longer exists."""
    held = [node_view(n, "") for n in world.view.all(kinds.NODES) if ANNOTATION_CORDONED in (n["metadata"].get("annotations") or {})]
    if not held:
        return
    pools = (p["metadata"] for p in await _pools(world.cluster, world.namespaces))
    alive = {qualified(meta["namespace"], meta["name"]) for meta in pools}
    for node in held:
        label = node.labels.get(LABEL_POOL, "")
        if label not in alive and (not world.namespaces or label.partition(".")[0] in world.namespaces):
            outcome = await apply((uncordon(node, "the pool is gone"),), world.cluster)
            outcome.raise_error()


async def sweep_node_pools(cluster: Cluster, namespaces: tuple[str, ...] = (), keep: bool = True) -> int:
    """Deletes NodePools of ours whose pool is gone, or all of them without `keep`; returns how many.

    Asks the API server and not the view, which may not be whole yet; for NodePools first, so that a pool made meanwhile is seen.
    """
    mine = [n["metadata"] for n in await cluster.list(kinds.NODE_POOLS, labels={"app.kubernetes.io/managed-by": "forebay"})]
    alive = {p["metadata"]["uid"] for p in await _pools(cluster, namespaces)} if keep else set()
    ours = [m for m in mine if not namespaces or m["labels"].get(LABEL_OWNER_NAMESPACE) in namespaces]
    orphans = [m for m in ours if m["labels"].get(LABEL_OWNER_UID) not in alive]
    for meta in orphans:
        _log.info("NodePool %s has lost its pool and is deleted", meta["name"])
        await cluster.delete(kinds.NODE_POOLS, None, meta["name"], uid=meta["uid"])
    return len(orphans)


async def _pools(cluster: Cluster, namespaces: tuple[str, ...]) -> list[Object]:
    return [p for ns in namespaces or (None,) for p in await cluster.list(kinds.INFERENCE_POOLS, ns)]


async def write_mig_config(world: World) -> None:
    """One ConfigMap with the layouts of all pools, for mig-manager. Written only where a pool has a layout.

    mig-manager reads a single one, so operators of different namespaces share it: each adds its layouts and leaves the others', whose
    names are made from what is in them. Only an operator of all namespaces knows which are no longer used.
    """
    specs = [p["spec"].get("partitioning", {}) for p in await _pools(world.cluster, world.namespaces)]
    layouts = {tuple(sorted(s["layout"].items())): s["layout"] for s in specs if s.get("mode") == "Static" and s.get("layout")}
    if not layouts:
        return
    document, where = config_document(list(layouts.values())), world.settings.mig_config_namespace
    meta = {"name": CONFIG_MAP, "namespace": where, "labels": {"app.kubernetes.io/managed-by": "forebay"}}
    if world.namespaces and (there := await world.cluster.get(kinds.CONFIG_MAPS, where, CONFIG_MAP)):
        document["mig-configs"] = _layouts_in(there) | document["mig-configs"]
        meta["resourceVersion"] = there["metadata"]["resourceVersion"]
    data = {MIG_CONFIG_FILE: yaml.safe_dump(document, sort_keys=False)}
    await world.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}, manager=FIELD_MANAGER)


def _layouts_in(config_map: Object) -> dict[str, Any]:
    """Layouts that an operator wrote; nothing where it cannot be read."""
    try:
        document = yaml.safe_load(config_map.get("data", {}).get(MIG_CONFIG_FILE, ""))
    except yaml.YAMLError:
        document = None
    found = document.get("mig-configs") if isinstance(document, dict) else None
    return {str(name): layout for name, layout in found.items() if str(name).startswith("forebay-")} if isinstance(found, dict) else {}

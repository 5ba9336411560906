"""Work that belongs to no single object: sweeping NodePools whose pool is gone, and the layouts that mig-manager may be asked for."""

from __future__ import annotations

import logging

import yaml

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import FIELD_MANAGER, Cluster
from forebay.planning.mig import CONFIG_MAP, config_document
from forebay.planning.variants import LABEL_OWNER_UID
from forebay.reconcile.world import World

SWEEP_EVERY_S = 60.0

_log = logging.getLogger(__name__)


async def sweep(world: World) -> float:
    """Deletes NodePools of ours whose InferencePool no longer exists. No ownerReference can do it: they are cluster-scoped."""
    if world.backend_installed:
        alive = {p["metadata"]["uid"] for p in world.view.all(kinds.INFERENCE_POOLS)}
        await sweep_node_pools(world.cluster, alive)
    return SWEEP_EVERY_S


async def sweep_node_pools(cluster: Cluster, alive: set[str]) -> int:
    """Deletes every NodePool that carries the UID of a pool which is not alive; returns how many."""
    mine = await cluster.list(kinds.NODE_POOLS, labels={"app.kubernetes.io/managed-by": "forebay"})
    orphans = [n["metadata"] for n in mine if (n["metadata"].get("labels") or {}).get(LABEL_OWNER_UID) not in alive]
    for meta in orphans:
        _log.info("NodePool %s has lost its pool and is deleted", meta["name"])
        await cluster.delete(kinds.NODE_POOLS, None, meta["name"], uid=meta["uid"])
    return len(orphans)


async def write_mig_config(world: World) -> None:
    """One ConfigMap with the layouts of all pools, for mig-manager. Written only where a pool has a layout."""
    specs = [p["spec"].get("partitioning", {}) for p in world.view.all(kinds.INFERENCE_POOLS)]
    layouts = {tuple(sorted(s["layout"].items())): s["layout"] for s in specs if s.get("mode") == "Static" and s.get("layout")}
    if not layouts:
        return
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": CONFIG_MAP,
            "namespace": world.settings.mig_config_namespace,
            "labels": {"app.kubernetes.io/managed-by": "forebay"},
        },
        "data": {"config.yaml": yaml.safe_dump(config_document(list(layouts.values())), sort_keys=False)},
    }
    await world.cluster.apply(body, manager=FIELD_MANAGER)

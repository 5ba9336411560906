"""The loop itself: changes become keys, keys become work. The same in a cluster and on one machine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Cluster, Event, Kind, Object
from forebay.planning.variants import LABEL_POOL
from forebay.reconcile import telemetry
from forebay.reconcile.batch_class import reconcile_class
from forebay.reconcile.chores import sweep, write_mig_config
from forebay.reconcile.gateway import reconcile_gateway
from forebay.reconcile.held import woken
from forebay.reconcile.keys import MIG_CONFIG, SWEEP, WAKE, Key, asked, chores, concerned
from forebay.reconcile.observe import deployment_view, node_claim_view, node_view, pod_view
from forebay.reconcile.pool import reconcile_pool
from forebay.reconcile.queue import WorkQueue
from forebay.reconcile.view import PROVISIONED, WATCHED, ObjectView
from forebay.reconcile.world import World

WORKERS = 8


def _node(obj: Object) -> Any:
    return node_view(obj, (obj["metadata"].get("labels") or {}).get(LABEL_POOL, ""))


def _generation(obj: Object) -> Any:
    """What a user asked for: not the status, which is ours."""
    meta = obj["metadata"]
    return meta["uid"], meta.get("generation"), meta.get("deletionTimestamp")


def _pod(obj: Object) -> Any:
    status = obj.get("status", {})
    return pod_view(obj), status.get("podIP"), status.get("phase")


def _node_pool(obj: Object) -> Any:
    meta = obj["metadata"]
    return meta["uid"], meta.get("generation"), meta.get("labels"), meta.get("deletionTimestamp")


def _node_claim(obj: Object) -> Any:
    return node_claim_view(obj), obj.get("status", {}).get("nodeName")


_FINGERPRINTS: dict[Kind, Callable[[Object], Any]] = {
    kinds.NODES: _node,
    kinds.NODE_POOLS: _node_pool,
    kinds.NODE_CLAIMS: _node_claim,
    kinds.DEPLOYMENTS: deployment_view,
    kinds.PODS: _pod,
    kinds.INFERENCE_POOLS: asked,
    kinds.ROUTING_POLICIES: _generation,
    kinds.BATCH_CLASSES: _generation,
}

_log = logging.getLogger(__name__)


class Loop:
    """Feeds the view, fills the queue, works it off."""

    def __init__(self, world: World, view: ObjectView) -> None:
        self.world, self.view = world, view
        self.queue: WorkQueue[Key] = WorkQueue(self._work)
        self._seen: dict[tuple[Kind, str, str], Any] = {}

    def learn(self, kind: Kind, obj: Object) -> None:
        """Takes in an object's state without acting on it yet."""
        self.view.put(kind, obj)

    def changed(self, kind: Kind, obj: Object, deleted: bool = False) -> None:
        """An object was added, changed or deleted: what it concerns is worked on."""
        before, after = self._looks(kind, obj, deleted)
        matters = before != after
        keys = set(concerned(kind, obj, self.view)) if matters else set()
        if kind == kinds.INFERENCE_POOLS:
            keys |= chores(before, after)
        if deleted:
            self.view.remove(kind, obj)
        else:
            self.view.put(kind, obj)
        if matters:
            # Both before and after: what it concerned until now, and what it concerns from now on.
            for key in keys | set(concerned(kind, obj, self.view)):
                self.queue.add(key)

    def _looks(self, kind: Kind, obj: Object, deleted: bool) -> tuple[Any, Any]:
        """What decisions look at of the object, before and now. Nodes have a heartbeat, and our own status writes come back as changes."""
        place = kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        before = self._seen.pop(place, None)
        if deleted:
            return before, None
        after = self._seen[place] = _FINGERPRINTS[kind](obj)
        return before, after

    async def _work(self, key: Key) -> float | None:
        began = time.perf_counter()
        result = "error"
        try:
            after_s = await self._dispatch(key)
            result = "ok"
            return after_s
        finally:
            telemetry.reconciled(key.what, result, time.perf_counter() - began, len(self.queue))

    async def _dispatch(self, key: Key) -> float | None:
        match key:
            case Key("pool"):
                return await reconcile_pool(self.world, key)
            case Key("gateway"):
                return await reconcile_gateway(self.world, key)
            case Key("class"):
                await reconcile_class(self.world, key)
                return None
        if key == SWEEP:
            return await sweep(self.world)
        if key == WAKE:
            pools, after_s = await woken(self.world)
            for pool in pools:
                self.queue.add(pool)
            return after_s
        if key == MIG_CONFIG:
            await write_mig_config(self.world)
            return None
        raise AssertionError(f"nothing works on {key}")

    def start_chores(self) -> None:
        """What must be looked at once the view is whole, whether or not anything changes."""
        self.queue.add(SWEEP)
        self.queue.add(WAKE)
        self.queue.add(MIG_CONFIG)

    async def run(self) -> None:
        """Works until cancelled."""
        await self.queue.run(WORKERS)


async def follow(loop: Loop, cluster: Cluster) -> None:
    """Feeds the loop from the cluster's own watches: what `forebay up` uses where a cluster has kopf. Works until cancelled."""
    watched = [*WATCHED, *((kind, None) for kind, _ in PROVISIONED if loop.world.backend_installed)]
    synced = [asyncio.Event() for _ in watched]
    pending: list[tuple[Kind, Event]] = []

    async def one(kind: Kind, labels: dict[str, str] | None, done: asyncio.Event) -> None:
        async for event in cluster.watch(kind, labels=labels):
            if event.type == "SYNCED":
                done.set()
            elif all(s.is_set() for s in synced):
                loop.changed(kind, event.object, event.type == "DELETED")
            else:
                loop.learn(kind, event.object)
                pending.append((kind, event))

    async with asyncio.TaskGroup() as group:
        for (kind, labels), done in zip(watched, synced, strict=True):
            group.create_task(one(kind, labels, done))
        await asyncio.gather(*(s.wait() for s in synced))
        for kind, event in pending:
            loop.changed(kind, event.object, event.type == "DELETED")
        pending.clear()
        loop.start_chores()
        group.create_task(loop.run())

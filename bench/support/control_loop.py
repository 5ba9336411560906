"""A process that does what the operator does, for `bench.operator_memory`: the real loop over an API in memory.

`python -m bench.support.control_loop POOLS SECONDS` prints one line of JSON. Pods are made ready by hand, for nothing here runs them;
demand is made up and moves from one reconcile to the next. kopf is imported as in a cluster, though the loop watches without it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import forebay.reconcile.run  # noqa: F401 - the real process has all this in memory
from bench.support.fleet import CLASSES, SETTINGS, a_demand, a_pool
from forebay.adapters import cluster as kinds
from forebay.adapters.clock import SystemClock, timestamp
from forebay.adapters.decisions import StreamDecisions
from forebay.adapters.loaded import LoadedByScrape
from forebay.adapters.memory.cluster import MemoryCluster
from forebay.adapters.metrics import Target
from forebay.dataplane.http.client import Client
from forebay.planning.snapshot import Demand
from forebay.reconcile import telemetry
from forebay.reconcile.events import Recorder
from forebay.reconcile.loop import Loop, follow
from forebay.reconcile.view import ObjectView
from forebay.reconcile.world import World

_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024
_ROUNDS_BEFORE = 1


class _MovingDemand:
    """A `Metrics` whose day lasts an hour."""

    async def demand(self, namespace: str, pool: str, targets: list[Target], now: float) -> Demand | None:
        return a_demand(int(pool.rpartition("-")[2]), time.monotonic() / 150, now)

    def forget(self, namespace: str, pool: str) -> None:
        return


async def measure(pools: int, seconds: float) -> dict[str, Any]:
    """Figures of a loop that has made up its mind about every pool and goes on for so many seconds."""
    cluster = MemoryCluster()
    for name, spec in CLASSES.items():
        await cluster.create({"apiVersion": "forebay.dev/v1alpha1", "kind": "BatchClass", "metadata": {"name": name}, "spec": spec})
    for number in range(pools):
        await cluster.create(a_pool(number))
    before = _rss_mib()
    client, clock, view = Client(), SystemClock(), ObjectView()
    with open(os.devnull, "w") as nowhere:
        world = World(
            cluster=cluster,
            view=view,
            metrics=_MovingDemand(),
            loaded=LoadedByScrape(client),
            clock=clock,
            decisions=StreamDecisions(nowhere),
            recorder=Recorder(cluster, clock, "bench"),
            settings=SETTINGS,
            backend_installed=True,
        )
        loop = Loop(world, view)
        tasks = [asyncio.create_task(follow(loop, cluster)), asyncio.create_task(_make_ready(cluster))]
        try:
            await _settled(tasks, loop, pools * _ROUNDS_BEFORE)
            figures = await _watched(seconds)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()
    pods = len(await cluster.list(kinds.PODS))
    return {"pools": pools, "pods": pods, "rss_before_mib": before, **figures}


async def _watched(seconds: float) -> dict[str, Any]:
    cpu, count, began = time.process_time(), _reconciles(), time.monotonic()
    await asyncio.sleep(seconds)
    count, cpu, wall = _reconciles() - count, time.process_time() - cpu, time.monotonic() - began
    rss = _rss_mib()
    gc.collect()
    return {
        "rss_mib": rss,
        "rss_after_gc_mib": _rss_mib(),
        "reconciles": count,
        "failed": _reconciles("error"),
        "cpu_ms_per_reconcile": cpu / count * 1e3 if count else None,
        "core_share": cpu / wall,
    }


def _reconciles(result: str = "ok") -> int:
    return int(telemetry.REGISTRY.get_sample_value("forebay_operator_reconcile_total", {"what": "pool", "result": result}) or 0)


async def _settled(tasks: list[asyncio.Task[None]], loop: Loop, reconciles: int) -> None:
    """Waits for so many reconciles and a queue that ran empty; a task that ended meanwhile raises what ended it."""
    while _reconciles() < reconciles or len(loop.queue):
        done, _ = await asyncio.wait(tasks, timeout=0.02, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def _make_ready(cluster: MemoryCluster) -> None:
    """Gives every Deployment the ready pods that it asks for, and takes those away that it no longer does."""
    async for event in cluster.watch(kinds.DEPLOYMENTS):
        if event.type in ("ADDED", "MODIFIED"):
            await _pods(cluster, event.object)


async def _pods(cluster: MemoryCluster, deployment: kinds.Object) -> None:
    meta, wanted = deployment["metadata"], deployment["spec"]["replicas"]
    have = deployment.get("status", {}).get("readyReplicas", 0)
    if have == wanted:
        return
    for number in range(wanted, have):
        await cluster.delete(kinds.PODS, meta["namespace"], f"{meta['name']}-{number}", grace_s=0)
    for number in range(have, wanted):
        await _pod(cluster, deployment, f"{meta['name']}-{number}")
    status = {"status": {"replicas": wanted, "readyReplicas": wanted, "updatedReplicas": wanted}}
    with suppress(kinds.NotFound):
        await cluster.patch(kinds.DEPLOYMENTS, meta["namespace"], meta["name"], status, subresource="status")


async def _pod(cluster: MemoryCluster, deployment: kinds.Object, name: str) -> None:
    namespace, template = deployment["metadata"]["namespace"], deployment["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": name, "namespace": namespace}}
    with suppress(kinds.Conflict):
        await cluster.create({**pod, "spec": template["spec"]})
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(time.time())}
    status = {"status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]}}
    await cluster.patch(kinds.PODS, namespace, name, status, subresource="status")


def _rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_KIB / 1024


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]), float(sys.argv[2])))))

"""What one pool's new demand costs, for `bench.planner`: `python -m bench.support.changed_pools POOLS CHANGES` prints a line of JSON.

The operator's own loop over a cluster in memory: observe, plan, apply, status, Events and the decision record. It is a round of one pool
that is measured, from its key in the queue until nothing waits; `replanned` is how many pools were planned for it, of all that there are.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from bench.support.fleet import CLASSES, Object
from bench.support.planned_fleet import a_planned_demand, a_planned_pool
from bench.support.process import on
from bench.support.table import digits, quantile
from forebay.adapters import cluster as kinds
from forebay.adapters.clock import ManualClock, timestamp
from forebay.adapters.decisions import DecisionsInMemory
from forebay.adapters.held import HeldInMemory
from forebay.adapters.loaded import LoadedInMemory
from forebay.adapters.memory import MemoryCluster
from forebay.adapters.metrics import MetricsInMemory, Target
from forebay.planning.measured import Demand
from forebay.planning.snapshot import Settings
from forebay.reconcile.events import Recorder
from forebay.reconcile.keys import pool_key
from forebay.reconcile.loop import Loop, follow
from forebay.reconcile.view import ObjectView
from forebay.reconcile.world import World


class Asked(MetricsInMemory):
    """Counts pools that were asked about: every plan begins with that."""

    count = 0

    async def demand(self, namespace: str, pool: str, targets: list[Target], now: float) -> Demand | None:
        self.count += 1
        return await super().demand(namespace, pool, targets, now)


async def measured(pools: int, changes: int) -> dict[str, Any]:
    clock, metrics, view = ManualClock(), Asked(), ObjectView()
    cluster = MemoryCluster(clock)
    world = World(
        cluster=cluster,
        view=view,
        metrics=metrics,
        loaded=LoadedInMemory(),
        held=HeldInMemory(),
        clock=clock,
        decisions=DecisionsInMemory(),
        recorder=Recorder(cluster, clock, "bench"),
        settings=Settings(sidecar_image="forebay:bench"),
    )
    loop = Loop(world, view)
    following = asyncio.create_task(follow(loop, cluster))
    for name, spec in CLASSES.items():
        await _apply(cluster, {"apiVersion": "forebay.dev/v1alpha1", "kind": "BatchClass", "metadata": {"name": name}, "spec": spec})
    listed = [a_planned_pool(number) for number in range(pools)]
    for number, obj in enumerate(listed):
        metrics.answers[_place(obj)] = a_planned_demand(number, clock.now())
        await _apply(cluster, obj)
    await _quiet(loop)
    for deployment in await cluster.list(kinds.DEPLOYMENTS):
        await _run_pods(cluster, clock, deployment)
    await _quiet(loop)
    cpu_s, asked = [], []
    number = pools // 2
    place = _place(listed[number])
    for _ in range(changes):
        # Timers stand still, so that nothing is done but for the change.
        clock.jump(world.settings.interval_s)
        metrics.answers[place] = a_planned_demand(number, clock.now())
        before, began = metrics.count, time.process_time()
        loop.queue.add(pool_key(*place))
        await _quiet(loop)
        cpu_s.append(time.process_time() - began)
        asked.append(metrics.count - before)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return {
        "pools": pools,
        "passes": changes,
        "cpu_p50_s": digits(quantile(cpu_s, 0.5)),
        "cpu_p99_s": digits(quantile(cpu_s, 0.99)),
        "cpu_max_s": digits(max(cpu_s)),
        "replanned": sum(asked) / changes,
    }


def _place(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


async def _apply(cluster: MemoryCluster, obj: Object, **more: Any) -> Object:
    return await cluster.apply(obj, manager="bench", force=True, **more)


async def _quiet(loop: Loop) -> None:
    """Until all that changed was worked on."""
    still = 0
    while still < 40:
        await asyncio.sleep(0)
        still = still + 1 if loop.queue.idle else 0


async def _run_pods(cluster: MemoryCluster, clock: ManualClock, deployment: Object) -> None:
    """Gives a Deployment its pods, ready and on a node."""
    meta, spec = deployment["metadata"], deployment["spec"]
    node, wanted = f"node-of-{meta['name']}", spec.get("replicas", 1)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(int(clock.now()))}
    host = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}
    await _apply(cluster, host)
    await _apply(cluster, host | {"status": {"conditions": [ready]}}, subresource="status")
    for index in range(wanted):
        where = {"name": f"{meta['name']}-{index}", "namespace": meta["namespace"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": where | {"labels": spec["template"]["metadata"]["labels"]}}
        await _apply(cluster, pod | {"spec": {**spec["template"]["spec"], "nodeName": node}})
        status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [ready]}
        await _apply(cluster, pod | {"metadata": where, "status": status}, subresource="status")
    counts = {"replicas": wanted, "readyReplicas": wanted, "updatedReplicas": wanted}
    place = {"name": meta["name"], "namespace": meta["namespace"]}
    await _apply(cluster, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": place, "status": counts}, subresource="status")


if __name__ == "__main__":
    with on(0):
        print(json.dumps(asyncio.run(measured(int(sys.argv[1]), int(sys.argv[2])))))

"""An operator on a cluster in memory, without processes: replicas come when a test says so, and time passes when it says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from forebay.adapters import cluster as kinds
from forebay.adapters.clock import ManualClock, timestamp
from forebay.adapters.cluster import Cluster, Kind, Object
from forebay.adapters.decisions import DecisionsInMemory
from forebay.adapters.held import HeldInMemory
from forebay.adapters.loaded import LoadedInMemory
from forebay.adapters.memory import MemoryCluster
from forebay.adapters.metrics import MetricsInMemory
from forebay.planning.measured import ClassDemand, Demand
from forebay.planning.snapshot import Settings
from forebay.reconcile.events import Recorder
from forebay.reconcile.keys import Key, pool_key
from forebay.reconcile.loop import Loop, follow
from forebay.reconcile.view import ObjectView
from forebay.reconcile.world import World

API = "forebay.dev/v1alpha1"
NODE_CLASS = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"}
H100: Object = {"name": "h100", "gpusPerNode": 8, "usdPerHour": {"onDemand": 55, "spot": 20}}


def a_class(name: str = "interactive", **spec: Any) -> Object:
    objectives = {"timeToFirstToken": {"quantile": 0.95, "target": "1s"}}
    return {
        "apiVersion": API,
        "kind": "BatchClass",
        "metadata": {"name": name},
        "spec": {"tier": "Interactive", "objectives": objectives, **spec},
    }


def a_pool(name: str = "chat", namespace: str = "default", **spec: Any) -> Object:
    given = {
        "model": {"name": "m"},
        "server": {"template": {"spec": {"containers": [{"name": "server", "image": "engine:1"}]}}},
        "classes": ["interactive"],
        "profiles": [{"accelerator": "h100", "maxConcurrency": 16, "iteration": {"base": "20ms", "perToken": "0.05ms"}}],
        "scaling": {"minReplicas": 1, "maxReplicas": 20},
        "capacity": {"accelerators": [H100]},
        **spec,
    }
    return {"apiVersion": API, "kind": "InferencePool", "metadata": {"name": name, "namespace": namespace}, "spec": given}


def on_karpenter(**capacity: Any) -> Object:
    return {"accelerators": [H100], "nodes": {"backend": "Karpenter", "nodeClassRef": NODE_CLASS}, **capacity}


def a_policy(name: str = "support", namespace: str = "default", pool: str = "chat", **spec: Any) -> Object:
    given = {
        "models": [{"name": "support-chat"}],
        "tenants": [{"name": "acme", "apiKeysFrom": {"secretRef": "acme-keys"}}],
        "classify": {"defaultClass": "interactive"},
        "rules": [{"name": "all", "route": [{"pool": pool}]}],
        **spec,
    }
    return {"apiVersion": API, "kind": "RoutingPolicy", "metadata": {"name": name, "namespace": namespace}, "spec": given}


def measured(clock: ManualClock, rps: float = 0.0, reporting: int = 1000) -> Demand:
    one = ClassDemand(requests_per_s=rps, completed_per_s=rps, input_tokens_per_s=200 * rps, output_tokens_per_s=100 * rps)
    return Demand(
        measured_at=clock.now(),
        window_s=45,
        source="scrape",
        replicas_reporting=reporting,
        in_flight_variance=0.5 if reporting > 1 else None,
        classes={"interactive": one},
    )


@dataclass
class Operator:
    """One life of the operator: a loop over a cluster, and what it knows beside it."""

    cluster: Cluster
    clock: ManualClock
    metrics: MetricsInMemory
    loaded: LoadedInMemory
    held: HeldInMemory = field(default_factory=HeldInMemory)
    decisions: DecisionsInMemory = field(default_factory=DecisionsInMemory)
    backend_installed: bool = True

    def __post_init__(self) -> None:
        view = ObjectView()
        self.world = World(
            cluster=self.cluster,
            view=view,
            metrics=self.metrics,
            loaded=self.loaded,
            held=self.held,
            clock=self.clock,
            decisions=self.decisions,
            recorder=Recorder(self.cluster, self.clock, "test"),
            settings=Settings(sidecar_image="forebay:1"),
            backend_installed=self.backend_installed,
        )
        self.loop = Loop(self.world, view)

    async def quiet(self) -> None:
        """Waits until all that changed was worked on. Timers are for the test to run out."""
        still = 0
        while still < 40:
            await asyncio.sleep(0)
            still = still + 1 if self.loop.queue.idle else 0

    async def again(self, *keys: Key) -> None:
        """The next round, of the pool `chat` where nothing else is named."""
        for key in keys or (pool_key("default", "chat"),):
            self.loop.queue.add(key)
        await self.quiet()


class Lab:
    """A cluster, and the operators that come and go over it."""

    def __init__(self, *, karpenter: bool = True) -> None:
        self.clock = ManualClock()
        self.cluster = MemoryCluster(self.clock, without=() if karpenter else (kinds.NODE_POOLS, kinds.NODE_CLAIMS))
        self.metrics, self.loaded, self.held = MetricsInMemory(), LoadedInMemory(), HeldInMemory()
        self.karpenter = karpenter

    @asynccontextmanager
    async def operator(self, through: Cluster | None = None) -> AsyncIterator[Operator]:
        """An operator that runs while the block does; `through` is how it sees the cluster."""
        cluster = through or self.cluster
        operator = Operator(cluster, self.clock, self.metrics, self.loaded, self.held, backend_installed=self.karpenter)
        following = asyncio.create_task(follow(operator.loop, cluster))
        try:
            await asyncio.sleep(0)
            await operator.quiet()
            yield operator
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def apply(self, *objects: Object) -> None:
        for obj in objects:
            await self.cluster.apply(obj, manager="user", force=True)

    async def get(self, kind: Kind, name: str, namespace: str = "default") -> Object:
        found = await self.cluster.get(kind, namespace if kind.namespaced else None, name)
        assert found is not None, f"there is no {kind.name} {name}"
        return found

    async def names(self, kind: Kind) -> set[str]:
        return {obj["metadata"]["name"] for obj in await self.cluster.list(kind)}

    async def status(self, name: str = "chat", kind: Kind = kinds.INFERENCE_POOLS) -> Object:
        return dict((await self.get(kind, name)).get("status") or {})

    async def condition(self, type_: str, name: str = "chat", kind: Kind = kinds.INFERENCE_POOLS) -> Object:
        listed = (await self.status(name, kind)).get("conditions", [])
        return next((c for c in listed if c["type"] == type_), {})

    async def replicas(self) -> dict[str, int]:
        """What each Deployment should have."""
        return {d["metadata"]["name"]: d["spec"].get("replicas", 1) for d in await self.cluster.list(kinds.DEPLOYMENTS)}

    def demand(self, rps: float = 0.0, pool: str = "chat", **fields: Any) -> None:
        """What the sidecars say from now on."""
        self.metrics.answers["default", pool] = measured(self.clock, rps, **fields)

    async def run_pods(self) -> None:
        """Every Deployment gets its pods, ready and on a node, and loses those that are too many."""
        for deployment in await self.cluster.list(kinds.DEPLOYMENTS):
            await _run_pods_of(self.cluster, self.clock, deployment)


async def _run_pods_of(cluster: Cluster, clock: ManualClock, deployment: Object) -> None:
    meta, spec = deployment["metadata"], deployment["spec"]
    template, wanted = spec["template"], spec.get("replicas", 1)
    mine = await cluster.list(kinds.PODS, meta["namespace"], spec["selector"]["matchLabels"])
    for pod in mine[wanted:]:
        await cluster.delete(kinds.PODS, meta["namespace"], pod["metadata"]["name"], grace_s=0)
    node = f"node-of-{meta['name']}"
    await cluster.apply(_a_node(node), manager="kubelet", force=True)
    await cluster.apply(_a_node(node), manager="kubelet", subresource="status", force=True)
    for index in range(len(mine), wanted):
        await _run_pod(cluster, clock, meta, template, node, index)
    counts = {"replicas": wanted, "readyReplicas": wanted, "updatedReplicas": wanted}
    status = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "status": counts,
    }
    await cluster.apply(status, manager="controller", subresource="status", force=True)


async def _run_pod(cluster: Cluster, clock: ManualClock, meta: Object, template: Object, node: str, index: int) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": f"{meta['name']}-", "namespace": meta["namespace"], "labels": template["metadata"]["labels"]},
        "spec": {**template["spec"], "nodeName": node},
    }
    made = await cluster.create(pod)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(int(clock.now()))}
    status = {"phase": "Running", "podIP": f"10.0.{abs(hash((meta['namespace'], meta['name']))) % 250}.{index + 1}", "conditions": [ready]}
    where = {"name": made["metadata"]["name"], "namespace": meta["namespace"]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": where, "status": status}
    await cluster.apply(body, manager="kubelet", subresource="status", force=True)


def _a_node(name: str, **labels: str) -> Object:
    ready = {"type": "Ready", "status": "True"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"conditions": [ready]}}


def in_lab(test: Callable[[Lab], Any], **options: Any) -> None:
    """Runs an asynchronous test with a fresh lab, within half a minute."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test(Lab(**options))

    asyncio.run(bounded())

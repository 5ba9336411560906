"""A cluster with many pools as an operator sees it, for `bench.operator_memory`: an API over HTTP, and every replica's `/metrics`.

`python -m bench.support.big_cluster POOLS KUBECONFIG` writes the kubeconfig when all is there, and runs until it is told to stop. Nothing
runs here but answers: pods are made ready as their Deployments ask for them, and each has an address on which a sidecar's own exposition
is read, with counters that grow by a demand that rises and falls.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path

from prometheus_client import generate_latest

from bench.support.fleet import CLASSES, a_demand, a_pool
from bench.support.kube_api import kube_api
from forebay.adapters import cluster as kinds
from forebay.adapters.clock import timestamp
from forebay.adapters.memory.cluster import MemoryCluster
from forebay.dataplane.http.run import run
from forebay.dataplane.http.server import Request, Response, Server, serve
from forebay.dataplane.sidecar.metrics import Metrics, Outcome
from forebay.local.addresses import Addresses, loopback_addresses
from forebay.local.up import write_kubeconfig
from forebay.local.waiting import beside
from forebay.planning.variants import LABEL_POOL
from forebay.planning.workload import SIDECAR_PORT
from forebay.reconcile.run import NODE_POOL_CRD

_STEP_S = 150.0
"""Of a day's 24 steps, so that a day takes an hour."""


class _Replica:
    """One pod's sidecar: it got an equal share of its pool's demand since it was asked last."""

    def __init__(self, pool: int, replicas: set[str]) -> None:
        self._pool, self._replicas, self._metrics, self._asked_at = pool, replicas, Metrics(), time.monotonic()

    async def handle(self, request: Request, response: Response) -> None:
        """Answers whatever is asked by the exposition."""
        now = time.monotonic()
        share, self._asked_at = (now - self._asked_at) / max(1, len(self._replicas)), now
        for name, demand in a_demand(self._pool, now / _STEP_S, now).classes.items():
            of_class = self._metrics.of_class(name)
            of_class.arrivals.inc(demand.requests_per_s * share)
            of_class.outcomes[Outcome.OK].inc(demand.completed_per_s * share)
            of_class.input_tokens.inc(demand.input_tokens_per_s * share)
            of_class.output_tokens.inc(demand.output_tokens_per_s * share)
            of_class.in_flight.set(demand.in_flight / max(1, len(self._replicas)))
        response.send(200, generate_latest(self._metrics.registry))


class _Pods:
    """Ready pods for every Deployment, as many as it asks for."""

    def __init__(self, cluster: MemoryCluster, addresses: Addresses) -> None:
        self._cluster, self._addresses = cluster, addresses
        self._servers: dict[str, tuple[str, Server]] = {}
        self._of_pool: dict[int, set[str]] = {}

    async def run(self) -> None:
        """Follows the Deployments until it is cancelled."""
        async for event in self._cluster.watch(kinds.DEPLOYMENTS):
            if event.type in ("ADDED", "MODIFIED"):
                await self._scale(event.object)

    async def _scale(self, deployment: kinds.Object) -> None:
        meta, wanted = deployment["metadata"], deployment["spec"]["replicas"]
        have = deployment.get("status", {}).get("readyReplicas", 0)
        if have == wanted:
            return
        of_pool = self._of_pool.setdefault(number := int(meta["labels"][LABEL_POOL].rpartition("-")[2]), set())
        for name in (f"{meta['name']}-{one}" for one in range(wanted, have)):
            of_pool.discard(name)
            await self._cluster.delete(kinds.PODS, meta["namespace"], name, grace_s=0)
            address, server = self._servers.pop(name)
            await server.close(0.0)
            self._addresses.give_back(address)
        for name in (f"{meta['name']}-{one}" for one in range(have, wanted)):
            address = self._addresses.take()
            self._servers[name] = address, await serve(_Replica(number, of_pool).handle, address, SIDECAR_PORT)
            await self._pod(deployment, name, address)
            of_pool.add(name)
        status = {"status": {"replicas": wanted, "readyReplicas": wanted, "updatedReplicas": wanted}}
        with suppress(kinds.NotFound):
            await self._cluster.patch(kinds.DEPLOYMENTS, meta["namespace"], meta["name"], status, subresource="status")

    async def _pod(self, deployment: kinds.Object, name: str, address: str) -> None:
        namespace, template = deployment["metadata"]["namespace"], deployment["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": name, "namespace": namespace}}
        await self._cluster.create({**pod, "spec": template["spec"]})
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(time.time())}
        status = {"status": {"phase": "Running", "podIP": address, "conditions": [ready]}}
        await self._cluster.patch(kinds.PODS, namespace, name, status, subresource="status")


async def serve_pools(pools: int, kubeconfig: Path, stop: asyncio.Event) -> int:
    """Runs it until `stop` is set."""
    cluster = MemoryCluster()
    crds = {"apiVersion": kinds.CRDS.api_version, "kind": kinds.CRDS.name}
    await cluster.create({**crds, "metadata": {"name": NODE_POOL_CRD}, "spec": {}})
    for name, spec in CLASSES.items():
        await cluster.create({"apiVersion": "forebay.dev/v1alpha1", "kind": "BatchClass", "metadata": {"name": name}, "spec": spec})
    for number in range(pools):
        await cluster.create(a_pool(number))
    with loopback_addresses() as addresses:
        async with kube_api(cluster) as url, beside(_Pods(cluster, addresses).run()):
            write_kubeconfig(kubeconfig, url)
            await stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda stop: serve_pools(int(sys.argv[1]), Path(sys.argv[2]), stop)))

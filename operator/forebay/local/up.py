"""One machine as a whole cluster: the API in memory, its controllers, a kubelet, and the operator's own loop over them.

Everything runs in one process, but for the pods. Whoever leaves `one_machine` ends all of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay.adapters.clock import SystemClock
from forebay.adapters.cluster import NODE_CLAIMS, NODE_POOLS, Object
from forebay.adapters.decisions import DecisionLog
from forebay.adapters.held import HeldByScrape
from forebay.adapters.loaded import LoadedByScrape
from forebay.adapters.memory import MemoryCluster
from forebay.adapters.scrape import ScrapedMetrics
from forebay.api.shared_limits import SharedLimit
from forebay.dataplane.http.client import Client
from forebay.local.addresses import Addresses, loopback_addresses
from forebay.local.api_server import api_server
from forebay.local.collector import run_collector
from forebay.local.container import Backoff
from forebay.local.deployments import run_deployments
from forebay.local.endpoint_slices import run_endpoint_slices
from forebay.local.folder import Address, Folder
from forebay.local.forwarder import Target
from forebay.local.kubelet import Kubelet
from forebay.local.pod_process import Host
from forebay.local.scheduler import run_scheduler
from forebay.local.services import Services
from forebay.local.slots import Slots
from forebay.planning.gateway_workload import LABEL_GATEWAY
from forebay.planning.snapshot import Settings
from forebay.reconcile.events import Recorder
from forebay.reconcile.loop import Loop, follow
from forebay.reconcile.shares import Ledger
from forebay.reconcile.view import ObjectView
from forebay.reconcile.world import World

log = logging.getLogger(__name__)

IMAGE = "forebay"
"""The image that every pod of the operator's own runs; any registry's image of this name is this very program."""

_APPLIER = "forebay-up"
_LEAST_WINDOW_S = 8.0
_BACKOFF = Backoff(first_s=1.0, most_s=30.0, forget_s=60.0)


@dataclass(frozen=True)
class Options:
    """How one machine is run.

    Args:
        state: folder for pods' volumes and logs.
        port: port of the first gateway on 127.0.0.1, the next one's is one higher; 0 takes free ones.
        interval_s: time between two plans of a pool.
        stop_s: how long pods may take to end.
    """

    state: Path
    decisions: DecisionLog
    shared_limits: tuple[SharedLimit, ...] = ()
    port: int = 8080
    api_port: int = 0
    interval_s: float = 5.0
    stop_s: float = 10.0


@dataclass
class Local:
    """The running machine. `api` is the URL of its read-only Kubernetes API."""

    cluster: MemoryCluster
    slots: Slots
    api: str
    services: Services
    applied: set[Address] = field(default_factory=set)

    def gateways(self) -> dict[str, str]:
        """Base URL of each gateway by `namespace/service`, once it is listened on."""
        found = self.services.listening().items()
        return {f"{namespace}/{name}": f"http://{host}:{port}" for (namespace, name, _), (host, port) in sorted(found)}

    def is_ready(self, gateway: str) -> bool:
        """Whether a gateway has a replica that answers."""
        return any(self.services.targets(*key) for key in self.services.listening() if "/".join(key[:2]) == gateway)

    async def apply(self, objects: Mapping[Address, Object]) -> None:
        """Makes these the user's objects: applies them all, and deletes those that were applied before and are not among them."""
        for obj in objects.values():
            await self.cluster.apply(obj, manager=_APPLIER, force=True)
        for kind, namespace, name in self.applied - objects.keys():
            await self.cluster.delete(kind, namespace or None, name)
        self.applied = set(objects)


@asynccontextmanager
async def one_machine(folder: Folder, options: Options) -> AsyncIterator[Local]:
    """Runs everything while the block runs. An error of any part ends the block.

    Raises:
        ForebayError: the machine lacks something that is needed, such as loopback addresses.
        OSError: a port is taken.
    """
    cluster = MemoryCluster(without=(NODE_POOLS, NODE_CLAIMS))
    with loopback_addresses() as addresses:
        async with api_server(cluster, "127.0.0.1", options.api_port) as api, _client() as client:
            slots = Slots(cluster, folder.machine)
            services = Services(cluster, _gateway_ports(options.port))
            local = Local(cluster, slots, api, services)
            kubelet = Kubelet(_host(cluster, addresses, options), stop_s=options.stop_s)
            loop = _operator(cluster, client, api, options)
            # Before anything acts on them, so that nothing is decided on half of them.
            await local.apply(folder.objects)
            async with asyncio.TaskGroup() as group:
                parts = (kubelet.run(), slots.run(), services.run(), follow(loop, cluster))
                controllers = (run_deployments, run_scheduler, run_endpoint_slices, run_collector)
                tasks = [group.create_task(part) for part in (*parts, *(controller(cluster) for controller in controllers))]
                yield local
                for task in tasks:
                    task.cancel()


def _host(cluster: MemoryCluster, addresses: Addresses, options: Options) -> Host:
    return Host(cluster=cluster, addresses=addresses, entrypoint=entrypoint, folder=options.state / "pods", backoff=_BACKOFF)


def entrypoint(image: str) -> list[str] | None:
    """The program of an image; only the project's own is known."""
    name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return [sys.executable, "-m", "forebay"] if name == IMAGE else None


def _operator(cluster: MemoryCluster, client: Client, api: str, options: Options) -> Loop:
    clock, view = SystemClock(), ObjectView()
    settings = Settings(sidecar_image=IMAGE, gateway_kubernetes=api, interval_s=options.interval_s, stale_after_s=3 * options.interval_s)
    world = World(
        cluster=cluster,
        view=view,
        # Three intervals, as in a cluster: demand that is averaged for longer than it takes to change comes too late.
        metrics=ScrapedMetrics(client, max(_LEAST_WINDOW_S, 3 * options.interval_s)),
        loaded=LoadedByScrape(client),
        held=HeldByScrape(client),
        clock=clock,
        decisions=options.decisions,
        recorder=Recorder(cluster, clock, "forebay-up"),
        settings=settings,
        ledger=Ledger(options.shared_limits),
    )
    return Loop(world, view)


@asynccontextmanager
async def _client() -> AsyncIterator[Client]:
    client = Client()
    try:
        yield client
    finally:
        await client.close()


def _gateway_ports(first: int) -> Any:
    """Ports on 127.0.0.1 for gateways, in the order in which they appear; other Services need no address of their own."""
    given: dict[tuple[str, str], int] = {}

    def listen(service: Object, port: Mapping[str, Any]) -> Target | None:
        metadata = service["metadata"]
        if LABEL_GATEWAY not in (metadata.get("labels") or {}) or port.get("name") != "http":
            return None
        key = metadata["namespace"], metadata["name"]
        return "127.0.0.1", given.setdefault(key, first + len(given) if first else 0)

    return listen


def write_kubeconfig(path: Path, api: str) -> None:
    """A kubeconfig with which kubectl and `forebay top` reach this machine."""
    name = "forebay-up"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": api}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
    }
    path.write_text(json.dumps(config, indent=2) + "\n")

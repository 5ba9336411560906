"""A kubelet over an in-memory cluster, and what a test asks of both."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.local.waiting import eventually

from forebay.adapters.cluster import NODES, PODS
from forebay.adapters.memory import MemoryCluster
from forebay.local.addresses import loopback_addresses
from forebay.local.container import Backoff
from forebay.local.kubelet import Kubelet
from forebay.local.pod_process import Host
from forebay.local.waiting import cancelled

Object = dict[str, Any]
PYTHON = sys.executable
PORT = 8000

SERVER = f"""
import http.server, json, os, signal, sys, time
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 503 if os.path.exists("unready") and self.path == "/ready" else 200
        self.send_response(status); self.end_headers()
        self.wfile.write(json.dumps(dict(env=dict(os.environ), argv=sys.argv[1:])).encode())
    def log_message(self, *args): pass
address = ("127.0.0.1" if len(sys.argv) < 2 else sys.argv[1], {PORT})
http.server.HTTPServer(address, H).serve_forever()
"""
"""Answers on the address that is its first argument, with its variables and arguments."""


def server(name: str = "server", *, probe: bool = True, **more: Any) -> Object:
    """A container that runs SERVER on the pod's own address."""
    ready = {"httpGet": {"path": "/ready", "port": PORT}, "periodSeconds": 0.1, "failureThreshold": 1}
    ip = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    command = {"command": [PYTHON, "-c", SERVER], "args": ["$(POD_IP)"], "env": [ip, *more.pop("env", [])]}
    return {"name": name, "image": "python", **command, **({"readinessProbe": ready} if probe else {}), **more}


def script(name: str, text: str, **more: Any) -> Object:
    return {"name": name, "image": "python", "command": [PYTHON, "-u", "-c", text], **more}


def pod(name: str, *containers: Object, node: str = "n1", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "default", "labels": labels or {}}
    spec = {"nodeName": node, "terminationGracePeriodSeconds": 5, "containers": list(containers), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


class Cluster(MemoryCluster):
    """The in-memory cluster with a test's shorthands."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    async def pod(self, name: str) -> Object:
        found = await self.get(PODS, "default", name)
        assert found is not None
        return found

    async def status(self, name: str) -> Object:
        found = await self.get(PODS, "default", name)
        return found["status"] if found else {}

    async def until(self, name: str, condition: Callable[[Object], Any]) -> Object:
        """The pod's status, once the condition holds for it."""

        async def holds() -> Object | None:
            status = await self.status(name)
            return status if condition(status) else None

        return await eventually(holds)

    async def until_gone(self, name: str) -> None:
        async def gone() -> bool:
            return await self.get(PODS, "default", name) is None

        await eventually(gone)

    def log(self, name: str, container: str) -> str:
        return "".join(path.read_text() for path in self.folder.glob(f"default_{name}_*/{container}.log"))


def is_ready(status: Object) -> bool:
    return condition(status, "Ready") == "True"


def condition(status: Object, type_: str) -> str | None:
    return next((one["status"] for one in status.get("conditions") or [] if one["type"] == type_), None)


def state(status: Object, container: str) -> Object:
    """Its state: one key, running, waiting or terminated."""
    both = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((one["state"] for one in both if one["name"] == container), {})


@asynccontextmanager
async def kubelet(folder: Path, **host: Any) -> AsyncIterator[Cluster]:
    """A kubelet for every node; node n1 exists."""
    cluster = Cluster(folder)
    await cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    with loopback_addresses() as addresses:
        settings = {"entrypoint": lambda image: None, "backoff": Backoff(first_s=0.05, most_s=0.2), "volume_delay_s": 0.02, **host}
        task = asyncio.create_task(Kubelet(Host(cluster=cluster, addresses=addresses, folder=folder, **settings), stop_s=5).run())
        try:
            yield cluster
            assert not task.done()
        finally:
            await cancelled(task)
        assert list(running_below(folder)) == []


def on_a_node(folder: Path, test: Callable[[Cluster], Coroutine[Any, Any, None]], **host: Any) -> None:
    """Runs a test; nothing may be left running after it."""

    async def main() -> None:
        async with asyncio.timeout(25), kubelet(folder, **host) as cluster:
            await test(cluster)

    asyncio.run(main())


def running_below(folder: Path) -> Iterator[int]:
    """Processes whose working folder is below this one (Linux)."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(folder):
                yield int(entry.name)
        except OSError:
            continue


async def delete(cluster: Cluster, name: str, grace_s: int | None = None) -> None:
    await cluster.delete(PODS, "default", name, grace_s=grace_s)


async def remove_node(cluster: Cluster, name: str) -> None:
    await cluster.delete(NODES, None, name)

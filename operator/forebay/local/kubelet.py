"""A kubelet that runs pods as local processes, for every node it is given.

It follows pods, nodes, ConfigMaps and Secrets, and after each change compares what should run with what does. Where a node goes away,
its processes go at once, as those of a reclaimed machine would. Nothing that it started outlives it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections import deque
from pathlib import Path

from forebay.adapters.cluster import CONFIG_MAPS, NODES, PODS, SECRETS, ClusterError, Kind, Labels, Object
from forebay.local.pod_object import RETRY_S
from forebay.local.pod_process import Host, PodProcess
from forebay.local.store import Store

log = logging.getLogger(__name__)

_ENDED_PODS = 64
_LOG_BYTES = 8 * 2**20
_LOG_PERIOD_S = 10.0
_OVER = ("Succeeded", "Failed")


class Kubelet:
    """Runs the pods with the labels `pods` on the nodes with the labels `nodes` (all where none are given).

    Args:
        stop_s: how long pods may take to end when the kubelet itself ends.
    """

    def __init__(self, host: Host, *, pods: Labels | None = None, nodes: Labels | None = None, stop_s: float = 10.0) -> None:
        cluster = host.cluster
        self._host, self._stop_s = host, stop_s
        self._changed = asyncio.Event()
        self._pods = Store(cluster, PODS, self._changed.set, pods)
        self._nodes = Store(cluster, NODES, self._changed.set, nodes)
        self._sources = {kind: Store(cluster, kind, self._refresh) for kind in (CONFIG_MAPS, SECRETS)}
        self._running: dict[str, PodProcess] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._over: set[str] = set()
        self._ended: deque[Path] = deque()

    async def run(self) -> None:
        """Runs until it is cancelled or a watch fails; either way everything that it started has ended when it returns."""
        stores = (self._pods, self._nodes, *self._sources.values())
        try:
            async with asyncio.TaskGroup() as group:
                for store in stores:
                    group.create_task(store.run())
                group.create_task(self._bound_logs())
                for store in stores:
                    await store.synced.wait()
                while True:
                    self._changed.clear()
                    self._sync()
                    await self._changed.wait()
        finally:
            await self._end_all()

    def kill(self) -> None:
        """Ends all processes at once."""
        for pod in self._running.values():
            pod.kill()

    def _sync(self) -> None:
        pods = {pod["metadata"]["uid"]: pod for pod in self._pods.objects.values()}
        self._over &= pods.keys()
        for uid, running in self._running.items():
            pod = pods.get(uid)
            if pod is None or self._node_of(pod) is None:
                running.kill()
                continue
            running.update(pod)
            if running.object.is_deleted:
                running.stop()
        for uid, pod in pods.items():
            node = self._node_of(pod)
            if node is not None and uid not in self._running and uid not in self._over and _is_due(pod):
                self._start(pod, node)

    def _node_of(self, pod: Object) -> Object | None:
        return self._nodes.find("", pod["spec"].get("nodeName") or "")

    def _start(self, pod: Object, node: Object) -> None:
        process = PodProcess(pod, _address_of(node), self._host, self._find)
        if process.object.is_deleted:
            process.stop()
        self._running[process.object.uid] = process
        self._tasks[process.object.uid] = asyncio.create_task(self._follow(process))

    async def _follow(self, process: PodProcess) -> None:
        uid = process.object.uid
        try:
            await process.run()
            self._over.add(uid)
        except Exception as error:
            log.exception("a pod could not be run", extra={"pod": process.object.name, "namespace": process.object.namespace})
            await self._refuse(process, error)
        finally:
            del self._running[uid], self._tasks[uid]
            self._forget_oldest(process.folder)
            self._changed.set()

    async def _refuse(self, process: PodProcess, error: Exception) -> None:
        """Says that the pod failed, so that its owner makes another."""
        status = {"phase": "Failed", "reason": "CannotRun", "message": str(error), "conditions": []}
        await asyncio.sleep(RETRY_S)
        try:
            await process.object.write(status)
        except ClusterError as problem:
            log.warning("cannot write a pod's status", extra={"pod": process.object.name, "problem": str(problem)})

    def _forget_oldest(self, folder: Path) -> None:
        """Logs of the last pods stay to be read."""
        self._ended.append(folder)
        while len(self._ended) > _ENDED_PODS:
            shutil.rmtree(self._ended.popleft(), ignore_errors=True)

    def _find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._sources[kind].find(namespace, name)

    def _refresh(self) -> None:
        for pod in self._running.values():
            pod.refresh()
        self._changed.set()

    async def _end_all(self) -> None:
        for pod in self._running.values():
            pod.stop(self._stop_s)
        tasks = list(self._tasks.values())
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=self._stop_s + 1)
        finally:
            self.kill()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_PERIOD_S)
            for pod in list(self._running.values()):
                for path in pod.folder.glob("*.log"):
                    bound_log(path, _LOG_BYTES)


def bound_log(path: Path, most_bytes: int) -> None:
    """Moves the end of a log that has grown too long to `<name>.1` and empties it; what is written just then may be lost.

    Its writer goes on: it appends.
    """
    size = path.stat().st_size
    if size <= most_bytes:
        return
    with path.open("rb") as log_file, path.with_suffix(".log.1").open("wb") as kept:
        log_file.seek(size - most_bytes)
        shutil.copyfileobj(log_file, kept)
    os.truncate(path, 0)


def _is_due(pod: Object) -> bool:
    """Whether something is to be done for a pod that does not run: start it, or remove it."""
    return "deletionTimestamp" in pod["metadata"] or pod.get("status", {}).get("phase") not in _OVER


def _address_of(node: Object) -> str:
    addresses = node.get("status", {}).get("addresses") or []
    return next((str(one["address"]) for one in addresses if one["type"] == "InternalIP"), "127.0.0.1")

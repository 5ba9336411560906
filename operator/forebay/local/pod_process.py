"""One pod as local processes: its address, its volumes, its containers in their order, and its status.

Order is the kubelet's: init containers one after the other, native sidecars among them only up to their start; then the containers. On
the way down the containers end first and the sidecars after them in reverse, all within the pod's grace.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay.adapters.cluster import Cluster, ClusterError, Object
from forebay.local.addresses import Addresses
from forebay.local.container import Backoff, Container, Launch, now
from forebay.local.environment import ConfigError, Entrypoint, Lookup, Place, command_line, inherited, variables
from forebay.local.paths import mounts_of, rewrite
from forebay.local.pod_object import MOST_RETRY_S, RETRY_S, PodObject
from forebay.local.pod_status import is_sidecar, pod_status
from forebay.local.pod_volumes import PodVolumes
from forebay.local.volumes import TokenSource
from forebay.local.waiting import beside, first

log = logging.getLogger(__name__)

_SIDECAR_GRACE_S = 2.0


@dataclass(frozen=True)
class Host:
    """What all pods of this machine share.

    Args:
        folder: holds one private folder per pod.
        environment: variables of every container, as an image would bring them; mount paths in them are replaced too.
        volume_delay_s: how long a volume's update waits, so that several changes become one.
    """

    cluster: Cluster
    addresses: Addresses
    entrypoint: Entrypoint
    folder: Path
    environment: Mapping[str, str] = field(default_factory=inherited)
    tokens: TokenSource | None = None
    backoff: Backoff = field(default_factory=Backoff)
    volume_delay_s: float = 0.2


class PodProcess:
    """Runs a pod until `stop` or `kill`, then ends all of it."""

    def __init__(self, pod: Object, host_ip: str, host: Host, lookup: Lookup) -> None:
        self.object = PodObject(pod, host.cluster)
        self.folder = host.folder / f"{self.object.namespace}_{self.object.name}_{self.object.uid[:8]}"
        self._host, self._lookup = host, lookup
        self._place = Place("", host_ip)
        self._volumes = PodVolumes(pod["spec"].get("volumes") or [], self.folder / "volumes", lookup, host.tokens, host.volume_delay_s)
        self._init: list[Container] = []
        self._main: list[Container] = []
        self._running: dict[Container, asyncio.Task[None]] = {}
        self._started_at = now()
        self._finished = False
        self._lost = False
        self._grace_s = 0.0
        self._end = asyncio.Event()
        self._changed = asyncio.Event()
        self._stale = asyncio.Event()

    def update(self, pod: Object) -> None:
        """The object as it is now: its labels may be in a volume."""
        if pod is not self.object.latest:
            self.object.latest = pod
            self.refresh()

    def refresh(self) -> None:
        """Something that volumes or variables are made of may have changed."""
        self._stale.set()
        for container in (*self._init, *self._main):
            container.retry()

    def stop(self, most_s: float | None = None) -> None:
        """Asks the pod to end within its own grace, or within `most_s` seconds where that is less. Only the first call counts."""
        if not self._end.is_set():
            self._grace_s = self.object.grace_s if most_s is None else min(self.object.grace_s, most_s)
            self._end.set()

    def kill(self) -> None:
        """Ends every process at once and writes no status, as a machine that is gone."""
        self._lost = True
        for container in self._running:
            container.kill()
        self._end.set()

    async def run(self) -> None:
        """The pod's life here. When it was deleted, its object is removed once its processes are gone."""
        if not self._end.is_set():
            await self._run_here()
        if self.object.is_deleted and not self._lost:
            await self.object.remove()

    async def _run_here(self) -> None:
        self._place = Place(self._host.addresses.take(), self._place.host_ip)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_containers()
            async with beside(self._report()):
                await first(self._live(), self._end.wait())
            await self._bring_down()
        finally:
            await self._clear()

    async def _live(self) -> None:
        await self._prepare_volumes()
        async with beside(self._volumes.keep(self.object, self._place, self._stale)):
            if await self._bring_up():
                done, _ = await asyncio.wait([self._running[container] for container in self._main])
                for task in done:
                    task.result()
            await self._stop_sidecars(self.object.grace_s)
            self._finished = True
            self._changed.set()
            await self._end.wait()

    async def _prepare_volumes(self) -> None:
        while True:
            self._stale.clear()
            try:
                return await self._volumes.write(self.object.latest, self._place)
            except ConfigError as error:
                for container in (*self._init, *self._main):
                    container.waits("ContainerCreating", str(error))
                await self._stale.wait()
            except ClusterError as error:
                log.warning("cannot have a token", extra={"pod": self.object.name, "problem": str(error)})
                await asyncio.sleep(RETRY_S)

    async def _bring_up(self) -> bool:
        """Starts all containers in order; False where an init container failed for good."""
        for container in self._init:
            task = asyncio.shield(self._start(container))
            if is_sidecar(container.spec):
                await first(container.has_started.wait(), task)
                continue
            await task
            if container.exit_code != 0:
                return False
        for container in self._main:
            self._start(container)
        return True

    def _start(self, container: Container) -> asyncio.Task[None]:
        self._running[container] = task = asyncio.create_task(container.run())
        return task

    async def _bring_down(self) -> None:
        """Ends what runs; the last status says how it ended."""
        deadline = time.monotonic() + self._grace_s
        others = [container for container in (*self._init, *self._main) if not is_sidecar(container.spec)]
        await asyncio.gather(*(self._stop(container, self._grace_s) for container in others))
        await self._stop_sidecars(max(deadline - time.monotonic(), min(_SIDECAR_GRACE_S, self._grace_s)))
        self._finished = True
        try:
            await self._write_status()
        except ClusterError as error:
            log.warning("cannot write a pod's last status", extra={"pod": self.object.name, "problem": str(error)})

    async def _stop_sidecars(self, grace_s: float) -> None:
        deadline = time.monotonic() + grace_s
        for container in reversed(self._init):
            if is_sidecar(container.spec):
                await self._stop(container, max(0.0, deadline - time.monotonic()))

    async def _stop(self, container: Container, grace_s: float) -> None:
        if task := self._running.get(container):
            await container.stop(grace_s)
            await asyncio.wait([task])

    async def _clear(self) -> None:
        """No process, no volume and no address is left, whatever happened before."""
        for container in self._running:
            container.kill()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._volumes.clear()
        self._host.addresses.give_back(self._place.ip)

    def _make_containers(self) -> None:
        spec = self.object.latest["spec"]
        policy = spec.get("restartPolicy", "Always")
        once = "Never" if policy == "Never" else "OnFailure"
        self._init = [self._container(one, "Always" if is_sidecar(one) else once) for one in spec.get("initContainers") or []]
        self._main = [self._container(one, policy) for one in spec["containers"]]

    def _container(self, spec: Mapping[str, Any], restart: str) -> Container:
        return Container(
            spec,
            lambda: self._launch(spec),
            host=self._place.ip,
            restart=restart,
            backoff=self._host.backoff,
            grace_s=self.object.grace_s,
            changed=self._changed.set,
        )

    def _launch(self, spec: Mapping[str, Any]) -> Launch:
        try:
            mounts = mounts_of(spec, self._volumes.locations, self.folder / "mounts" / spec["name"])
        except KeyError as error:
            raise ConfigError(f"container {spec['name']} mounts a volume {error} that the pod does not declare") from error
        mounts.link()
        own = variables(spec, self.object.latest, self._place, self._lookup)
        # Only the container's own variables speak of its mounts: the host's PATH may well lead through a folder such as /tmp.
        mounted = {name: rewrite(value, mounts) for name, value in own.items()}
        return Launch(
            argv=[rewrite(word, mounts) for word in command_line(spec, own, self._host.entrypoint)],
            env={**self._host.environment, "HOSTNAME": self.object.name, **mounted},
            cwd=Path(rewrite(spec["workingDir"], mounts)) if spec.get("workingDir") else self.folder,
            log=self.folder / f"{spec['name']}.log",
            mounts=mounts,
        )

    async def _report(self) -> None:
        """Writes the status after every change of it."""
        delay_s = RETRY_S
        while True:
            self._changed.clear()
            try:
                await self._write_status()
                delay_s = RETRY_S
                await self._changed.wait()
            except ClusterError as error:
                log.warning("cannot write a pod's status", extra={"pod": self.object.name, "problem": str(error)})
                await asyncio.sleep(delay_s)
                delay_s = min(MOST_RETRY_S, delay_s * 2)

    async def _write_status(self) -> None:
        if self._lost:
            return
        await self.object.write(
            pod_status(
                self.object.latest,
                self._place,
                self._started_at,
                [container.status() for container in self._init],
                [container.status() for container in self._main],
                finished=self._finished,
                before=self.object.conditions,
                at=now(),
            )
        )

"""Addresses of Services: a forwarder for each port, to the endpoints that are ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from forebay.adapters.cluster import ENDPOINT_SLICES, SERVICES, Cluster, Labels, Object
from forebay.local.endpoint_slices import SERVICE_NAME
from forebay.local.forwarder import Forwarder, Target
from forebay.local.store import Store, key_of

log = logging.getLogger(__name__)

Listen = Callable[[Object, Mapping[str, Any]], Target | None]
"""Where a port of a Service is to be listened on, None for one that needs no address."""

PortKey = tuple[str, str, str]
"""Namespace, Service and port name."""


def cluster_ip(service: Object, port: Mapping[str, Any]) -> Target | None:
    """The Service's own address, which must be local here; a headless Service has none."""
    address = service["spec"].get("clusterIP")
    return None if address in (None, "", "None") or port.get("protocol", "TCP") != "TCP" else (address, int(port["port"]))


def ready_targets(slices: list[Object], port_name: str) -> list[Target]:
    """Addresses and port of the endpoints that take connections."""
    return [
        (address, int(port["port"]))
        for piece in slices
        for port in piece.get("ports") or []
        if port.get("name", "") == port_name
        for endpoint in piece.get("endpoints") or []
        if endpoint.get("conditions", {}).get("ready") is not False
        for address in endpoint["addresses"]
    ]


class Services:
    """Keeps one forwarder for every port that `listen` gives an address."""

    def __init__(self, cluster: Cluster, listen: Listen = cluster_ip, labels: Labels | None = None) -> None:
        self._listen = listen
        self._changed = asyncio.Event()
        self._services = Store(cluster, SERVICES, self._changed.set, labels)
        self._slices = Store(cluster, ENDPOINT_SLICES, self._tell)
        self._told = asyncio.Event()
        self._forwarders: dict[PortKey, tuple[Target, Forwarder]] = {}

    async def run(self) -> None:
        """Runs until it is cancelled, and then closes every connection."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._services.run())
                group.create_task(self._slices.run())
                while True:
                    self._changed.clear()
                    await self._settle()
                    await self._changed.wait()
        finally:
            for _, forwarder in self._forwarders.values():
                await forwarder.close()

    def listening(self) -> dict[PortKey, Target]:
        """Where each port is listened on now."""
        return {key: (target[0], forwarder.port) for key, (target, forwarder) in self._forwarders.items()}

    async def changed(self) -> None:
        """Returns after the next change of an address or an endpoint."""
        await self._told.wait()

    def _tell(self) -> None:
        self._told.set()
        self._told = asyncio.Event()

    def targets(self, namespace: str, name: str, port_name: str) -> list[Target]:
        """Where connections to a Service's port go now."""
        pieces = [
            piece
            for piece in self._slices.objects.values()
            if piece["metadata"].get("namespace") == namespace and (piece["metadata"].get("labels") or {}).get(SERVICE_NAME) == name
        ]
        return ready_targets(pieces, port_name)

    async def _settle(self) -> None:
        wanted: dict[PortKey, Target] = {}
        for service in self._services.objects.values():
            for port in service["spec"].get("ports") or []:
                if (target := self._listen(service, port)) is not None:
                    wanted[*key_of(service), port.get("name", "")] = target
        for key in [key for key, (target, _) in self._forwarders.items() if wanted.get(key) != target]:
            await self._forwarders.pop(key)[1].close()
        for key, target in wanted.items():
            if key not in self._forwarders:
                await self._open(key, target)
        self._tell()

    async def _open(self, key: PortKey, target: Target) -> None:
        forwarder = Forwarder(lambda: self.targets(*key))
        try:
            await forwarder.listen(*target)
        except OSError as error:
            log.error(
                "a Service's address cannot be listened on", extra={"service": "/".join(key[:2]), "address": target, "problem": str(error)}
            )
            return
        self._forwarders[key] = target, forwarder

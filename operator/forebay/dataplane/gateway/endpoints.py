"""Which replicas a pool has: follows the EndpointSlices of its Service.

One watch per pool, resumed from the last version seen. While the API server is away the last known replicas stay: requests tell soon
enough which of them are gone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from forebay.dataplane.gateway import metrics
from forebay.dataplane.gateway.config import Pool
from forebay.dataplane.gateway.fleet import Fleet, Replicas
from forebay.dataplane.gateway.kube import Api, Refused
from forebay.dataplane.http.client import UpstreamError

PORT_NAME = "http"

_WATCH_S = 120
_LONGEST_PAUSE_S = 30.0

_log = logging.getLogger(__name__)

Address = tuple[str, int]


def ready_addresses(slice_: Mapping[str, Any]) -> Iterator[Address]:
    """Addresses of one EndpointSlice that take requests. An absent `ready` means ready, as the API says."""
    ports = [port.get("port") for port in slice_.get("ports") or () if port.get("name") == PORT_NAME]
    if slice_.get("addressType") not in ("IPv4", "IPv6") or not ports or not isinstance(ports[0], int):
        return
    for endpoint in slice_.get("endpoints") or ():
        conditions = endpoint.get("conditions") or {}
        if conditions.get("ready") is not False and not conditions.get("terminating"):
            for address in endpoint.get("addresses") or ():
                yield str(address), ports[0]


class PoolWatch:
    """Keeps one pool's replicas as its EndpointSlices say."""

    def __init__(self, api: Api, pool: Pool, replicas: Replicas) -> None:
        self._api, self._pool, self._replicas = api, pool, replicas
        selector = quote(f"kubernetes.io/service-name={pool.service}", safe="")
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(pool.namespace)}/endpointslices?labelSelector={selector}"
        self._slices: dict[str, tuple[Address, ...]] = {}
        self._version = ""
        self._failures = 0

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except (UpstreamError, Refused, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                self._failed(error)
            await asyncio.sleep(_pause_s(self._failures))

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, UpstreamError):
            self._version = ""
        if isinstance(error, Refused) and error.status == 410:
            return  # the API server forgot the version, as it does after a while
        self._failures += 1
        extra = {"pool": self._pool.key, "reason": str(error) or repr(error), "kept": len(self._replicas.endpoints)}
        _log.warning("endpoints cannot be followed; the last known ones stay", extra=extra)

    async def _list(self) -> None:
        found = await self._api.list(self._path)
        self._slices = {item["metadata"]["name"]: tuple(ready_addresses(item)) for item in found["items"]}
        self._version = str(found["metadata"]["resourceVersion"])
        self._failures = 0
        self._changed()

    async def _watch(self) -> None:
        path = f"{self._path}&watch=1&allowWatchBookmarks=true&timeoutSeconds={_WATCH_S}&resourceVersion={quote(self._version)}"
        async for event in self._api.watch(path, _WATCH_S):
            seen, metadata = event["object"], event["object"]["metadata"]
            if event["type"] == "DELETED":
                self._slices.pop(metadata["name"], None)
            elif event["type"] in ("ADDED", "MODIFIED"):
                self._slices[metadata["name"]] = tuple(ready_addresses(seen))
            self._version = str(metadata["resourceVersion"])
            self._failures = 0
            if event["type"] != "BOOKMARK":
                self._changed()

    def _changed(self) -> None:
        self._replicas.update(address for addresses in self._slices.values() for address in addresses)
        metrics.ENDPOINTS.labels(self._pool.key).set(len(self._replicas.endpoints))


def _pause_s(failures: int) -> float:
    """Doubling, and jittered so that gateways do not come back to a restarted API server together."""
    return min(_LONGEST_PAUSE_S, 0.1 * 2.0 ** min(failures, 10)) * (0.5 + random.random() / 2)  # noqa: S311


class FleetWatch:
    """One PoolWatch for every pool of the configuration in force."""

    def __init__(self, api: Api, fleet: Fleet) -> None:
        self._api, self._fleet = api, fleet
        self._tasks: dict[tuple[str, str, str], asyncio.Task[None]] = {}

    def keep(self, pools: Mapping[str, Pool]) -> None:
        """Exactly these pools are followed from now on; those followed already go on undisturbed."""
        wanted = {(pool.key, pool.namespace, pool.service): pool for pool in pools.values()}
        for key in self._tasks.keys() - wanted.keys():
            self._tasks.pop(key).cancel()
            if key[0] not in pools:
                metrics.ENDPOINTS.remove(key[0])
        for key, pool in wanted.items():
            if key not in self._tasks:
                watch = PoolWatch(self._api, pool, self._fleet.of(pool))
                self._tasks[key] = asyncio.get_running_loop().create_task(watch.run())

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        await self._api.close()

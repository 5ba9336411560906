"""Leader election by a Lease: one replica acts, the others wait.

The holder renews it every third of its duration. A candidate trusts its own clock only: it takes a lease over when it has seen no renewal
for the whole duration, whatever time the holder wrote. Same rules as client-go's leaderelection.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from forebay.adapters.cluster import LEASES, Cluster, ClusterError, Conflict, Object

_log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another may lead now: whatever this replica does must end at once."""


def _time() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class LeaderLease:
    """One candidate for one Lease."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, identity: str, *, duration_s: float = 15.0) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._identity, self._duration_s = identity, duration_s
        self._seen: tuple[str, str, float] = ("", "", 0.0)

    @asynccontextmanager
    async def held(self, stop: asyncio.Event) -> AsyncIterator[bool]:
        """Waits for the lease and keeps it while the body runs; gives False when `stop` came first.

        Raises:
            LeaseLost: it could not be renewed in time; the body is cancelled first.
        """
        if not await self._acquire(stop):
            yield False
            return
        body = asyncio.current_task()
        lost = False

        async def renew() -> None:
            nonlocal lost
            await self._renew_until_lost()
            lost = True
            if body is not None:
                body.cancel()

        renewing = asyncio.create_task(renew())
        try:
            yield True
        except asyncio.CancelledError:
            if not lost:
                raise
            raise LeaseLost from None
        finally:
            renewing.cancel()
            if not lost:
                await self._release()

    async def _acquire(self, stop: asyncio.Event) -> bool:
        while not stop.is_set():
            try:
                if await self._take():
                    return True
            except ClusterError as error:
                _log.warning("the lease cannot be had now: %s", error)
            try:
                async with asyncio.timeout(self._duration_s / 5):
                    await stop.wait()
            except TimeoutError:
                continue
        return False

    async def _take(self) -> bool:
        """One try: creates the lease, renews our own, or takes over one that nobody renews."""
        obj = await self._cluster.get(LEASES, self._namespace, self._name)
        if obj is None:
            await self._cluster.create(self._lease(transitions=0, acquired=_time()))
            return True
        spec = obj["spec"]
        holder, renewed = spec.get("holderIdentity") or "", spec.get("renewTime") or ""
        now = asyncio.get_running_loop().time()
        if self._seen[:2] != (holder, renewed):
            self._seen = (holder, renewed, now)
        expired = now - self._seen[2] >= float(spec.get("leaseDurationSeconds") or self._duration_s)
        if holder and holder != self._identity and not expired:
            return False
        await self._write(obj, spec.get("leaseTransitions", 0) + (holder != self._identity))
        return True

    async def _renew_until_lost(self) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        # Gives up before others may take over, so that two never act at once.
        while loop.time() - renewed < self._duration_s * 2 / 3:
            await asyncio.sleep(self._duration_s / 5)
            try:
                obj = await self._cluster.get(LEASES, self._namespace, self._name)
                if obj is not None and obj["spec"].get("holderIdentity") != self._identity:
                    return
                if obj is None:
                    await self._cluster.create(self._lease(transitions=0, acquired=_time()))
                else:
                    await self._write(obj, obj["spec"].get("leaseTransitions", 0))
                renewed = loop.time()
            except Conflict:
                continue
            except ClusterError as error:
                _log.warning("the lease cannot be renewed now: %s", error)

    async def _write(self, obj: Object, transitions: int) -> None:
        acquired = obj["spec"].get("acquireTime") if obj["spec"].get("holderIdentity") == self._identity else None
        lease = self._lease(transitions, acquired or _time())
        patch = {"metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]}, "spec": lease["spec"]}
        await self._cluster.patch(LEASES, self._namespace, self._name, patch)

    def _lease(self, transitions: int, acquired: str) -> Object:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.name,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, round(self._duration_s)),
                "acquireTime": acquired,
                "renewTime": _time(),
                "leaseTransitions": transitions,
            },
        }

    async def _release(self) -> None:
        """Lets a waiting replica lead at once."""
        try:
            obj = await self._cluster.get(LEASES, self._namespace, self._name)
            if obj is not None and obj["spec"].get("holderIdentity") == self._identity:
                patch = {"metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]}, "spec": {"holderIdentity": None}}
                await self._cluster.patch(LEASES, self._namespace, self._name, patch)
        except ClusterError as error:
            _log.info("the lease is not given back: %s", error)

"""Leader election by a Lease: one replica acts, the others wait.

A candidate trusts its own clock only: it takes the lease over when it has seen no renewal for the whole duration, whatever time the
holder wrote. The holder gives up at two thirds of the duration, counted from before its last successful request, so that two never act
at once: also when a request hangs, or when the process itself stood still. Same rules as client-go's leaderelection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from forebay.adapters.clock import Clock, SystemClock, timestamp
from forebay.adapters.cluster import LEASES, Cluster, ClusterError, Conflict, Object

_log = logging.getLogger(__name__)

T = TypeVar("T")


class LeaseLost(Exception):
    """Another may lead now: whatever this replica does must end at once."""


class LeaderLease:
    """One candidate for one Lease.

    Args:
        identity: unlike every other candidate's, such as the pod's name and a random part.
        duration_s: how long a holder that fell silent keeps others waiting. It is renewed every fifth of that.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, identity: str, *, duration_s: float = 15.0, clock: Clock | None = None
    ) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._identity, self._duration_s = identity, duration_s
        self._clock = clock or SystemClock()
        self._pace_s, self._give_up_s = duration_s / 5, duration_s * 2 / 3
        self._seen: tuple[str, str, float] = ("", "", 0.0)
        self._renewed_at = 0.0

    @asynccontextmanager
    async def held(self, stop: asyncio.Event) -> AsyncIterator[bool]:
        """Waits for the lease and keeps it while the body runs; gives False when `stop` came first. Gives the lease back at the end.

        Raises:
            LeaseLost: it could not be renewed in time; the body is cancelled first.
        """
        if not await self._acquire(stop):
            yield False
            return
        body = asyncio.current_task()
        lost = asyncio.Event()

        async def keep() -> None:
            await self._keep()
            lost.set()
            if body is not None:
                body.cancel()

        keeping = asyncio.create_task(keep())
        try:
            yield True
        except asyncio.CancelledError:
            if not lost.is_set():
                raise
            if body is not None:
                body.uncancel()
            raise LeaseLost(f"{self._identity} lost the lease {self._namespace}/{self._name}") from None
        finally:
            keeping.cancel()
            if not lost.is_set():
                await self._release()

    async def _acquire(self, stop: asyncio.Event) -> bool:
        while not stop.is_set():
            began = self._clock.monotonic()
            try:
                if await self._within(self._pace_s, self._take()):
                    self._renewed_at = began
                    return True
            except Conflict:
                _log.info("another candidate was faster", extra={"lease": self._name})
            except (ClusterError, TimeoutError) as error:
                _log.warning("the lease cannot be had now", extra={"lease": self._name, "error": str(error)})
            try:
                await self._within(self._pace_s, stop.wait())
            except TimeoutError:
                continue
        return False

    async def _take(self) -> bool:
        """One try: creates the lease, renews our own, or takes over one that nobody holds or renews."""
        obj = await self._cluster.get(LEASES, self._namespace, self._name)
        if obj is None:
            await self._cluster.create(self._lease(transitions=0, acquired=self._time()))
            return True
        spec = obj.get("spec") or {}
        holder, renewed = spec.get("holderIdentity") or "", spec.get("renewTime") or ""
        now = self._clock.monotonic()
        if self._seen[:2] != (holder, renewed):
            self._seen = (holder, renewed, now)
        silent_s = now - self._seen[2]
        if holder and holder != self._identity and silent_s < float(spec.get("leaseDurationSeconds") or self._duration_s):
            return False
        await self._write(obj, (spec.get("leaseTransitions") or 0) + (holder != self._identity))
        return True

    async def _keep(self) -> None:
        """Renews the lease; returns when it is lost."""
        pause_s = self._pace_s
        while True:
            await self._clock.sleep(max(0.0, min(pause_s, self._left_s())))
            began, left_s = self._clock.monotonic(), self._left_s()
            if left_s <= 0:
                return
            try:
                if not await self._within(min(self._pace_s, left_s), self._renew()):
                    return
                self._renewed_at, pause_s = began, self._pace_s
            except (ClusterError, TimeoutError) as error:
                pause_s = self._pace_s / 3
                _log.warning("the lease cannot be renewed now", extra={"lease": self._name, "error": str(error)})

    def _left_s(self) -> float:
        return self._renewed_at + self._give_up_s - self._clock.monotonic()

    async def _renew(self) -> bool:
        """False where another holds the lease."""
        obj = await self._cluster.get(LEASES, self._namespace, self._name)
        if obj is None:
            await self._cluster.create(self._lease(transitions=0, acquired=self._time()))
            return True
        spec = obj.get("spec") or {}
        if spec.get("holderIdentity") != self._identity:
            return False
        await self._write(obj, spec.get("leaseTransitions") or 0)
        return True

    async def _write(self, obj: Object, transitions: int) -> None:
        spec = obj.get("spec") or {}
        acquired = spec.get("acquireTime") if spec.get("holderIdentity") == self._identity else None
        lease = self._lease(transitions, acquired or self._time())
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
                "renewTime": self._time(),
                "leaseTransitions": transitions,
            },
        }

    def _time(self) -> str:
        return timestamp(self._clock.now(), micros=True)

    async def _release(self) -> None:
        """Lets a waiting replica lead at once."""
        try:
            await self._within(self._pace_s, self._give_back())
        except (ClusterError, TimeoutError) as error:
            _log.info("the lease is not given back", extra={"lease": self._name, "error": str(error)})

    async def _give_back(self) -> None:
        obj = await self._cluster.get(LEASES, self._namespace, self._name)
        if obj is not None and (obj.get("spec") or {}).get("holderIdentity") == self._identity:
            patch = {"metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]}, "spec": {"holderIdentity": None}}
            await self._cluster.patch(LEASES, self._namespace, self._name, patch)

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """The work's result; TimeoutError when it takes longer, by this lease's clock."""
        task, alarm = asyncio.ensure_future(work), asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise TimeoutError(f"no answer within {seconds:.1f} s")
        finally:
            task.cancel()
            alarm.cancel()

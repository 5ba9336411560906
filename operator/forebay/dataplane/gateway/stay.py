"""The waiting of one request for a pool's first replica, and what its client is told where that does not come in time.

It waits before the pool whose turn it is or, where that one holds nothing, before the first of its rule that does: a pool whose listed
replicas cannot be reached is as good as one that has none.
"""

from __future__ import annotations

import asyncio
import time

from forebay.dataplane.gateway import metrics, reasons
from forebay.dataplane.gateway.answer import Answer
from forebay.dataplane.gateway.attempt import Call
from forebay.dataplane.gateway.config import Hold, Pool
from forebay.dataplane.gateway.holding import Holding
from forebay.dataplane.http.errors import error_body

_WHY = {
    reasons.HOLD_TIMED_OUT: "No replica of this model became ready in time",
    reasons.HOLD_FULL: "No replica of this model is ready, and as many requests wait for one as may",
    reasons.SHUTDOWN: "This gateway stops, and no replica of this model is ready",
    reasons.NO_ENDPOINT: "No replica of this model is ready",
}


class Stay:
    """One request's place before a pool that may sleep. `seconds` is how long it has waited in all."""

    __slots__ = ("_call", "_holding", "_until", "pool", "seconds")

    def __init__(self, holding: Holding, call: Call) -> None:
        self._holding, self._call = holding, call
        self._until = 0.0
        self.seconds = 0.0
        pools = [pool for pool, _ in call.route.spread.pools]
        self.pool = next((pool for pool in (call.pool, *pools) if pool is not None and pool.hold is not None), None)

    @property
    def possible(self) -> bool:
        """Whether a pool of the rule holds requests at all."""
        return self.pool is not None

    async def turn(self) -> Answer | None:
        """Waits where no replica is there, or others have waited before; the answer to give where it is turned away instead."""
        pool, holding = self.pool, self._holding
        if pool is None:
            return None
        if pool is self._call.pool:
            goes_on = holding.usable(pool) and not holding.waits(pool)
        else:
            goes_on = any(holding.reachable(other) for other, _ in self._call.route.spread.pools)
        return None if goes_on else await self.another()

    async def another(self) -> Answer | None:
        """Waits for another replica than those that were asked: they had nothing to do with the request yet."""
        assert self.pool is not None and self.pool.hold is not None
        return await self._wait(self.pool, self.pool.hold)

    async def _wait(self, pool: Pool, hold: Hold) -> Answer | None:
        now, route = asyncio.get_running_loop().time(), self._call.route
        self._until = self._until or now + hold.of(route.batch_class.name).most_s
        begun, pools = time.perf_counter(), [other for other, _ in route.spread.pools]
        keys = frozenset(other.key for other in pools)
        try:
            while True:
                code = await self._holding.wait(pool, hold, route.batch_class, route.tenant, self._until, keys)
                if code:
                    return self._turned_away(pool, hold, code)
                if any(self._holding.usable(other) for other in pools):
                    return None
        finally:
            self.seconds += time.perf_counter() - begun

    def _turned_away(self, pool: Pool, hold: Hold, code: str) -> Answer:
        metrics.NO_ENDPOINT.labels(pool.key).inc()
        seconds = self._holding.retry_after_s(pool, hold)
        body = error_body(f"{_WHY[code]}; try again in {seconds} s.", "server_error", "server_is_overloaded")
        return Answer(503, body=body, retry_after=b"%d" % seconds, pool=pool, reasons=[reasons.HELD, code])

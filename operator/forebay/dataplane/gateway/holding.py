"""Requests that wait for a pool's first replica.

A pool that sleeps has nobody to answer. What comes for it waits here, bounded in number, by class and tenant, and in time; whoever sizes
the pool sees it at `/held` and wakes it. Once replicas are there, requests go on in order, the classes of higher priority first, and no
more at once than the replicas take: a replica that comes a little later gets its part of them too. Until the last of them has gone on,
nobody who comes later goes first. Where another pool of their rule has replicas before theirs has, they go there.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from forebay.dataplane.gateway import metrics, reasons
from forebay.dataplane.gateway.config import BatchClass, Hold, Pool
from forebay.dataplane.gateway.fleet import Fleet, Replicas

LOOK_S = 0.05
"""Shortest time between two looks for room: a fleet of a thousand replicas tells of itself a thousand times a second."""

OVERDUE_S = 5
"""Told to clients whose replica takes longer than usual: how much longer is not known."""

UNNOTICED_S = 3.0
"""Whoever waited for less than this may have gone before anybody saw that the pool is to wake."""

PASSED_OVER_S = 10.0
"""That a pool was passed over in its turn is told for this long."""

_CODES = {
    "released": "",
    "timed_out": reasons.HOLD_TIMED_OUT,
    "full": reasons.HOLD_FULL,
    "shutdown": reasons.SHUTDOWN,
    "unrouted": reasons.NO_ENDPOINT,
}


class Place:
    """One request in line. `told` gets how its waiting ends, unless it goes away by itself. Pools of its rule are where it may go."""

    __slots__ = ("batch_class", "pools", "released", "tenant", "told")

    def __init__(self, batch_class: BatchClass, tenant: str, pools: frozenset[str], told: asyncio.Future[str]) -> None:
        self.batch_class, self.tenant, self.pools, self.told = batch_class, tenant, pools, told
        self.released = False


class Line:
    """Those who wait for one pool, by class in order. `woken_at` is when the first of them came, since when a replica is to start.

    `pools` are all where one of them might go.
    """

    __slots__ = ("classes", "passed_over_at", "pools", "released", "tenants", "woken_at")

    def __init__(self) -> None:
        self.classes: dict[str, dict[Place, None]] = {}
        self.pools: frozenset[str] = frozenset()
        self.tenants: Counter[tuple[str, str]] = Counter()
        self.released = 0
        self.woken_at: float | None = None
        self.passed_over_at = -math.inf

    def __len__(self) -> int:
        return sum(map(len, self.classes.values()))

    @property
    def waits(self) -> bool:
        """Whether somebody is still before whoever comes now."""
        return self.released > 0 or any(self.classes.values())

    def full(self, batch_class: str, tenant: str, most: int) -> bool:
        """Whether the class has no place left, or the tenant has half of them, which leaves the rest to others."""
        return len(self.classes.get(batch_class, ())) >= most or self.tenants[batch_class, tenant] >= max(1, most // 2)

    def join(self, place: Place) -> None:
        self.classes.setdefault(place.batch_class.name, {})[place] = None
        self.tenants[place.batch_class.name, place.tenant] += 1
        self.pools |= place.pools

    def leave(self, place: Place) -> None:
        name = place.batch_class.name
        if place not in self.classes[name]:
            return
        del self.classes[name][place]
        self.tenants[name, place.tenant] -= 1
        if not self.tenants[name, place.tenant]:
            del self.tenants[name, place.tenant]

    def first(self) -> Place | None:
        """Who has waited longest among those of the highest priority."""
        heads = [next(iter(places)) for places in self.classes.values() if places]
        return min(heads, key=lambda place: -place.batch_class.priority, default=None)

    def in_order(self) -> list[Place]:
        """All of them, those of higher priority first."""
        places = [place for places in self.classes.values() for place in places]
        return sorted(places, key=lambda place: -place.batch_class.priority)


class Holding:
    """The lines of all pools that may sleep."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._lines: dict[str, Line] = {}
        self._waiting = 0
        self._news = asyncio.Event()
        self._closed = False
        fleet.freed = self.freed

    def keep(self, pools: Mapping[str, Pool]) -> None:
        """Exactly these pools are known from now on; whoever waits for another is turned away."""
        for key in self._lines.keys() - pools.keys():
            self._turn_away(self._lines.pop(key), "unrouted")
            metrics.HELD.remove(key)

    def usable(self, pool: Pool) -> bool:
        """Whether the pool has a replica that takes requests."""
        return self._fleet.of(pool).usable(())

    def reachable(self, pool: Pool) -> bool:
        """Whether a replica of the pool may answer, and be it that it takes no more."""
        return self._fleet.of(pool).reachable

    def waits(self, pool: Pool) -> bool:
        """Whether requests for this pool wait already."""
        line = self._lines.get(pool.key)
        return line is not None and line.waits

    def pass_over(self, pool: Pool) -> None:
        """Another pool answers in this one's turn, for it sleeps."""
        self._line(pool).passed_over_at = asyncio.get_running_loop().time()

    async def wait(
        self, pool: Pool, hold: Hold, batch_class: BatchClass, tenant: str, until: float, pools: frozenset[str] = frozenset()
    ) -> str:
        """Returns nothing once it is this request's turn, or the code of why it will not be. `until` is of the loop's clock.

        It is its turn as well where another of these `pools` has room before this one has a replica.
        """
        line, wait, loop = self._line(pool), hold.of(batch_class.name), asyncio.get_running_loop()
        result = "gone"
        if self._closed or line.full(batch_class.name, tenant, wait.most_requests):
            result = "shutdown" if self._closed else "full"
            metrics.HOLDS.labels(pool.key, result).inc()
            return _CODES[result]
        place = Place(batch_class, tenant, pools - {pool.key}, loop.create_future())
        line.woken_at = line.woken_at if line.woken_at is not None else loop.time()
        line.join(place)
        self._waiting += 1
        self._count(pool.key, line)
        self._news.set()
        try:
            async with asyncio.timeout_at(until):
                result = await place.told
        except TimeoutError:
            result = "timed_out"
        finally:
            self._left(pool.key, line, place, loop.time())
            metrics.HOLDS.labels(pool.key, result).inc()
        return _CODES[result]

    def _left(self, key: str, line: Line, place: Place, now: float) -> None:
        line.leave(place)
        self._waiting -= 1
        self._news.set()
        if place.released:
            # It goes on to a replica now, whose load counts it from here on, or has gone away at that very moment.
            line.released -= 1
        elif not line.waits and line.woken_at is not None and now - line.woken_at < UNNOTICED_S:
            line.woken_at = None
        self._count(key, line)

    def retry_after_s(self, pool: Pool, hold: Hold) -> int:
        """When a replica should be there: the learned start time less what has passed since the first request came."""
        line = self._line(pool)
        passed_s = asyncio.get_running_loop().time() - line.woken_at if line.woken_at is not None else 0.0
        left_s = math.ceil(hold.start_s - passed_s)
        return left_s if left_s > 0 else OVERDUE_S

    def told(self) -> dict[str, Any]:
        """What waits, by pool and class: the document at `/held`."""
        now, pools = asyncio.get_running_loop().time(), {}
        for key, line in self._lines.items():
            held = {name: len(places) for name, places in line.classes.items() if places}
            passed_over = now - line.passed_over_at < PASSED_OVER_S
            if held or passed_over:
                pools[key] = {"held": held, "passedOver": passed_over}
        return {"pools": pools}

    def freed(self, key: str) -> None:
        """The pool's replicas may take more than before, or its first one has come."""
        line, replicas = self._lines.get(key), self._fleet.pools.get(key)
        if line is not None and replicas is not None and replicas.usable(()):
            # Also where all have gone away: the next time of waking may begin.
            line.woken_at = None
        if self._waiting:
            self._news.set()

    async def run(self) -> None:
        """Releases who waits as there is room, until cancelled. It looks when there is news, and sleeps where nobody waits."""
        while True:
            await self._news.wait()
            self._news.clear()
            for key, line in self._lines.items():
                if line.waits:
                    self.release(key)
            await asyncio.sleep(LOOK_S)

    def release(self, key: str) -> None:
        """Lets so many go on as the pool's replicas have room for."""
        line, replicas = self._lines.get(key), self._fleet.pools.get(key)
        if line is None or replicas is None:
            return
        if not replicas.usable(()):
            self._send_on(line)
            return
        line.woken_at = None
        for _ in range(room(replicas) - line.released):
            place = line.first()
            if place is None:
                return
            line.leave(place)
            if not place.told.done():
                place.released = True
                line.released += 1
                place.told.set_result("released")

    def _send_on(self, line: Line) -> None:
        """Lets those go to other pools of their rules for whom there is room. Theirs is passed over then."""
        known = self._fleet.pools
        left = {key: room(known[key]) for key in line.pools if key in known and known[key].usable(())}
        if not any(left.values()):
            return
        for place in line.in_order():
            key = next((key for key in place.pools if left.get(key)), None)
            if key is not None and not place.told.done():
                left[key] -= 1
                line.passed_over_at = asyncio.get_running_loop().time()
                place.told.set_result("released")

    def close(self) -> None:
        """Turns everybody away who waits, and whoever comes from now on: this gateway stops."""
        self._closed = True
        for line in self._lines.values():
            self._turn_away(line, "shutdown")

    def _turn_away(self, line: Line, result: str) -> None:
        for places in line.classes.values():
            for place in places:
                if not place.told.done():
                    place.told.set_result(result)

    def _line(self, pool: Pool) -> Line:
        return self._lines.setdefault(pool.key, Line())

    def _count(self, key: str, line: Line) -> None:
        if key in self._lines:
            metrics.HELD.labels(key).set(len(line))


def room(replicas: Replicas) -> int:
    """How many more requests a pool's replicas take at once."""
    return sum(max(0, e.limit - max(0, e.reported + e.since)) for e in replicas.endpoints if e.usable)

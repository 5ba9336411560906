"""What pools have asked of the limits that they share, and what each may take of them now.

A share is given and what is decided on it written down without anything in between, so two pools never take the same GPU.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf

from forebay.api.shared_limits import SharedLimit
from forebay.planning.asking import held_now
from forebay.planning.shares import Ask, Division, division_of, kept, share_of
from forebay.planning.snapshot import Share, Snapshot
from forebay.reconcile.view import Place

FEW = 100
"""Pools for which a limit is divided anew at each look at any of them: all of those take a tenth of a core at most."""
DIVIDED_FOR_S = 0.001
"""Of more, so long for each pool a division serves all looks: it takes a sixth of that, so its cost does not grow with their number."""


@dataclass
class Ledger:
    """Asks of every pool since the process began. `less_since` is when a pool's share became less than it has, for each limit, and
    `divided` how each was divided last, and when; in seconds of the monotonic clock.
    """

    limits: tuple[SharedLimit, ...] = ()
    asks: dict[Place, Ask] = field(default_factory=dict)
    less_since: dict[tuple[str, Place], float] = field(default_factory=dict)
    divided: dict[str, tuple[float, Division]] = field(default_factory=dict)

    def leave(self, pool: Place) -> None:
        """The pool is gone, and asks for nothing more: what it had is taken until it is gone too."""
        if (ask := self.asks.get(pool)) is not None:
            self.asks[pool] = ask.model_copy(update={"dry": True})
            self.divided.clear()

    def forget(self, pool: Place) -> None:
        """The pool is gone, and what it had."""
        self.asks.pop(pool, None)
        self.divided.clear()
        self.less_since = {key: at for key, at in self.less_since.items() if key[1] != pool}

    def record(self, pool: Place, ask: Ask | None) -> None:
        if ask is not None:
            self.asks[pool] = ask

    def binds(self, namespace: str) -> bool:
        """Whether pools of this namespace share a limit."""
        return any(limit.binds(namespace) for limit in self.limits)

    def waits(self, namespace: str, pools: Collection[Place]) -> bool:
        """Whether some pool that shares a limit with those of this namespace has not asked yet."""
        return any(limit.binds(namespace) and self._unknown(limit, pools) for limit in self.limits)

    def shares(self, snapshot: Snapshot, pools: Collection[Place], now: float) -> tuple[Share, ...]:
        """What the pool may take of each limit that binds it, at `now` of the monotonic clock. `pools` are all that there are."""
        pool = (snapshot.pool.namespace, snapshot.pool.name)
        return tuple(self._share(limit, pool, snapshot, pools, now) for limit in self.limits if limit.binds(pool[0]))

    def _unknown(self, limit: SharedLimit, pools: Collection[Place]) -> set[Place]:
        return {place for place in pools if limit.binds(place[0])} - self.asks.keys()

    def _share(self, limit: SharedLimit, pool: Place, snapshot: Snapshot, pools: Collection[Place], now: float) -> Share:
        own, key = held_now(snapshot), (limit.name, pool)
        asks = {"/".join(place): ask for place, ask in self.asks.items() if limit.binds(place[0])}
        unknown = {"/".join(place) for place in self._unknown(limit, pools)}
        ask = self.asks.get(pool)
        # One that is dry has no part in what the others divide.
        division = None if unknown or ask is None or ask.dry else self._division(limit, asks, now)
        due = share_of(limit, "/".join(pool), asks, unknown, own, division)
        if not due.takes_away:
            self.less_since.pop(key, None)
            return due.share
        since = self.less_since.setdefault(key, now)
        waited = now - since >= self.asks[pool].window_s
        return due.share if waited else kept(limit, due.share, own)

    def _division(self, limit: SharedLimit, asks: Mapping[str, Ask], now: float) -> Division:
        at, division = self.divided.get(limit.name, (-inf, None))
        if division is None or len(asks) <= FEW or now - at >= DIVIDED_FOR_S * len(asks):
            division = division_of(limit, asks)
            self.divided[limit.name] = now, division
        return division

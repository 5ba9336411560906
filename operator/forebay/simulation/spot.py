"""Spot nodes: those that can be had, one a replica, and how they go."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from math import inf

from forebay.simulation.replica import NODE_S, Replica
from forebay.simulation.run import INTERRUPTED, Run
from forebay.simulation.spot_events import ADD, LOST, Change

RETRY_S = 15.0
"""A replica for which there was no node is tried again so often."""


class SpotMarket:
    """Grants nodes to replicas of the spot variants and takes them away again, each with a notice.

    Where a record adds nodes, only those can be had: which of them a replica gets is drawn. Elsewhere every replica gets one.
    """

    def __init__(self, run: Run, variants: Collection[str], notice_s: float, seed: int) -> None:
        self._run, self._variants, self._notice_s = run, variants, notice_s
        self._chance = random.Random(f"spot {seed}")
        self._limited = False
        self._live: dict[str, Replica | None] = {}
        """Nodes of the record that can be had, and the last replica that got each."""
        self._pending: list[tuple[Replica, float]] = []
        """Replicas without a node, and what they take to start once they have one."""
        self._life_s: Callable[[], float] = lambda: inf
        self._zones = 0

    def follow(self, changes: Sequence[Change]) -> None:
        """What a record says will happen, each loss announced before its time."""
        self._limited = any(change.kind == ADD for change in changes)
        for change in changes:
            at = change.at if change.kind == ADD else max(0.0, change.at - self._notice_s)
            if at <= self._run.now:
                self._change(change)
            else:
                self._run.at(at, lambda now, change=change: self._change(change))  # type: ignore[misc]

    def live(self, mean_s: float, zones: int) -> None:
        """Nodes live for exponential times of this mean; in zones all of one go at once."""
        self._zones = zones
        if not zones:
            self._life_s = lambda: self._chance.expovariate(1.0 / mean_s)
        for zone in range(zones):
            self._run.at(self._chance.expovariate(1.0 / mean_s), lambda now, zone=zone: self._zone_goes(zone, mean_s))  # type: ignore[misc]

    def fate(self, replica: Replica) -> None:
        """A new replica gets a node, or waits for one. One that is stuck without a node takes none."""
        if replica.variant not in self._variants or replica.node_at == inf:
            return
        if not self._grant(replica):
            self._wait(replica)

    def _wait(self, replica: Replica) -> None:
        if not self._pending:
            self._run.at(self._run.now + RETRY_S, self._retry)
        self._pending.append((replica, replica.ready_at - replica.created_at))
        replica.node_at = replica.ready_at = replica.billed_at = inf

    def _grant(self, replica: Replica) -> bool:
        if self._limited:
            free = [name for name, last in self._live.items() if last is None or last.gone_at < inf]
            if not free:
                return False
            self._live[self._chance.choice(free)] = replica
        if (life_s := self._life_s()) < inf:
            now = self._run.now
            self._run.at(now + max(0.0, life_s - self._notice_s), lambda _: self._announce([replica], now + life_s))
        return True

    def _retry(self, now: float) -> None:
        """Those who wait are tried in the order in which they came."""
        waiting, self._pending = [p for p in self._pending if p[0].gone_at == inf], []
        for replica, start_s in waiting:
            if self._grant(replica):
                replica.node_at, replica.billed_at = now + min(NODE_S, 0.5 * start_s), now
                self._run.starts_at(replica, now + start_s)
            else:
                self._pending.append((replica, start_s))
        if self._pending:
            self._run.at(now + RETRY_S, self._retry)

    def _change(self, change: Change) -> None:
        if change.kind == ADD:
            self._live[change.node] = None
        elif change.kind == LOST:
            mine = self._mine()
            self._announce(self._chance.sample(mine, min(change.count, len(mine))), change.at)
        else:
            had = self._live.pop(change.node, None)
            self._announce([had] if had else [], change.at)

    def _mine(self) -> list[Replica]:
        """Replicas that have a spot node which nothing is known against."""
        return [r for r in self._run.fleet.all if r.variant in self._variants and r.billed_at < inf and r.goes_at == inf]

    def _zone_goes(self, zone: int, mean_s: float) -> None:
        now = self._run.now
        self._announce([r for r in self._mine() if r.number % self._zones == zone], now + self._notice_s)
        self._run.at(now + self._chance.expovariate(1.0 / mean_s), lambda _: self._zone_goes(zone, mean_s))

    def _announce(self, replicas: Sequence[Replica], goes_at: float) -> None:
        """The interruption signal, which whoever decides learns of at once."""
        going = [r for r in replicas if r.gone_at == inf and r.goes_at == inf]
        if not going:
            return
        for replica in going:
            replica.goes_at = max(goes_at, self._run.now)
            self._run.note(INTERRUPTED, replica)
        self._run.at(going[0].goes_at, lambda _: self._take(going))
        self._run.act()

    def _take(self, replicas: Sequence[Replica]) -> None:
        there = [r for r in replicas if r.gone_at == inf]
        for replica in there:
            self._run.lose(replica)
        if there:
            self._run.act()

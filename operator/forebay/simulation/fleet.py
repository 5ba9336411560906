"""The replicas of one pool over their lives: starting, serving, draining, gone. And who gets the next request."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from forebay.planning.work import EngineProfile
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request


class Fleet:
    """`start_s` says how long the next replica takes from being asked for to being ready; inf for one that never comes."""

    def __init__(self, profile: EngineProfile, start_s: Callable[[], float], first: int) -> None:
        self._profile, self._start_s = profile, start_s
        self._made = 0
        self.serving: list[Replica] = []
        self.starting: list[Replica] = []
        self.draining: list[Replica] = []
        self.held: list[Request] = []
        """Requests that came while no replica was ready."""
        self.paid_s = 0.0
        """Replica-seconds of those that are gone."""
        for _ in range(first):
            self._make(0.0, 0.0)

    @property
    def count(self) -> int:
        """Those that there are and that are to stay."""
        return len(self.serving) + len(self.starting)

    def paid_until(self, now: float) -> float:
        """Replica-seconds up to now, each from being asked for to being gone."""
        return self.paid_s + sum(now - r.created_at for group in (self.serving, self.starting, self.draining) for r in group)

    def _make(self, now: float, after_s: float) -> Replica:
        self._made += 1
        replica = Replica(self._made, self._profile, now, now + after_s)
        (self.starting if after_s > 0 else self.serving).append(replica)
        return replica

    def scale_to(self, wanted: int, now: float) -> list[Replica]:
        """Asks for more, or gives some up: those that have not started first, then those with the least to finish. Answers the new ones."""
        made = [self._make(now, self._start_s()) for _ in range(wanted - self.count)]
        for _ in range(self.count - wanted):
            self._give_up(now)
        return made

    def _give_up(self, now: float) -> None:
        if self.starting:
            # The one that would have taken longest.
            latest = max(range(len(self.starting)), key=lambda i: self.starting[i].ready_at)
            self._end(self.starting.pop(latest), now)
            return
        least = min(range(len(self.serving)), key=lambda i: (self.serving[i].in_flight, -self.serving[i].number))
        replica = self.serving.pop(least)
        replica.draining = True
        if replica.in_flight:
            self.draining.append(replica)
        else:
            self._end(replica, now)

    def _end(self, replica: Replica, now: float) -> None:
        replica.gone_at = now
        self.paid_s += now - replica.created_at

    def became_ready(self, replica: Replica, now: float) -> None:
        """A replica's start is over, unless it was given up meanwhile; what was held goes to it."""
        if replica not in self.starting:
            return
        self.starting.remove(replica)
        self.serving.append(replica)
        held, self.held = self.held, []
        for request in held:
            self.route(request, now)

    def drained(self, replica: Replica, now: float) -> None:
        """A draining replica has answered its last request."""
        self.draining.remove(replica)
        self._end(replica, now)

    def lose(self, replica: Replica, now: float) -> list[Request]:
        """A replica is gone at once; answers the requests that were lost with it."""
        for group in (self.serving, self.starting, self.draining):
            if replica in group:
                group.remove(replica)
                self._end(replica, now)
                return replica.lose_all()
        return []

    def route(self, request: Request, now: float) -> Replica | None:
        """To the replica with the fewest in flight; held where there is none. Answers the replica."""
        best, fewest = None, inf
        for replica in self.serving:
            load = replica.in_flight
            if load < fewest:
                best, fewest = replica, load
        if best is None:
            self.held.append(request)
            return None
        best.take(request, now)
        return best

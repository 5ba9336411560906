"""The replicas of one pool over their lives: starting, serving, draining, gone. And who gets the next request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forebay.planning.work import EngineProfile
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request

PROMPT_TOKENS = 1000
"""Step in which prompts are compared: the gateway's 4 KiB."""


class Fleet:
    """Replicas of some variants, each by the profile of its own. A pool of one variant calls it "".

    `start_s` says how long the next replica of a variant takes from being asked for to being ready; inf for one that never comes.
    `made` makes a replica.
    """

    def __init__(
        self,
        profiles: Mapping[str, EngineProfile],
        start_s: Callable[[str], float],
        first: Mapping[str, int],
        made: Callable[..., Replica] = Replica,
    ) -> None:
        self.profiles, self._start_s, self._replica = profiles, start_s, made
        self._made = 0
        self.serving: list[Replica] = []
        self.starting: list[Replica] = []
        self.draining: list[Replica] = []
        self.held: list[Request] = []
        """Requests that came while no replica was ready."""
        self.paid_s: dict[str, float] = {}
        """Replica-seconds of those that are gone, by variant."""
        for variant, count in first.items():
            for _ in range(count):
                self._make(variant, 0.0, 0.0)

    @property
    def all(self) -> list[Replica]:
        return [*self.serving, *self.starting, *self.draining]

    @property
    def count(self) -> int:
        """Those that there are and that are to stay."""
        return len(self.serving) + len(self.starting)

    def count_of(self, variant: str) -> int:
        """Of one variant, those that there are and that are to stay."""
        return sum(r.variant == variant for group in (self.serving, self.starting) for r in group)

    def paid_until(self, now: float) -> dict[str, float]:
        """Replica-seconds up to now by variant, each replica's from being asked for to being gone."""
        paid = dict(self.paid_s)
        for replica in self.all:
            paid[replica.variant] = paid.get(replica.variant, 0.0) + now - replica.created_at
        return paid

    def _make(self, variant: str, now: float, after_s: float) -> Replica:
        self._made += 1
        replica = self._replica(self._made, self.profiles[variant], now, now + after_s, variant)
        (self.starting if after_s > 0 else self.serving).append(replica)
        return replica

    def scale_to(self, wanted: Mapping[str, int], now: float) -> list[Replica]:
        """Asks for more, or gives some up: those that have not started first, then those with the least to finish. Answers the new ones."""
        made = []
        for variant, count in wanted.items():
            have = self.count_of(variant)
            made += [self._make(variant, now, self._start_s(variant)) for _ in range(count - have)]
            for _ in range(have - count):
                self._give_up(variant, now)
        return made

    def _give_up(self, variant: str, now: float) -> None:
        starting = [r for r in self.starting if r.variant == variant]
        if starting:
            # The one that would have taken longest.
            replica = max(starting, key=lambda r: (r.ready_at, r.number))
            self.starting.remove(replica)
            self._end(replica, now)
            return
        replica = min((r for r in self.serving if r.variant == variant), key=lambda r: (r.in_flight, -r.number))
        self.serving.remove(replica)
        replica.draining = True
        if replica.in_flight:
            self.draining.append(replica)
        else:
            self._end(replica, now)

    def _end(self, replica: Replica, now: float) -> None:
        replica.gone_at = now
        self.paid_s[replica.variant] = self.paid_s.get(replica.variant, 0.0) + now - replica.created_at

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
        """As the gateway does: to the replica with the least prompts to compute, in thousands of tokens, and then the fewest in flight.

        Held where there is none. Answers the replica.
        """
        best, least = None, (0, 0)
        for replica in self.serving:
            cost = replica.prompt_tokens // PROMPT_TOKENS, replica.in_flight
            if best is None or cost < least:
                best, least = replica, cost
        if best is None:
            self.held.append(request)
            return None
        best.take(request, now)
        return best

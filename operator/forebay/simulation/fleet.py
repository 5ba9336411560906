"""The replicas of one pool over their lives: starting, serving, draining, gone. And who gets the next request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forebay.planning.work import EngineProfile
from forebay.simulation.queues import Rule
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request

Span = tuple[float, float]
"""From, until: seconds. Of a replica that never was paid for the end is before the beginning."""

PROMPT_TOKENS = 250
"""Step in which prompts are compared: the gateway's KiB."""


class Fleet:
    """Replicas of some variants, each by the profile of its own. A pool of one variant calls it "".

    `start_s` says how long the next replica of a variant takes from being asked for to being ready; inf for one that never comes.
    `made` makes a replica, `fate` may change when it gets its node and when it is ready. `rules` are those of the replicas' queues, by
    class.
    """

    def __init__(
        self,
        profiles: Mapping[str, EngineProfile],
        start_s: Callable[[str], float],
        first: Mapping[str, int],
        made: Callable[..., Replica] = Replica,
        rules: Mapping[str, Rule] | None = None,
    ) -> None:
        self.profiles, self._start_s, self._replica, self.rules = profiles, start_s, made, rules or {}
        self.fate: Callable[[Replica], None] = lambda replica: None
        self._made = 0
        self.serving: list[Replica] = []
        self.unrouted: list[Replica] = []
        """Those that answer still, and are sent nothing more."""
        self.starting: list[Replica] = []
        self.draining: list[Replica] = []
        self.held: list[Request] = []
        """Requests that came while no replica was ready."""
        self._ended: dict[str, list[Span]] = {}
        """What those that are gone were paid for, by variant."""
        for variant, count in first.items():
            for _ in range(count):
                self._make(variant, 0.0, 0.0)

    @property
    def all(self) -> list[Replica]:
        return [*self.serving, *self.unrouted, *self.starting, *self.draining]

    @property
    def busy(self) -> list[Replica]:
        """Those that may have requests."""
        return [*self.serving, *self.unrouted, *self.draining]

    @property
    def ready(self) -> int:
        """Those that are ready, and are to stay as far as their law knows."""
        return len(self.serving) + len(self.unrouted)

    @property
    def count(self) -> int:
        """Those that there are and that are to stay."""
        return self.ready + len(self.starting)

    def count_of(self, variant: str) -> int:
        """Of one variant, those that there are and that are to stay."""
        return sum(r.variant == variant for group in (self.serving, self.unrouted, self.starting) for r in group)

    def paid_until(self, now: float) -> dict[str, dict[int, float]]:
        """For how many seconds up to now how many replicas were paid for, by variant.

        Each is from being asked for, or being granted a node, to being gone.
        """
        spans = {variant: list(ended) for variant, ended in self._ended.items()}
        for replica in self.all:
            spans.setdefault(replica.variant, []).append((replica.billed_at, now))
        return {variant: _at_once(those) for variant, those in spans.items()}

    def _make(self, variant: str, now: float, after_s: float) -> Replica:
        self._made += 1
        replica = self._replica(self._made, self.profiles[variant], now, now + after_s, variant, self.rules)
        self.fate(replica)
        (self.starting if replica.ready_at > now else self.serving).append(replica)
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
            # One without a node, or else the one that would have taken longest.
            self.give_up(max(starting, key=lambda r: (r.node_at, r.ready_at, r.number)), now)
            return
        self.give_up(min((r for r in (*self.serving, *self.unrouted) if r.variant == variant), key=lambda r: (r.in_flight, -r.number)), now)

    def give_up(self, replica: Replica, now: float) -> None:
        """One that there is, and is to stay no longer: gone at once, or when it has answered what it has."""
        for group in (self.serving, self.unrouted, self.starting):
            if replica in group:
                group.remove(replica)
                replica.draining = True
                if replica.in_flight:
                    self.draining.append(replica)
                else:
                    self._end(replica, now)

    def unroute(self, replica: Replica) -> None:
        """Nothing more is sent to it."""
        if replica in self.serving:
            self.serving.remove(replica)
            self.unrouted.append(replica)

    def reroute(self, replica: Replica) -> None:
        """It is sent requests again."""
        if replica in self.unrouted:
            self.unrouted.remove(replica)
            self.serving.append(replica)

    def _end(self, replica: Replica, now: float) -> None:
        replica.gone_at = now
        self._ended.setdefault(replica.variant, []).append((replica.billed_at, now))

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
        for group in (self.serving, self.unrouted, self.starting, self.draining):
            if replica in group:
                group.remove(replica)
                self._end(replica, now)
                return replica.lose_all()
        return []

    def route(self, request: Request, now: float) -> Replica | None:
        """As the gateway does: to the replica with the least prompts to compute, in steps of a KiB, and then the fewest in flight.

        Held where there is none. Answers the replica.
        """
        best, prompts, in_flight = None, 0, 0
        for replica in self.serving:
            its = replica.prompt_tokens // PROMPT_TOKENS
            if best is None or its < prompts or (its == prompts and replica.in_flight < in_flight):
                best, prompts, in_flight = replica, its, replica.in_flight
        if best is None:
            self.held.append(request)
            return None
        best.take(request, now)
        return best


def _at_once(spans: list[Span]) -> dict[int, float]:
    """For how many seconds how many of the spans were open at once."""
    changes = sorted(change for since, until in spans if until > since for change in ((since, 1), (until, -1)))
    found: dict[int, float] = {}
    count, before = 0, 0.0
    for at, change in changes:
        if count and at > before:
            found[count] = found.get(count, 0.0) + at - before
        count, before = count + change, at
    return found

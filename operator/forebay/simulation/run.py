"""One pool under one law: arrivals, replicas and decisions in the order of their times."""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf, isfinite, isnan

from forebay.api.step_moments import NOTHING, added
from forebay.planning.work import EngineProfile
from forebay.simulation.fleet import Fleet
from forebay.simulation.law import Law, Observation, Sample
from forebay.simulation.outcome import Outcome
from forebay.simulation.queues import ANY, Hold
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request

KEPT_S = 900.0
"""Samples are kept this long: no law looks back further."""

PATIENCE_S = 3600.0
"""After the end of a workload what is in flight is answered for so long; what has no answer then is lost."""

_READY, _STEP, _HAPPENING, _SAMPLE, _DECIDE = range(5)

INTERRUPTED, LOST, STUCK = "interrupted", "lost", "stuck"
"""What may befall a replica: its node is announced to go, it went with its node, its start will never end."""

Happening = Callable[[float], None]
"""Something that befalls the fleet, called with the time."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all laws have in common."""

    profile: EngineProfile
    start_s: float
    min_replicas: int
    max_replicas: int
    first_replicas: int
    sample_s: float = 5.0
    until_s: float = inf
    by_class: bool = False
    wake_s: float = inf
    """What a gateway holds for a pool that sleeps is seen after so long, and waits in a queue only from its release on; inf: none does."""
    hold: Callable[[str], Hold] = lambda _: Hold()
    """What the gateway holds of a class now."""


class Run:
    """Advances the clock from event to event until the workload is over and everything is answered."""

    def __init__(self, setup: Setup, law: Law, fleet: Fleet | None = None) -> None:
        self._setup, self._law = setup, law
        self.fleet = fleet or Fleet({"": setup.profile}, lambda _: setup.start_s, {"": setup.first_replicas})
        self.outcome = Outcome()
        self.now = 0.0
        self.outcome.sample_s = setup.sample_s
        self.outcome.billed = {variant: array("H") for variant in self.fleet.profiles}
        self._events: list[tuple[float, int, int, Replica | Happening | None]] = []
        self._pushed = 0
        self._samples: deque[Sample] = deque(maxlen=max(1, int(KEPT_S / setup.sample_s)))
        self._sample = Sample(0.0, setup.sample_s)

    def through(self, workload: Iterable[Request]) -> Outcome:
        """Runs the workload, whose requests come in order of their arrivals."""
        requests = iter(workload)
        self._push(self._setup.sample_s, _SAMPLE, None)
        self._push(self._law.interval_s, _DECIDE, None)
        due = next(requests, None)
        while due is not None and due.arrived < self._setup.until_s:
            due = self._arrive(due, requests) if due.arrived <= self._events[0][0] else self._next(due)
        self._finish(self._setup.until_s)
        return self.outcome

    def _arrive(self, request: Request, requests: Iterator[Request]) -> Request | None:
        self.now = request.arrived
        self._sample.add_arrival(request.input_tokens)
        if self._setup.by_class:
            self._sample.of(request.batch_class).add_arrival(request.input_tokens)
        self._route(request)
        if self._setup.wake_s < inf and len(self.fleet.held) == 1 and not self.fleet.count:
            self.at(self.now + self._setup.wake_s, lambda _: self.act())
        return next(requests, None)

    def _next(self, due: Request) -> Request:
        """The next event; the request that is due stays."""
        self._step()
        return due

    def _step(self) -> None:
        at, kind, _, what = heapq.heappop(self._events)
        if kind == _STEP:
            if isinstance(what, Replica) and what.next_at == at:
                self.now = at
                self._advance(what)
            return
        self.now = at
        if isinstance(what, Replica):
            if self._setup.wake_s < inf:
                for request in self.fleet.held:
                    request.gives_up_at += at - request.arrived
            self.fleet.became_ready(what, at)
            self._follow(what)
        elif what is not None:
            what(at)
        elif kind == _SAMPLE:
            self._take_sample()
        else:
            self.act()
            self._push(self.now + self._law.interval_s, _DECIDE, None)

    def _finish(self, until_s: float) -> None:
        """What is in flight is still answered. Cost counts up to the end that was set, or to the first sample after the last answer."""
        end = self.now if until_s == inf else until_s
        if until_s < inf:
            self._pay(end)
        while self._events[0][0] <= end + PATIENCE_S and (self.fleet.held or any(r.next_at < inf for r in self.fleet.busy)):
            self._step()
        if until_s == inf:
            samples = len(self.outcome.replicas)
            while self._setup.sample_s < inf and len(self.outcome.replicas) == samples:
                self._step()
            self._pay(self.now)
        for request in self.fleet.held:
            (self._refuse if request.gives_up_at < self.now else self._give_up)(request)
        for request in (request for replica in self.fleet.busy for request in replica.lose_all()):
            self._give_up(request)

    def _pay(self, end: float) -> None:
        self.outcome.span_s = end
        self.outcome.counts_s = self.fleet.paid_until(end)

    def at(self, when: float, happening: Happening) -> None:
        """Lets something befall the fleet at a time."""
        self._push(when, _HAPPENING, happening)

    def lose(self, replica: Replica) -> None:
        """A replica is gone at once. As the gateway does, what it had not answered a byte of is sent to another, for a number of times."""
        self.note(LOST, replica)
        for request in self.fleet.lose(replica, self.now):
            rule = self.fleet.rules.get(request.batch_class, ANY)
            if not isnan(request.first_token) or request.attempts >= rule.max_attempts:
                self._give_up(request)
                continue
            request.attempts += 1
            request.gives_up_at = self.now + rule.max_wait_s
            self.outcome.retried += 1
            self._route(request)

    def note(self, what: str, replica: Replica) -> None:
        """Remembers what befell a replica."""
        self.outcome.happened.append((self.now, what, replica.name))

    def starts_at(self, replica: Replica, ready_at: float) -> None:
        """A replica that waited for its node has it, and will be ready then."""
        replica.ready_at = ready_at
        if isfinite(ready_at):
            self._push(ready_at, _READY, replica)

    def _push(self, at: float, kind: int, what: Replica | Happening | None) -> None:
        self._pushed += 1
        heapq.heappush(self._events, (at, kind, self._pushed, what))

    def _route(self, request: Request) -> None:
        if self._setup.wake_s < inf and not self.fleet.serving:
            hold = self._setup.hold(request.batch_class)
            if not hold.takes(request, self.fleet.held):
                self._refuse(request)
                return
            request.held_until = self.now + hold.longest_s
        replica = self.fleet.route(request, self.now)
        if replica is not None:
            self._follow(replica)

    def _follow(self, replica: Replica) -> None:
        if replica.refused:
            for request in replica.refused:
                self._refuse(request)
            replica.refused.clear()
        if replica.next_at < inf:
            self._push(replica.next_at, _STEP, replica)

    def _advance(self, replica: Replica) -> None:
        done = replica.advance(self.now)
        for request in replica.started:
            self._first_token(request)
        for request in done:
            self._done(request)
        self._follow(replica)
        if replica.draining and not replica.in_flight:
            self.fleet.drained(replica, self.now)

    def _first_token(self, request: Request) -> None:
        self._sample.first_token_s.append(request.time_to_first_token_s)
        if self._setup.by_class:
            self._sample.of(request.batch_class).first_token_s.append(request.time_to_first_token_s)

    def _done(self, request: Request) -> None:
        first, per_token = request.time_to_first_token_s, request.per_output_token_s
        self.outcome.input_tokens += request.input_tokens
        self.outcome.output_tokens += request.output_tokens
        self.outcome.arrived.append(request.arrived)
        self.outcome.first_token_s.append(first)
        self.outcome.per_token_s.append(per_token)
        self.outcome.end_to_end_s.append(request.finished - request.arrived)
        self.outcome.classes.append(self._class_number(request.batch_class))
        tenants = self.outcome.of_tenants
        tenant = tenants.number_of(request.tenant)
        self.outcome.tenants.append(tenant)
        tenants.input_tokens[tenant] += request.input_tokens
        tenants.output_tokens[tenant] += request.output_tokens
        self._sample.add_end(request.input_tokens, request.output_tokens, per_token)
        if self._setup.by_class:
            self._sample.of(request.batch_class).add_end(request.input_tokens, request.output_tokens, per_token)

    def _refuse(self, request: Request) -> None:
        refused, tenants = self.outcome.refused_of, self.outcome.of_tenants
        refused[request.batch_class] = refused.get(request.batch_class, 0) + 1
        tenants.refused[tenants.number_of(request.tenant)] += 1

    def _give_up(self, request: Request) -> None:
        lost, tenants = self.outcome.lost_of, self.outcome.of_tenants
        lost[request.batch_class] = lost.get(request.batch_class, 0) + 1
        tenants.lost[tenants.number_of(request.tenant)] += 1

    def _class_number(self, name: str) -> int:
        names = self.outcome.class_names
        if name not in names:
            names.append(name)
        return names.index(name)

    def _take_sample(self) -> None:
        sample, fleet = self._sample, self.fleet
        if self._setup.wake_s < inf and fleet.held:
            self._turn_away()
        sample.at = self.now
        busy = fleet.busy
        sample.waiting = len(fleet.held) + sum(r.waiting for r in busy)
        sample.running = sum(r.in_flight - r.waiting for r in busy)
        sample.context_tokens = sum(r.context_tokens for r in busy)
        sample.ready = fleet.ready
        sample.in_flight_variance = _variance([r.in_flight for r in fleet.serving])
        for replica in busy:
            if replica.moments[0]:
                sample.steps[replica.variant] = list(added(sample.steps.get(replica.variant, NOTHING), replica.moments))
                replica.moments = [*NOTHING]
        for replica in fleet.serving:
            sample.prompting = added(sample.prompting, replica.prompting.sums(self.now))
            replica.prompting.clear(self.now)
        if self._setup.by_class:
            self._count_by_class(sample, busy)
        self._samples.append(sample)
        self.outcome.replicas.append((self.now, len(fleet.serving), fleet.count + len(fleet.draining)))
        self.outcome.arrivals.append(sample.arrived)
        self.outcome.arrived_tokens.append(sample.arrived_input_tokens)
        self._count_billed()
        self._sample = Sample(0.0, self._setup.sample_s)
        self._push(self.now + self._setup.sample_s, _SAMPLE, None)

    def _turn_away(self) -> None:
        """As the gateway does: nobody is held for longer than the class may wait and a start is known to take."""
        for request in (request for request in self.fleet.held if request.held_until < self.now):
            self._refuse(request)
        self.fleet.held = [request for request in self.fleet.held if request.held_until >= self.now]

    def _count_by_class(self, sample: Sample, busy: Iterable[Replica]) -> None:
        for request in (*self.fleet.held, *(r for replica in busy for r in replica.those_waiting)):
            sample.of(request.batch_class).waiting += 1
        for request in (r for replica in busy for r in replica.those_running()):
            sample.of(request.batch_class).running += 1

    def _count_billed(self) -> None:
        counts = dict.fromkeys(self.outcome.billed, 0)
        for replica in self.fleet.all:
            counts[replica.variant] += replica.billed_at <= self.now
        for variant, count in counts.items():
            self.outcome.billed[variant].append(count)

    def act(self) -> None:
        """The law decides, and the fleet follows."""
        seen = Observation(self.now, self.fleet.ready, len(self.fleet.starting), self._samples)
        answer = self._law.decide(seen)
        wanted = {"": min(max(answer, self._setup.min_replicas), self._setup.max_replicas)} if isinstance(answer, int) else answer
        for replica in self.fleet.scale_to(wanted, self.now):
            if isfinite(replica.ready_at):
                self._push(replica.ready_at, _READY, replica)


def _variance(counts: list[int]) -> float | None:
    """The statistics module's takes fractions, for which there are too many samples."""
    n = len(counts)
    return (sum(c * c for c in counts) - sum(counts) ** 2 / n) / (n - 1) if n > 1 else None

"""One pool under one law: arrivals, replicas and decisions in the order of their times."""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf, isfinite
from statistics import variance

from forebay.planning.work import EngineProfile
from forebay.simulation.fleet import Fleet
from forebay.simulation.law import Law, Observation, Sample
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request

KEPT_S = 900.0
"""Samples are kept this long: no law looks back further."""

_READY, _STEP, _SAMPLE, _DECIDE, _WAKE = range(5)


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


@dataclass(slots=True)
class Outcome:
    """What came of a run. One entry per request, in order of their ends; times in seconds."""

    arrived: array[float] = field(default_factory=lambda: array("d"))
    first_token_s: array[float] = field(default_factory=lambda: array("d"))
    per_token_s: array[float] = field(default_factory=lambda: array("d"))
    end_to_end_s: array[float] = field(default_factory=lambda: array("d"))
    classes: array[int] = field(default_factory=lambda: array("B"))
    class_names: list[str] = field(default_factory=list)
    refused_of: dict[str, int] = field(default_factory=dict)
    """Requests that waited for too long, by class."""
    lost: int = 0
    span_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    """Of all that were answered."""
    paid_s: dict[str, float] = field(default_factory=dict)
    """Replica-seconds by variant."""
    replicas: list[tuple[float, int, int]] = field(default_factory=list)
    """At each sample: time, replicas that serve, replicas that there are."""

    @property
    def refused(self) -> int:
        return sum(self.refused_of.values())

    @property
    def replica_s(self) -> float:
        """Replica-seconds of all variants."""
        return sum(self.paid_s.values())

    @property
    def replicas_mean(self) -> float:
        return self.replica_s / self.span_s if self.span_s > 0 else 0.0


class Run:
    """Advances the clock from event to event until the workload is over and everything is answered."""

    def __init__(self, setup: Setup, law: Law, fleet: Fleet | None = None) -> None:
        self._setup, self._law = setup, law
        self.fleet = fleet or Fleet({"": setup.profile}, lambda _: setup.start_s, {"": setup.first_replicas})
        self.outcome = Outcome()
        self.now = 0.0
        self._events: list[tuple[float, int, int, Replica | None]] = []
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
        end = self.now if self._setup.until_s == inf else self._setup.until_s
        self._finish(end)
        return self.outcome

    def _arrive(self, request: Request, requests: Iterator[Request]) -> Request | None:
        self.now = request.arrived
        self._sample.add_arrival(request.input_tokens)
        if self._setup.by_class:
            self._sample.of(request.batch_class).add_arrival(request.input_tokens)
        replica = self.fleet.route(request, self.now)
        if replica is not None:
            self._follow(replica)
        elif self._setup.wake_s < inf and len(self.fleet.held) == 1 and not self.fleet.count:
            self._push(self.now + self._setup.wake_s, _WAKE, None)
        return next(requests, None)

    def _next(self, due: Request) -> Request:
        """The next event; the request that is due stays."""
        self._step()
        return due

    def _step(self) -> None:
        at, kind, _, replica = heapq.heappop(self._events)
        if kind == _STEP:
            if replica is not None and replica.next_at == at:
                self.now = at
                self._advance(replica)
            return
        self.now = at
        if kind == _READY and replica is not None:
            if self._setup.wake_s < inf:
                for request in self.fleet.held:
                    request.gives_up_at += at - request.arrived
            self.fleet.became_ready(replica, at)
            self._follow(replica)
        elif kind == _SAMPLE:
            self._take_sample()
        elif kind == _DECIDE:
            self._decide()
            self._push(self.now + self._law.interval_s, _DECIDE, None)
        elif kind == _WAKE:
            self._decide()

    def _finish(self, end: float) -> None:
        """Cost counts up to the end of the workload; what is in flight then is still answered."""
        self.outcome.span_s = end
        self.outcome.paid_s = self.fleet.paid_until(end)
        while (self._events and any(r.next_at < inf for r in (*self.fleet.serving, *self.fleet.draining))) or self.fleet.held:
            if not self._events:
                break
            self._step()

    def _push(self, at: float, kind: int, replica: Replica | None) -> None:
        self._pushed += 1
        heapq.heappush(self._events, (at, kind, self._pushed, replica))

    def _follow(self, replica: Replica) -> None:
        for request in replica.refused:
            self.outcome.refused_of[request.batch_class] = self.outcome.refused_of.get(request.batch_class, 0) + 1
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
        self._sample.add_end(request.input_tokens, request.output_tokens, per_token)
        if self._setup.by_class:
            self._sample.of(request.batch_class).add_end(request.input_tokens, request.output_tokens, per_token)

    def _class_number(self, name: str) -> int:
        names = self.outcome.class_names
        if name not in names:
            names.append(name)
        return names.index(name)

    def _take_sample(self) -> None:
        sample, fleet = self._sample, self.fleet
        sample.at = self.now
        busy = (*fleet.serving, *fleet.draining)
        sample.waiting = len(fleet.held) + sum(r.waiting for r in busy)
        sample.running = sum(r.in_flight - r.waiting for r in busy)
        sample.context_tokens = sum(r.context_tokens for r in busy)
        sample.ready = len(fleet.serving)
        sample.in_flight_variance = variance([r.in_flight for r in fleet.serving]) if sample.ready > 1 else None
        if self._setup.by_class:
            self._count_by_class(sample, busy)
        self._samples.append(sample)
        self.outcome.replicas.append((self.now, len(fleet.serving), fleet.count + len(fleet.draining)))
        self._sample = Sample(0.0, self._setup.sample_s)
        self._push(self.now + self._setup.sample_s, _SAMPLE, None)

    def _count_by_class(self, sample: Sample, busy: Iterable[Replica]) -> None:
        for request in (*self.fleet.held, *(r for replica in busy for r in replica.those_waiting)):
            sample.of(request.batch_class).waiting += 1
        for request in (r for replica in busy for r in replica.those_running()):
            sample.of(request.batch_class).running += 1

    def _decide(self) -> None:
        seen = Observation(self.now, len(self.fleet.serving), len(self.fleet.starting), self._samples)
        answer = self._law.decide(seen)
        wanted = {"": min(max(answer, self._setup.min_replicas), self._setup.max_replicas)} if isinstance(answer, int) else answer
        for replica in self.fleet.scale_to(wanted, self.now):
            if isfinite(replica.ready_at):
                self._push(replica.ready_at, _READY, replica)

"""An event simulation of a pool, written apart from the queueing model to check it: every request, every step, every replica.

A chat replica computes, in each step, the whole prompt of every request it has just taken in and one token for each that runs already; a
step takes a fixed time, a time per token computed and a time per token of context. An embeddings replica gets batches of inputs, one
computed while the next one waits, as the batching sidecar sends them. Arrivals are Poisson or come in clumps, each request goes to the
replica with the fewest in flight, or first of all to one with the fewest prompts to compute.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from math import log
from typing import NamedTuple

BATCHES_OUT = 2


@dataclass(frozen=True)
class Setting:
    """What is simulated. Times in seconds; lengths are fixed where the flag is off, geometric where it is on."""

    base_s: float
    per_token_s: float
    per_kv_token_s: float
    places: int
    replicas: int
    requests_per_s: float
    input_tokens: int
    output_tokens: int
    inputs_vary: bool = False
    outputs_vary: bool = False
    embeddings: bool = False
    window_s: float = 0.0
    spares_prompts: bool = False
    arrivals_cv: float = 1.0
    """Of the gamma-distributed gaps between arrivals: counts have its square as their index of dispersion."""

    def gap_s(self, chance: random.Random) -> float:
        if self.arrivals_cv == 1.0:
            return chance.expovariate(self.requests_per_s)
        shape = self.arrivals_cv**-2
        return chance.gammavariate(shape, 1.0 / (shape * self.requests_per_s))


class Seen(NamedTuple):
    """What one request saw, seconds. `between_tokens` is None where there was one token only."""

    first_token: float
    between_tokens: float | None
    end_to_end: float


@dataclass(slots=True)
class Request:
    index: int
    arrived: float
    input_tokens: int
    output_tokens: int
    first_token: float = 0.0


def geometric(chance: random.Random, mean: int) -> int:
    return 1 + int(log(1.0 - chance.random()) / log(1.0 - 1.0 / mean)) if mean > 1 else 1


@dataclass(slots=True)
class ChatReplica:
    """A continuously batching server."""

    setting: Setting
    queue: deque[Request] = field(default_factory=deque)
    taken: list[Request] = field(default_factory=list)
    leaving: dict[int, list[Request]] = field(default_factory=dict)
    running: int = 0
    context: int = 0
    steps: int = 0
    in_flight: int = 0
    busy: bool = False

    @property
    def prompts(self) -> int:
        """Those that wait or are being computed."""
        return len(self.queue) + len(self.taken)

    def arrive(self, request: Request, now: float) -> float | None:
        """The time at which something ends now that this request is here, or None where that is known already."""
        self.in_flight += 1
        self.queue.append(request)
        return None if self.busy else self._begin(now)

    def _begin(self, now: float) -> float:
        s = self.setting
        room = s.places - self.running
        self.taken = [self.queue.popleft() for _ in range(min(room, len(self.queue)))]
        prompts = sum(r.input_tokens for r in self.taken)
        self.busy = True
        return now + s.base_s + s.per_token_s * (prompts + self.running) + s.per_kv_token_s * (prompts + self.context)

    def advance(self, now: float) -> tuple[list[tuple[Request, Seen]], float | None]:
        """Ends the step: who is done, and when the next one ends."""
        self.steps += 1
        self.context += self.running
        done = []
        for request in self.taken:
            request.first_token = now
            if request.output_tokens == 1:
                done.append((request, Seen(now - request.arrived, None, now - request.arrived)))
            else:
                self.running += 1
                self.context += request.input_tokens + 1
                self.leaving.setdefault(self.steps + request.output_tokens - 1, []).append(request)
        self.taken = []
        for request in self.leaving.pop(self.steps, ()):
            self.running -= 1
            self.context -= request.input_tokens + request.output_tokens
            gap = (now - request.first_token) / (request.output_tokens - 1)
            done.append((request, Seen(request.first_token - request.arrived, gap, now - request.arrived)))
        self.in_flight -= len(done)
        self.busy = bool(self.running or self.queue)
        return done, self._begin(now) if self.busy else None


@dataclass(slots=True)
class EmbeddingsReplica:
    """A server of batches behind a sidecar that forms them."""

    setting: Setting
    waiting: deque[Request] = field(default_factory=deque)
    out: deque[list[Request]] = field(default_factory=deque)
    in_flight: int = 0
    ends: float = 0.0
    prompts: int = 0

    def arrive(self, request: Request, now: float) -> float | None:
        self.in_flight += 1
        self.waiting.append(request)
        return self._next(now)

    def _next(self, now: float) -> float | None:
        s = self.setting
        while self.waiting and len(self.out) < BATCHES_OUT:
            due = self.waiting[0].arrived + s.window_s
            if len(self.waiting) < s.places and now < due - 1e-12:
                return min(due, self.ends) if self.out else due
            self.out.append([self.waiting.popleft() for _ in range(min(s.places, len(self.waiting)))])
            if len(self.out) == 1:
                self._begin(now)
        return self.ends if self.out else None

    def _begin(self, now: float) -> None:
        self.ends = now + self.setting.base_s + self.setting.per_token_s * sum(r.input_tokens for r in self.out[0])

    def advance(self, now: float) -> tuple[list[tuple[Request, Seen]], float | None]:
        done = []
        if self.out and now >= self.ends - 1e-12:
            done = [(r, Seen(now - r.arrived, None, now - r.arrived)) for r in self.out.popleft()]
            if self.out:
                self._begin(now)
        self.in_flight -= len(done)
        return done, self._next(now)


def simulate(setting: Setting, requests: int, warm_up: int, seed: int) -> list[Seen]:
    """What `requests` requests saw, in order of arrival, after a warm-up that is not counted. Load goes on until the last one is done."""
    chance = random.Random(seed)
    kind = EmbeddingsReplica if setting.embeddings else ChatReplica
    replicas = [kind(setting) for _ in range(setting.replicas)]
    numbers = range(setting.replicas)
    seen: dict[int, Seen] = {}
    events: list[tuple[float, int]] = []
    expected = [float("inf")] * setting.replicas
    arrival, index = setting.gap_s(chance), 0
    while len(seen) < requests:
        if not events or arrival <= events[0][0]:
            now = arrival
            arrival += setting.gap_s(chance)
            costs = [(r.prompts if setting.spares_prompts else 0, r.in_flight) for r in replicas]
            fewest = min(costs)
            at = chance.choice([i for i in numbers if costs[i] == fewest])
            inputs = geometric(chance, setting.input_tokens) if setting.inputs_vary else setting.input_tokens
            outputs = geometric(chance, setting.output_tokens) if setting.outputs_vary else setting.output_tokens
            until = replicas[at].arrive(Request(index, now, inputs, outputs), now)
            index += 1
        else:
            now, at = heapq.heappop(events)
            if now != expected[at]:
                continue
            done, until = replicas[at].advance(now)
            for request, what in done:
                if warm_up <= request.index < warm_up + requests:
                    seen[request.index] = what
            expected[at] = float("inf")
        if until is not None and until != expected[at]:
            expected[at] = until
            heapq.heappush(events, (until, at))
    return [seen[i] for i in sorted(seen)]

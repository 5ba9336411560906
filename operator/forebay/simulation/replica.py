"""A continuously batching server on a virtual clock.

Its steps are those of `forebay engine sim`: a step computes the whole prompt of every request it has just taken in and one token for each
that runs already, and takes a fixed time, a time per token computed and a time per token of context. Between an arrival and the next
request's end nothing changes but the context, which grows by one token each; such steps are summed up by formula, not made one by one.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from math import ceil, inf, sqrt

from forebay.api.prompting import Prompting
from forebay.api.step_moments import NOTHING, observe
from forebay.planning.work import EngineProfile
from forebay.simulation.queues import Lines, Rule
from forebay.simulation.request import Request

NODE_S = 45.0
"""A node is there after so much of a replica's start, or after half of it; the rest is images, weights and warming up."""

_INSTANT_S = 1e-9
_NEAR = 1e-9
_OBSERVED_S = 0.5
_LEAST_STEPS = 4


class Replica:
    """One server. `next_at` is when something ends in it, inf where nothing runs; then `advance` is to be called."""

    __slots__ = (
        "_began", "_chain", "_context", "_leaving", "_order", "_profile", "_seen", "_step_s", "_steps", "_taken", "_waiting",
        "billed_at", "created_at", "draining", "goes_at", "gone_at", "moments", "next_at", "node_at", "number", "prompt_tokens",
        "prompting", "ready_at", "refused", "running", "started", "variant",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        profile: EngineProfile,
        created_at: float,
        ready_at: float,
        variant: str = "",
        rules: Mapping[str, Rule] | None = None,
    ) -> None:
        self.number, self._profile, self.created_at, self.ready_at = number, profile, created_at, ready_at
        self.variant = variant
        self.node_at = created_at + min(NODE_S, 0.5 * (ready_at - created_at))
        """When it gets its node; inf where there is none for it."""
        self.billed_at = created_at
        """It costs from here on; inf while it has no node to pay for."""
        self.goes_at = inf
        """When its node is taken away, once that was announced."""
        self.gone_at = inf
        self.draining = False
        self.next_at = inf
        self.running = 0
        self.prompt_tokens = 0
        """Tokens of prompts that wait or are being computed."""
        self.started: list[Request] = []
        """Those that got their first token in the last advance."""
        self._waiting = Lines(rules or {})
        self._taken: list[Request] = []
        self._leaving: list[tuple[int, int, Request]] = []
        self._order = 0
        self.refused: list[Request] = []
        """Those who found the line full or waited for too long, until somebody takes note of them and empties the list."""
        self._steps = 0
        self._context = 0
        self._began = 0.0
        self._step_s = 0.0
        self._chain = 0
        self.moments = [*NOTHING]
        """Sums over what was seen of its steps, until somebody takes note of them and sets them back."""
        self._seen = (0.0, 0.0, 0.0, 0.0)
        self.prompting = Prompting(ready_at)
        """What its sidecar would tell of prompts, since it was last asked."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.variant}-{self.number}" if self.variant else f"replica-{self.number}"

    @property
    def in_flight(self) -> int:
        """Requests it has, waiting ones included."""
        return self._waiting.count + len(self._taken) + self.running

    @property
    def waiting(self) -> int:
        return self._waiting.count

    @property
    def those_waiting(self) -> Iterable[Request]:
        return self._waiting

    def those_running(self) -> list[Request]:
        """Those whose prompts are computed or were."""
        return [*self._taken, *(request for _, _, request in self._leaving)]

    @property
    def context_tokens(self) -> int:
        """Tokens held for those that run, as of the last step that was counted."""
        return self._context

    def take(self, request: Request, now: float) -> None:
        """A request arrives."""
        if not self._waiting.join(request, self._profile.max_concurrency - self.running - len(self._taken)):
            self.refused.append(request)
            return
        self.prompt_tokens += request.input_tokens
        self.prompting.arrive(now)
        if self.next_at == inf:
            self._begin(now)
        elif self._chain:
            self._cut(now)

    def lose_all(self) -> list[Request]:
        """The server is gone: what it had, whose answers are lost."""
        lost = [*self._waiting, *self._taken, *(request for _, _, request in self._leaving)]
        self._waiting.clear()
        self._taken.clear()
        self._leaving.clear()
        self.running, self.prompt_tokens, self._chain, self.next_at = 0, 0, 0, inf
        return lost

    def advance(self, now: float) -> list[Request]:
        """Ends what ends now; answers the requests that are done."""
        done: list[Request] = []
        self.started = []
        self._see(now - self._began)
        if self._chain:
            self._count(self._chain)
            self._chain = 0
        else:
            self._steps += 1
            self._context += self.running
            self._start_decoding(now, done)
        leaving = self._leaving
        while leaving and leaving[0][0] <= self._steps:
            request = heapq.heappop(leaving)[2]
            self.running -= 1
            self._context -= request.input_tokens + request.output_tokens
            request.finished = now
            done.append(request)
        self._begin(now)
        return done

    def _see(self, seconds: float) -> None:
        """Tells of the steps that end now as a sidecar does: every half second of them is one observation."""
        steps, running = self._chain or 1, self.running
        prompts = sum(r.input_tokens for r in self._taken)
        seen_s, count, tokens, context = self._seen
        seen_s, count, tokens = seen_s + seconds, count + steps, tokens + steps * running + prompts
        context += steps * self._context + 0.5 * running * steps * (steps - 1) + prompts
        if seen_s < _OBSERVED_S or count < _LEAST_STEPS:
            self._seen = (seen_s, count, tokens, context)
            return
        observe(self.moments, seen_s / count, tokens / count, context / count)
        self._seen = (0.0, 0.0, 0.0, 0.0)

    def _start_decoding(self, now: float, done: list[Request]) -> None:
        """Those whose prompts were computed in the step that ends."""
        self.prompting.close(now, len(self._taken))
        for request in self._taken:
            self.prompt_tokens -= request.input_tokens
            request.first_token = now
            if request.output_tokens <= 1:
                request.finished = now
                done.append(request)
                continue
            self.running += 1
            self._context += request.input_tokens + 1
            self._order += 1
            heapq.heappush(self._leaving, (self._steps + request.output_tokens - 1, self._order, request))
        self.started, self._taken = self._taken, []

    def _begin(self, now: float) -> None:
        """The next step, or as many as go by with nothing but decoding in them."""
        profile, waiting = self._profile, self._waiting
        room = profile.max_concurrency - self.running
        self._began = now
        if waiting.count and (late := waiting.give_up(now)):
            self.prompt_tokens -= sum(r.input_tokens for r in late)
            self.prompting.close(now, len(late))
            self.refused += late
        if waiting.count and room > 0:
            self._taken = waiting.take(room)
            prompts = sum(r.input_tokens for r in self._taken)
            step_s = profile.base_s + profile.per_token_s * (prompts + self.running) + profile.per_kv_token_s * (prompts + self._context)
            self.next_at = now + max(step_s, _INSTANT_S)
        elif self.running:
            self._step_s = max(profile.base_s + profile.per_token_s * self.running + profile.per_kv_token_s * self._context, _INSTANT_S)
            self._chain = self._leaving[0][0] - self._steps
            self.next_at = now + self._span(self._chain)
        else:
            self.next_at = inf

    def _span(self, steps: int) -> float:
        """Seconds that so many steps take with nothing but decoding in them."""
        return steps * self._step_s + 0.5 * self._profile.per_kv_token_s * self.running * steps * (steps - 1)

    def _count(self, steps: int) -> None:
        self._steps += steps
        self._context += self.running * steps

    def _cut(self, now: float) -> None:
        """Somebody has come: the chain ends with the step that is under way."""
        if self.running >= self._profile.max_concurrency:
            return
        passed = max(0.0, now - self._began)
        grows = self._profile.per_kv_token_s * self.running
        if grows > 1e-15 * self._step_s:
            half = self._step_s - 0.5 * grows
            steps = (sqrt(half * half + 2.0 * grows * passed) - half) / grows
        else:
            steps = passed / self._step_s
        self._chain = min(self._chain, max(1, ceil(steps - _NEAR)))
        self.next_at = self._began + self._span(self._chain)

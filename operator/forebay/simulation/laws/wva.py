"""The token-based analyzer (V2) of llm-d's Workload Variant Autoscaler, for one variant: a re-implementation.

Source: llm-d-workload-variant-autoscaler, internal/engines/analyzers/saturation_v2 and pipeline (commit b08b1c77, 2026-02). Demand is the
tokens of context in use and the prompts that wait. A replica holds the smaller of k1, 80 % of its KV cache, and k2, what it can compute:
what was in use when its queue was seen at 5 or more; else the mean of the last ten times; else N (I + O/2) with N = min(B O / (I + O), S)
for B tokens per step, S sequences, I input and O output tokens. required = demand / 0.85 - supply with what is starting,
spare = supply of what is ready - demand / 0.70; added in whole replicas rounded up, taken away rounded down, once a minute, with no other
damping (the sample HorizontalPodAutoscaler has no windows). Which requests wait at which replica is not seen here: figures are of a mean
replica, where the original takes the median. The history of k2 is kept for one bucket of output lengths.
"""

from __future__ import annotations

from collections import deque
from math import ceil, floor

from forebay.simulation.law import Observation, Sample
from forebay.simulation.laws.measured import tokens_per_request


class Wva:
    """`cache_tokens` is a replica's KV cache, `step_tokens` what it computes in one step at most, `sequences` how many requests."""

    def __init__(
        self,
        cache_tokens: float,
        *,
        step_tokens: float = 8192.0,
        sequences: int = 256,
        cache_share: float = 0.8,
        saturated_queue: float = 5.0,
        up_at: float = 0.85,
        down_at: float = 0.70,
        interval_s: float = 60.0,
    ) -> None:
        self.interval_s = interval_s
        self._cache_tokens = cache_tokens * cache_share
        self._step_tokens, self._sequences, self._saturated_queue = step_tokens, sequences, saturated_queue
        self._up_at, self._down_at = up_at, down_at
        self._history: deque[float] = deque(maxlen=10)
        self._shape: tuple[float, float] | None = None

    def decide(self, seen: Observation) -> int:
        if not seen.samples or not seen.ready:
            return seen.replicas
        now = seen.samples[-1]
        self._shape = tokens_per_request(seen.last(60.0)) or self._shape
        capacity = min(self._cache_tokens, self._computed(now, seen.ready))
        demand = now.context_tokens + now.waiting * (self._shape[0] if self._shape else 0.0)
        required = demand / self._up_at - seen.replicas * capacity
        if required > 0:
            return seen.replicas + ceil(required / capacity)
        spare = seen.ready * capacity - demand / self._down_at
        return max(1, seen.replicas - floor(max(0.0, spare) / capacity))

    def _computed(self, now: Sample, ready: int) -> float:
        """k2, tokens: seen, remembered, or derived."""
        if now.waiting / ready >= self._saturated_queue and now.context_tokens > 0:
            self._history.append(now.context_tokens / ready)
            return self._history[-1]
        if self._history:
            return sum(self._history) / len(self._history)
        if self._shape is None:
            return self._cache_tokens
        inputs, outputs = self._shape
        steady = min(self._step_tokens * outputs / (inputs + outputs), self._sequences)
        return steady * (inputs + outputs / 2.0) or self._cache_tokens

"""llm-d's SLO-aware law: a re-implementation, not llm-d.

Source: llm-d, guides/workload-autoscaling, README.slo-aware.md and slo-aware/benchmark-templates/BENCHMARK.md (read 2026-11). A saturation
signal is the worse of P90 time to first token and P90 time per output token, each over its objective, in one-minute windows every 15 s,
clamped and averaged over 45 s. Above a threshold replicas are added in its proportion, less what is under way; below a second one they are
taken away; a HorizontalPodAutoscaler limits the speed.

The published figures were taken with a trained predictor of latencies as the signal; without one the guide's rules fall back to measured
latencies. Both are here: with `predictor` the signal is what this profile makes of a request that arrives now, which stands for a predictor
that is calibrated; without it, what was measured. How well the real predictor predicts could not be verified, nor Prometheus' interpolation
within histogram buckets; neither is modelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil, floor

from forebay.planning.work import EngineProfile
from forebay.simulation.law import Observation, Sample
from forebay.simulation.laws.behavior import Behavior, Rule
from forebay.simulation.laws.measured import arrivals_per_s, tokens_per_request
from forebay.simulation.score import Objective, quantile

UP = Rule(30.0, ((1.0, 4, 60.0),))
DOWN = Rule(180.0, ((0.0, 1, 120.0),))


class Llmd:
    """`up_at` and `down_at` are thresholds of the signal, `clamp` the most that one reading of it counts."""

    interval_s = 15.0

    def __init__(
        self,
        objective: Objective,
        predictor: EngineProfile | None = None,
        *,
        up_at: float = 0.55,
        down_at: float = 0.40,
        clamp: float = 2.0,
        rate_window_s: float = 60.0,
        smoothing_s: float = 45.0,
        share: float = 0.9,
    ) -> None:
        self._objective, self._predictor = objective, predictor
        self._up_at, self._down_at, self._clamp = up_at, down_at, clamp
        self._rate_window_s, self._share = rate_window_s, share
        self._signals: deque[float] = deque(maxlen=max(1, round(smoothing_s / self.interval_s)))
        self._behavior = Behavior(UP, DOWN)

    def decide(self, seen: Observation) -> int:
        self._signals.append(min(self._raw(seen), self._clamp))
        signal = sum(self._signals) / len(self._signals)
        wanted = self.desired(signal, seen.replicas, seen.ready)
        if self._behavior.within_tolerance(seen.replicas, wanted):
            wanted = seen.replicas
        return self._behavior.limited(seen.now, seen.replicas, wanted)

    def desired(self, signal: float, replicas: int, ready: int) -> int:
        """The guide's formula. What is under way is credited on the way up only."""
        if signal > self._up_at:
            credit = ready / replicas if 0 < ready < replicas else 1.0
            return replicas + ceil(replicas * (signal * credit / self._up_at - 1.0))
        if signal < self._down_at:
            return replicas - floor(replicas * (1.0 - signal / self._down_at))
        return replicas

    def _raw(self, seen: Observation) -> float:
        """P90 latency over its objective, the worse of both; 0 without traffic."""
        samples = seen.last(self._rate_window_s)
        if self._predictor is not None:
            predicted = [(s.arrived, *_predicted(s, samples, self._predictor)) for s in samples if s.arrived]
            firsts = sorted(first for arrived, first, _ in predicted for _ in range(arrived))
            per_token = sorted(each for arrived, _, each in predicted for _ in range(arrived))
        else:
            firsts = sorted(x for s in samples for x in s.first_token_s)
            per_token = sorted(x for s in samples for x in s.per_token_s)
        first, each = quantile(firsts, self._share), quantile(per_token, self._share)
        return max(first / self._objective.first_token_s, each / self._objective.per_token_s)


def _predicted(sample: Sample, recent: Sequence[Sample], engine: EngineProfile) -> tuple[float, float]:
    """Seconds to the first token and per token that a request has before it which arrives at the sample's end."""
    ready = max(1, sample.ready)
    shape = tokens_per_request(recent) or (sample.arrived_input_tokens / sample.arrived, 1.0)
    prompt_s = (engine.per_token_s + engine.per_kv_token_s) * shape[0]
    running, waiting = sample.running / ready, sample.waiting / ready
    step_s = engine.base_s + engine.per_token_s * running + engine.per_kv_token_s * sample.context_tokens / ready
    # Prompts of others take their share of the time in which tokens are made.
    busy = min(0.9, arrivals_per_s(recent) / ready * prompt_s)
    each_s = step_s / (1.0 - busy)
    room = engine.max_concurrency - running
    queued_s = max(0.0, waiting + 1.0 - room) * shape[1] * each_s / engine.max_concurrency
    return queued_s + step_s + prompt_s * (1.0 + min(waiting, room)), each_s

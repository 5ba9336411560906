"""NVIDIA Dynamo's planner, aggregated engines, both loops: a re-implementation.

Source: ai-dynamo/dynamo, components/src/dynamo/planner (core/throughput_scaling.py, core/load_scaling.py, core/load/predictors.py,
config/defaults.py, read 2026-11). Every 180 s the throughput loop forecasts the requests of the next interval and divides by what its
model of the engine says one replica holds within the objectives: a floor. Every 5 s the load loop estimates both latencies: one replica
more if either estimate is above its objective, one less if both would stay within 80 % of it with a replica fewer, and nothing while one
is starting. Forecasts are the last value or a Kalman filter of a local trend, with the planner's parameters (level 1, trend 0.1,
measurement 10).

Different here: the default of the version read is auto-ARIMA, for which the Kalman filter stands; its load loop is off by default and on
here; its regressions of forward passes are replaced by the declared profile, so they are never wrong; estimates are of a mean replica,
where the original asks whether all of them are above, or all below.
"""

from __future__ import annotations

from math import ceil
from typing import Protocol

from forebay.planning.work import EngineProfile
from forebay.simulation.law import Observation
from forebay.simulation.laws.capacity import most_rps
from forebay.simulation.laws.measured import tokens_per_request
from forebay.simulation.score import Objective


class Predictor(Protocol):
    """One value in, the next one out."""

    def following(self, value: float) -> float: ...


class Constant:
    """The next value is the last one."""

    def following(self, value: float) -> float:
        return value


class Kalman:
    """Level and trend of one series; the state and its covariance after each value, and one step ahead."""

    def __init__(self, level_noise: float = 1.0, trend_noise: float = 0.1, measurement_noise: float = 10.0) -> None:
        self._noise = level_noise, trend_noise, measurement_noise
        self._state: tuple[float, float] | None = None
        self._p = (1000.0, 0.0, 1000.0)
        """Variance of the level, covariance, variance of the trend: of the step that is expected next."""

    def following(self, value: float) -> float:
        q_level, q_trend, r = self._noise
        level, trend = self._state or (value, 0.0)
        if self._state is not None:
            a, b, c = self._p
            gain, gain_trend, off = a / (a + r), b / (a + r), value - level
            level, trend = level + gain * off, trend + gain_trend * off
            self._p = ((1 - gain) * a, (1 - gain) * b, c - gain_trend * b)
        a, b, c = self._p
        self._p = (a + 2 * b + c + q_level, b + c, c + q_trend)
        self._state = (level + trend, trend)
        return max(0.0, level + trend)


class Dynamo:
    """`sensitivity`: the share of an objective that latencies must stay within with a replica fewer; `cache_tokens`: a replica's cache."""

    interval_s = 5.0

    def __init__(
        self,
        engine: EngineProfile,
        objective: Objective,
        cache_tokens: float,
        predictor: Predictor | None = None,
        *,
        adjustment_s: float = 180.0,
        sensitivity: float = 0.8,
    ) -> None:
        self._engine, self._objective, self._cache_tokens = engine, objective, cache_tokens
        self._predictor = predictor or Kalman()
        self._adjustment_s, self._sensitivity = adjustment_s, sensitivity
        self._floor, self._adjust_at = 1, adjustment_s
        self._shape: tuple[float, float] | None = None

    def decide(self, seen: Observation) -> int:
        self._shape = tokens_per_request(seen.last(self._adjustment_s)) or self._shape
        if seen.now >= self._adjust_at - 1e-9:
            self._adjust_at = seen.now + self._adjustment_s
            self._adjust(seen)
        # The floor is applied by the load loop, which only observes while a replica starts.
        if seen.starting or not seen.ready or self._shape is None or not seen.samples:
            return seen.replicas
        return max(self._floor, self._by_load(seen, *self._shape))

    def _adjust(self, seen: Observation) -> None:
        """The throughput loop."""
        arrived = sum(s.arrived for s in seen.last(self._adjustment_s))
        expected = self._predictor.following(arrived) / self._adjustment_s
        each = most_rps(self._engine, *self._shape, self._objective) if self._shape else 0.0
        if each > 0:
            self._floor = max(1, ceil(expected / each))

    def _by_load(self, seen: Observation, inputs: float, outputs: float) -> int:
        now, ready = seen.samples[-1], seen.ready
        context, queued = now.context_tokens / ready, now.waiting / ready * inputs
        if self._first_s(queued, context, inputs) > self._objective.first_token_s or self._each_s(context) > self._objective.per_token_s:
            return ready + 1
        if ready > 1 and self._fewer_do(queued, context, inputs, ready / (ready - 1)):
            return ready - 1
        return ready

    def _fewer_do(self, queued: float, context: float, inputs: float, times: float) -> bool:
        after, left = context * times, (context + queued) * times
        own_s = self._first_s(0.0, after, inputs)
        budget_s = (self._objective.first_token_s - own_s) * self._sensitivity
        waits_s = self._first_s(queued * times, after, inputs) - own_s
        return 0 < budget_s > waits_s and left < self._cache_tokens and self._each_s(left) < self._objective.per_token_s * self._sensitivity

    def _first_s(self, queued: float, context: float, inputs: float) -> float:
        """Seconds until a prompt is computed behind so many tokens of others."""
        engine = self._engine
        return self._each_s(context) + (engine.per_token_s + engine.per_kv_token_s) * (queued + inputs)

    def _each_s(self, context: float) -> float:
        """Seconds of a step that only decodes, with so many tokens of context."""
        engine = self._engine
        mean = sum(self._shape) - self._shape[1] / 2.0 if self._shape else 1.0
        return engine.base_s + engine.per_token_s * context / max(mean, 1.0) + engine.per_kv_token_s * context

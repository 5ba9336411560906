"""What the simulator measures, under the names that vLLM uses, so that whatever reads vLLM's metrics reads these.

Counts are plain numbers that the engine adds to; they become Prometheus text only when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from forebay.engines.sim.engine import Engine

_FIRST_TOKEN_S = (
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)
)  # fmt: skip
_BETWEEN_TOKENS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_KV_TOKENS_PER_PLACE = 2048
"""The cache's size for `kv_cache_usage_perc`: so many tokens for each request that may run. Nothing depends on it."""


class Histogram:
    """Counts by upper bound. Takes many equal observations at once, for a step gives one to each of its requests."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def family(self, name: str, help: str, model: str) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, help, labels=["model_name"])
        seen = 0
        buckets = []
        for bound, count in zip((*self._bounds, inf), self._counts, strict=True):
            seen += count
            buckets.append((str(bound) if bound != inf else "+Inf", seen))
        family.add_metric([model], buckets, self._sum)
        return family


class Measurements:
    """Totals since the start; times in seconds."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.succeeded = {"stop": 0, "length": 0}
        self.time_to_first_token = Histogram(_FIRST_TOKEN_S)
        self.inter_token_latency = Histogram(_BETWEEN_TOKENS_S)


class _Exposed(Collector):
    def __init__(self, engine: Engine, model: str) -> None:
        self._engine = engine
        self._model = model

    def collect(self) -> Iterator[Metric]:
        engine, measured = self._engine, self._engine.measured
        held = engine.batch.context / (engine.profile.max_concurrency * _KV_TOKENS_PER_PLACE)
        yield self._gauge("vllm:num_requests_running", "Requests in the batch.", len(engine.batch.running) + engine.embedding_running)
        yield self._gauge("vllm:num_requests_waiting", "Requests in the queue.", len(engine.batch.waiting) + engine.embedding_waiting)
        yield self._gauge("vllm:kv_cache_usage_perc", "Share of the simulated cache in use, 0 to 1.", min(1.0, held))
        yield self._counter("vllm:prompt_tokens", "Prompt tokens of admitted requests.", measured.prompt_tokens)
        yield self._counter("vllm:generation_tokens", "Tokens generated.", measured.generation_tokens)
        succeeded = CounterMetricFamily("vllm:request_success", "Requests that were finished.", labels=["model_name", "finished_reason"])
        for reason, count in measured.succeeded.items():
            succeeded.add_metric([self._model, reason], count)
        yield succeeded
        first, between = measured.time_to_first_token, measured.inter_token_latency
        yield first.family("vllm:time_to_first_token_seconds", "From a request's arrival to its first token.", self._model)
        yield between.family("vllm:inter_token_latency_seconds", "From one token of a request to its next.", self._model)

    def _gauge(self, name: str, help: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, help, labels=["model_name"])
        family.add_metric([self._model], value)
        return family

    def _counter(self, name: str, help: str, value: float) -> Metric:
        family = CounterMetricFamily(name, help, labels=["model_name"])
        family.add_metric([self._model], value)
        return family


def registry(engine: Engine, model: str) -> CollectorRegistry:
    """A registry that shows this engine alone."""
    registry = CollectorRegistry()
    registry.register(_Exposed(engine, model))
    return registry

"""Everything the sidecar measures, defined once. docs/metrics.md is generated from this registry.

Label values come from the configuration and from the closed lists here, so that no request can make a new series. Children are bound
when a class appears: looking a child up by its labels costs more than counting.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from forebay.dataplane.sidecar.config import OBJECTIVES
from forebay.dataplane.sidecar.prompting import PromptCounts
from forebay.dataplane.sidecar.steps import Steps

# About a fifth to two fifths apart: a p95 read off neighbouring buckets is that exact.
SECONDS = (
    *(0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.25, 1.5),
    *(2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 10.0, 12.5, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0),
)
TOKEN_SECONDS = (0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, *SECONDS[2:23])
WAIT_SECONDS = (0.001, 0.0025, *SECONDS)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

# What an engine said longer ago than three scrapes is not known any more.
ENGINE_STALE_S = 15.0


class Outcome(StrEnum):
    """How a request ended."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    REJECTED_FULL = "rejected_full"
    REJECTED_WAIT = "rejected_wait"
    REJECTED_DRAINING = "rejected_draining"
    ENGINE_ERROR = "engine_error"
    CANCELLED = "cancelled"
    BROKEN_STREAM = "broken_stream"


ENGINE_GAUGES = {
    "forebay_engine_requests_waiting": "Requests that the engine itself holds back, from its own metrics.",
    "forebay_engine_requests_running": "Requests that the engine works on, from its own metrics.",
    "forebay_engine_kv_cache_usage_ratio": "Share of the engine's KV cache in use, from its own metrics.",
}


class EngineGauges(Collector):
    """What the engine says of itself. What it does not say, or has not said lately, is no series: absent is not zero."""

    def __init__(self) -> None:
        self._values: Mapping[str, float] = {}
        self._at = 0.0

    def set(self, values: Mapping[str, float]) -> None:
        """Takes one scrape, by the names of ENGINE_GAUGES."""
        self._values = values
        self._at = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        fresh = time.monotonic() - self._at <= ENGINE_STALE_S
        for name, help_text in ENGINE_GAUGES.items():
            if fresh and name in self._values:
                yield GaugeMetricFamily(name, help_text, value=self._values[name])

    def describe(self) -> Iterator[Metric]:
        for name, help_text in ENGINE_GAUGES.items():
            yield GaugeMetricFamily(name, help_text)


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """The children of one class."""

    arrivals: Counter
    arrived_tokens: Counter
    outcomes: Mapping[Outcome, Counter]
    input_tokens: Counter
    output_tokens: Counter
    input_tokens_squared: Counter
    output_tokens_squared: Counter
    usage_missing: Counter
    queue_depth: Gauge
    in_flight: Gauge
    queue_wait: Histogram
    time_to_first_token: Histogram
    time_per_output_token: Histogram
    duration: Histogram
    objectives: Mapping[tuple[str, bool], Counter]


class Metrics:
    """The sidecar's registry and what is in it."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.engine = EngineGauges()
        self.steps = Steps()
        self.prompts = PromptCounts()
        self.registry.register(self.engine)
        self.registry.register(self.steps)
        self.registry.register(self.prompts)
        self._classes: dict[str, ClassMetrics] = {}
        self._define_counts()
        self._define_times()
        self.concurrency_limit = Gauge(
            "forebay_sidecar_concurrency_limit",
            "Most requests that the engine is given at once; with task Embeddings, most inputs of one batch.",
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "forebay_sidecar_batch_size",
            "Requests in the engine when one more was given to it; with task Embeddings, inputs of one batch.",
            registry=self.registry,
            buckets=SIZES,
        )
        self._config_info = Gauge(
            "forebay_sidecar_config_info", "1, with the hash of the configuration in force.", ("hash",), registry=self.registry
        )

    def _define_counts(self) -> None:
        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"forebay_sidecar_{name}", help_text, ("batch_class", *labels), registry=self.registry)

        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(f"forebay_sidecar_{name}", help_text, ("batch_class",), registry=self.registry)

        self._arrivals = counter("arrivals", "Requests that arrived, whatever became of them.")
        self._arrived_tokens = counter(
            "arrived_input_tokens",
            "Tokens of prompts that arrived, estimated by their bytes: what is asked for before anything is answered.",
        )
        self._requests = counter("requests", "Requests that ended, by how.", "outcome")
        self._tokens = counter("tokens", "Tokens that the engine reported in its usage.", "token_type")
        self._tokens_squared = counter(
            "tokens_squared", "Squares of the tokens that each usage reported: they say how unequal requests are.", "token_type"
        )
        self._usage_missing = counter("usage_missing", "Answers whose engine reported no usage: their tokens are not counted.")
        self._objectives = counter("objective", "Requests by whether they met an objective of their class.", "objective", "met")
        self._queue_depth = gauge("queue_depth", "Requests that wait.")
        self._in_flight = gauge("in_flight", "Requests that the engine has.")

    def _define_times(self) -> None:
        def histogram(name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"{name}_seconds", help_text, ("batch_class",), registry=self.registry, buckets=buckets)

        self._queue_wait = histogram("forebay_sidecar_queue_wait", "Time from arrival until the engine got the request.", WAIT_SECONDS)
        self._first_token = histogram(
            "gen_ai_server_time_to_first_token",
            "Time from arrival at the sidecar to the first token of a streamed answer, or to the whole answer of an embedding.",
            SECONDS,
        )
        self._per_token = histogram(
            "gen_ai_server_time_per_output_token",
            "Mean time between the tokens of one answer; for one that is not streamed, its time in the engine over its tokens.",
            TOKEN_SECONDS,
        )
        self._duration = histogram(
            "gen_ai_server_request_duration", "Time from arrival at the sidecar to the last byte of the answer.", SECONDS
        )

    def of_class(self, name: str) -> ClassMetrics:
        """The children of a class of the configuration."""
        found = self._classes.get(name)
        if found is None:
            found = self._classes[name] = self._bind(name)
        return found

    def _bind(self, name: str) -> ClassMetrics:
        return ClassMetrics(
            arrivals=self._arrivals.labels(name),
            arrived_tokens=self._arrived_tokens.labels(name),
            outcomes={outcome: self._requests.labels(name, outcome.value) for outcome in Outcome},
            input_tokens=self._tokens.labels(name, "input"),
            output_tokens=self._tokens.labels(name, "output"),
            input_tokens_squared=self._tokens_squared.labels(name, "input"),
            output_tokens_squared=self._tokens_squared.labels(name, "output"),
            usage_missing=self._usage_missing.labels(name),
            queue_depth=self._queue_depth.labels(name),
            in_flight=self._in_flight.labels(name),
            queue_wait=self._queue_wait.labels(name),
            time_to_first_token=self._first_token.labels(name),
            time_per_output_token=self._per_token.labels(name),
            duration=self._duration.labels(name),
            objectives={
                (objective, met): self._objectives.labels(name, objective, "true" if met else "false")
                for objective in OBJECTIVES
                for met in (True, False)
            },
        )

    def config_in_force(self, digest: str) -> None:
        """Says which configuration is in force."""
        self._config_info.clear()
        self._config_info.labels(digest).set(1)

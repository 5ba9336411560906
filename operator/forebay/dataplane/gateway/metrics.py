"""What the gateway measures. Every label's value comes from the configuration or from a fixed list, so their number is bounded."""

from __future__ import annotations

from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

# Buckets of the OpenTelemetry GenAI conventions.
_DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_CHUNK_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_GEN_AI = ("gen_ai_operation_name", "gen_ai_request_model", "batch_class")

REQUESTS = Counter(
    "forebay_gateway_requests_total",
    "Requests answered, by tenant, class, pool and HTTP status; 499 is a client that hung up first. Empty where it was not known yet.",
    ("tenant", "batch_class", "pool", "code"),
    registry=REGISTRY,
)
LOST = Counter(
    "forebay_gateway_lost_total",
    "Requests accepted and not finished: a stream without its end, or a 5xx other than 503.",
    ("tenant", "batch_class", "pool"),
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("forebay_gateway_in_flight", "Requests being answered now.", registry=REGISTRY)
CACHE = Counter(
    "forebay_gateway_cache_total",
    "What the exact cache did: hit, miss, collapsed (joined an identical request under way), bypass, and stored besides.",
    ("result",),
    registry=REGISTRY,
)
CACHE_BYTES = Gauge("forebay_gateway_cache_bytes", "Memory held by cached answers.", registry=REGISTRY)
RETRIES = Counter("forebay_gateway_retries_total", "Attempts beyond the first, by the failure before.", ("reason",), registry=REGISTRY)
NO_ENDPOINT = Counter("forebay_gateway_no_endpoint_total", "Requests for which a pool had no replica.", ("pool",), registry=REGISTRY)
HELD = Gauge("forebay_gateway_held", "Requests that wait for a pool's first replica.", ("pool",), registry=REGISTRY)
HOLDS = Counter(
    "forebay_gateway_holds_total",
    "Requests that were to wait for a pool's first replica, by how that ended: released, timed_out, gone (the client), full, shutdown.",
    ("pool", "result"),
    registry=REGISTRY,
)
ENDPOINTS = Gauge("forebay_gateway_endpoints", "Ready replicas known, by pool.", ("pool",), registry=REGISTRY)
DURATION = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "From a request's arrival to the end of its answer, cached answers included.",
    _GEN_AI,
    buckets=_DURATION_S,
    registry=REGISTRY,
)
FIRST_CHUNK = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "From a request's arrival to the first piece of its stream.",
    _GEN_AI,
    buckets=_FIRST_CHUNK_S,
    registry=REGISTRY,
)
DECISIONS_DROPPED = Counter(
    "forebay_gateway_decisions_dropped_total",
    "Decision records not written: writing was too slow or failed.",
    registry=REGISTRY,
)
CONFIG = Gauge("forebay_gateway_config_info", "1 for the hash of the configuration in force.", ("hash",), registry=REGISTRY)
CONFIG_REFUSED = Counter("forebay_gateway_config_refused_total", "Configurations refused; the last good one stayed.", registry=REGISTRY)


T = TypeVar("T", Counter, Histogram)


class Children(Generic[T]):
    """A metric's children by label values: looking one up here is several times cheaper than through the client library."""

    __slots__ = ("_known", "_metric")

    def __init__(self, metric: T) -> None:
        self._metric: T = metric
        self._known: dict[tuple[str, ...], T] = {}

    def of(self, *values: str) -> T:
        child = self._known.get(values)
        if child is None:
            child = self._known[values] = self._metric.labels(*values)
        return child

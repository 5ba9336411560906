"""The operator's own metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

RECONCILES = Counter(
    "forebay_operator_reconcile", "Rounds of work, by what was worked on and how it ended.", ["what", "result"], registry=REGISTRY
)
SECONDS = Histogram(
    "forebay_operator_reconcile_seconds",
    "Time of one round of work.",
    ["what"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
QUEUED = Gauge("forebay_operator_queue_depth", "Keys that wait to be worked on.", registry=REGISTRY)
LEADER = Gauge("forebay_operator_leader", "1 on the replica that holds the lease and acts.", registry=REGISTRY)


def reconciled(what: str, result: str, seconds: float, queued: int) -> None:
    RECONCILES.labels(what, result).inc()
    SECONDS.labels(what).observe(seconds)
    QUEUED.set(queued)

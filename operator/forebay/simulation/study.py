"""What a folder of resources would have done with a workload: one pool's operator, its fleet and what came of it, as one document."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf
from typing import Any

from forebay.adapters.cluster import Object
from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import Task
from forebay.planning.limits import replicas_per_node
from forebay.planning.target import promises
from forebay.planning.variants import engine_profile
from forebay.planning.work import Metric
from forebay.reconcile.held import EVERY_S
from forebay.runtime.errors import ForebayError
from forebay.simulation.batches import BatchingReplica
from forebay.simulation.fleet import Fleet
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request
from forebay.simulation.run import Outcome, Run, Setup
from forebay.simulation.score import quantile

Document = dict[str, Any]

BUCKETS = 240
"""Points in time of the document's timeline, at most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is simulated. Start times are drawn around `start_s`: `start_spread` is their coefficient of variation."""

    objects: tuple[Object, ...]
    namespace: str
    pool: str
    start_s: float = 110.0
    start_spread: float = 0.0
    interval_s: float = 15.0
    seed: int = 1


def study(asked: Asked, workload: Iterable[Request], progress: Callable[[float, int], None] = lambda at_s, requests: None) -> Document:
    """Runs the pool's operator over the workload; `progress` hears the virtual time and the number of requests now and then.

    Raises:
        ForebayError: the pool cannot be simulated, or the workload has a class that it does not serve.
    """
    operator = SimulatedOperator(asked.objects, asked.namespace, asked.pool, asked.interval_s, asked.start_s)
    try:
        profiles = {name: engine_profile(operator.spec, v.profile) for name, v in operator.variants().items() if v.profile}
        if not profiles:
            raise ForebayError(f"pool {asked.namespace}/{asked.pool} has no profile of a listed accelerator: there is no speed to simulate")
        fleet = Fleet(profiles, starts(asked), operator.counts(), replicas_of(operator))
        operator.attach(fleet)
        bounds = operator.spec.scaling
        first = next(iter(profiles.values()))
        setup = Setup(
            first, asked.start_s, bounds.min_replicas, bounds.max_replicas, 0,
            sample_s=min(5.0, asked.interval_s), by_class=True, wake_s=inf if bounds.min_replicas else EVERY_S,
        )  # fmt: skip
        outcome = Run(setup, operator, fleet).through(watched(workload, operator, progress))
        return _document(asked, operator, outcome)
    finally:
        operator.close()


def replicas_of(operator: SimulatedOperator) -> Callable[..., Replica]:
    """What makes the pool's replicas: for embeddings the sidecar forms batches, a language model's server batches by itself."""
    if operator.spec.model.task is not Task.EMBEDDINGS:
        return Replica
    return partial(BatchingReplica, batching={name: spec.batching for name, spec in operator.classes().items()})


def starts(asked: Asked) -> Callable[[str], float]:
    """How long the next replica takes to start, drawn by the seed."""
    chance = random.Random(asked.seed)
    if asked.start_spread <= 0.0:
        return lambda _: asked.start_s
    shape = 1.0 / asked.start_spread**2
    return lambda _: max(0.001, asked.start_s * chance.gammavariate(shape, 1.0 / shape))


def watched(workload: Iterable[Request], operator: SimulatedOperator, progress: Callable[[float, int], None]) -> Iterator[Request]:
    """The workload with the waits of its classes. Raises ForebayError for a class that the pool does not serve."""
    served = operator.spec.classes
    max_wait_s = {name: spec.queue.max_wait for name, spec in operator.classes().items()}
    for number, request in enumerate(workload):
        if request.batch_class not in served:
            raise ForebayError(
                f"request {number + 1} of the workload is of class {request.batch_class!r}, and the pool serves"
                f" {', '.join(sorted(served)) or 'none'}: correct it, or say --class"
            )
        request.gives_up_at = request.arrived + max_wait_s.get(request.batch_class, inf)
        if number % 2000 == 0:
            progress(request.arrived, number)
        yield request


def _document(asked: Asked, operator: SimulatedOperator, outcome: Outcome) -> Document:
    answered = max(1, len(outcome.arrived))
    hours = {name: seconds / 3600.0 for name, seconds in sorted(outcome.paid_s.items())}
    usd = {name: usd_of(operator, name, count) for name, count in hours.items()}
    return {
        "schemaVersion": 1,
        "pool": f"{asked.namespace}/{asked.pool}",
        "seed": asked.seed,
        "startSeconds": asked.start_s,
        "seconds": round(outcome.span_s, 3),
        "requests": {"answered": len(outcome.arrived), "refused": outcome.refused, "lost": outcome.lost},
        "meanTokens": {"input": round(outcome.input_tokens / answered, 2), "output": round(outcome.output_tokens / answered, 2)},
        "objectives": [row for name, spec in sorted(operator.classes().items()) for row in objectives(name, spec, outcome)],
        "replicas": {
            "mean": round(outcome.replicas_mean, 4),
            "most": max((n for _, _, n in outcome.replicas), default=0),
            "hours": {name: round(count, 4) for name, count in hours.items()},
        },
        "usd": None if any(v is None for v in usd.values()) else round(sum(v or 0.0 for v in usd.values()), 4),
        "timeline": _timeline(outcome),
        "decisions": _changes(operator.decisions.records),
        "conditions": operator.status().get("conditions", []),
    }


def usd_of(operator: SimulatedOperator, name: str, hours: float) -> float | None:
    """A replica's share of its node, whose price is the pool's; None where that has none."""
    variant = operator.variants()[name]
    price = variant.usd_per_node_hour
    return None if price is None else hours * price / max(1, replicas_per_node(operator.spec, variant))


def _of_metric(outcome: Outcome, metric: Metric) -> Iterable[float]:
    return {
        "timeToFirstToken": outcome.first_token_s,
        "interTokenLatency": outcome.per_token_s,
        "endToEnd": outcome.end_to_end_s,
    }[metric]


def objectives(name: str, spec: BatchClassSpec, outcome: Outcome) -> list[Document]:
    """What became of each promise of a class; nothing where none of its requests came."""
    if name not in outcome.class_names:
        return []
    number = outcome.class_names.index(name)
    rows = []
    for promise in promises(spec):
        values = sorted(v for v, c in zip(_of_metric(outcome, promise.metric), outcome.classes, strict=True) if c == number)
        within = sum(v <= promise.target_s for v in values) / max(1, len(values) + outcome.refused_of.get(name, 0))
        rows.append(
            {
                "class": name,
                "objective": promise.metric,
                "quantile": promise.quantile,
                "targetSeconds": promise.target_s,
                "attainment": round(within, 6),
                "seconds": {f"p{100 * q:g}": round(quantile(values, q), 6) for q in sorted({0.5, 0.95, 0.99, promise.quantile})},
                "met": within >= promise.quantile,
            }
        )
    return rows


def _timeline(outcome: Outcome) -> list[Document]:
    """At most BUCKETS spans of time: what arrived, which replicas there were, how long first tokens took."""
    span_s = max(outcome.span_s / BUCKETS, 1.0)
    order = sorted(range(len(outcome.arrived)), key=outcome.arrived.__getitem__)
    times = [outcome.arrived[i] for i in order]
    moments = [t for t, _, _ in outcome.replicas]
    rows = []
    edges = [i * span_s for i in range(int(outcome.span_s / span_s) + 1)]
    for start, end in pairwise(edges):
        low, high = bisect_left(times, start), bisect_left(times, end)
        firsts = sorted(outcome.first_token_s[i] for i in order[low:high])
        a, b = bisect_left(moments, start), bisect_left(moments, end)
        at = outcome.replicas[a:b] or outcome.replicas[max(0, a - 1) : a]
        rows.append(
            {
                "at": round(start, 3),
                "requestsPerSecond": round((high - low) / span_s, 4),
                "ready": round(sum(r for _, r, _ in at) / max(1, len(at)), 3),
                "replicas": round(sum(n for _, _, n in at) / max(1, len(at)), 3),
                "p50Seconds": round(quantile(firsts, 0.5), 6) if firsts else None,
                "p99Seconds": round(quantile(firsts, 0.99), 6) if firsts else None,
            }
        )
    return rows


def _changes(records: Iterable[Document]) -> list[Document]:
    """The decisions that changed a count, with the sentences that led to them."""
    rows: list[Document] = []
    for record in records:
        replicas = record["plan"]["replicas"]
        if not rows or rows[-1]["replicas"] != replicas:
            rows.append({"time": record["time"], "replicas": replicas, "why": record["plan"]["why"]})
    return rows

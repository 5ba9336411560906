"""The figures of a simulated run, as a study's document has them: requests, promises, tenants, dollars, and what stood against the pool."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from math import ceil
from typing import Any

from forebay.api.batch_class import BatchClassSpec
from forebay.planning.limits import bill
from forebay.planning.target import promises
from forebay.planning.variants import Variant
from forebay.planning.work import Metric
from forebay.simulation.course import Course
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.outcome import Outcome
from forebay.simulation.run import INTERRUPTED, LOST, STUCK
from forebay.simulation.timeline import Price

Document = dict[str, Any]

MOST_EVENTS = 500
"""Of what befell replicas the last so many are listed."""

TENANTS_SHOWN = 50
"""Tenants that are listed, those with most requests."""


def problems_of(course: Course) -> list[Document]:
    """What stood against the pool, in which share of its decisions, and what was said of it last."""
    found = sorted(course.problems.items(), key=lambda item: -item[1][0])
    return [
        {"type": type_, "reason": reason, "share": round(rounds / course.rounds, 4), "message": message}
        for (type_, reason), (rounds, message) in found
    ]


def usd_of(operator: SimulatedOperator, name: str, counts_s: Mapping[int, float]) -> float | None:
    """What a variant cost, of which there were so many replicas for so many seconds: as its limits count it; None without a price."""
    usd_per_hour = prices_of(operator)[name].usd_per_hour
    spent = [(usd_per_hour(count), seconds) for count, seconds in counts_s.items()]
    return None if any(usd is None for usd, _ in spent) else sum((usd or 0.0) * seconds / 3600.0 for usd, seconds in spent)


def prices_of(operator: SimulatedOperator) -> dict[str, Price]:
    """By variant: its kind of node, and what so many replicas cost: whole nodes where they are made for the pool."""
    spec = operator.spec

    def price_of(variant: Variant) -> Price:
        return Price(variant.capacity_type, cache(lambda count: bill(spec, variant, count).usd_per_hour))

    return {name: price_of(variant) for name, variant in operator.variants().items()}


def _of_metric(outcome: Outcome, metric: Metric) -> Iterable[float]:
    return {
        "timeToFirstToken": outcome.first_token_s,
        "interTokenLatency": outcome.per_token_s,
        "endToEnd": outcome.end_to_end_s,
    }[metric]


def objectives(name: str, spec: BatchClassSpec, outcome: Outcome) -> list[Document]:
    """What became of each promise of a class; nothing where none of its requests came. Refused and lost ones have missed it."""
    missed = outcome.refused_of.get(name, 0) + outcome.lost_of.get(name, 0)
    if name not in outcome.class_names and not missed:
        return []
    number = outcome.class_names.index(name) if name in outcome.class_names else -1
    rows = []
    for promise in promises(spec):
        values = sorted(v for v, c in zip(_of_metric(outcome, promise.metric), outcome.classes, strict=True) if c == number)
        within = bisect_right(values, promise.target_s) / max(1, len(values) + missed)
        rows.append(
            {
                "class": name,
                "objective": promise.metric,
                "quantile": promise.quantile,
                "targetSeconds": promise.target_s,
                "attainment": round(within, 6),
                "seconds": {f"p{100 * q:g}": _known(values, q) for q in sorted({0.5, 0.95, 0.99, promise.quantile})},
                "met": within >= promise.quantile,
            }
        )
    return rows


def _known(ordered: list[float], q: float) -> float | None:
    """The least value that a share q of what was answered is within; None where nothing was.

    It is within a target just when the promise is held, where all were answered: 19 of 20 hold a p95.
    """
    return round(ordered[max(0, ceil(q * len(ordered) - 1e-9) - 1)], 6) if ordered else None


def requests_of(outcome: Outcome) -> Document:
    """What became of the requests: each was answered whole, refused, or lost. Some were tried twice."""
    return {"answered": len(outcome.arrived), "refused": outcome.refused, "lost": outcome.lost, "retried": outcome.retried}


def classes_of(operator: SimulatedOperator, outcome: Outcome) -> list[Document]:
    """The same by class, the highest priority first."""
    known = sorted(operator.classes().items(), key=lambda item: (-item[1].priority, item[0]))
    answered = {name: outcome.classes.count(number) for number, name in enumerate(outcome.class_names)}
    return [
        {
            "name": name,
            "priority": spec.priority,
            "answered": answered.get(name, 0),
            "refused": outcome.refused_of.get(name, 0),
            "lost": outcome.lost_of.get(name, 0),
        }
        for name, spec in known
    ]


def events_of(outcome: Outcome) -> Document:
    """What befell replicas: how many of each, and the last of them."""
    counts = Counter(what for _, what, _ in outcome.happened)
    listed = [{"at": round(at, 3), "what": what, "replica": name} for at, what, name in outcome.happened[-MOST_EVENTS:]]
    return {"interrupted": counts[INTERRUPTED], "lost": counts[LOST], "stuck": counts[STUCK], "listed": listed}


def tenants_of(outcome: Outcome, classes: Mapping[str, BatchClassSpec]) -> list[Document]:
    """What became of each tenant's requests, of those with most of them; nothing where the workload names none.

    Attainment is the share of all its requests that kept everything their class is promised.
    """
    tenants = outcome.of_tenants
    if not set(tenants.numbers) - {""}:
        return []
    answered, kept = [0] * len(tenants.numbers), [0] * len(tenants.numbers)
    for number, met in zip(outcome.tenants, _kept(outcome, classes), strict=True):
        answered[number] += 1
        kept[number] += met
    rows: list[Document] = [
        {
            "name": name,
            "answered": answered[i],
            "refused": tenants.refused[i],
            "lost": tenants.lost[i],
            "inputTokens": tenants.input_tokens[i],
            "outputTokens": tenants.output_tokens[i],
            "attainment": round(kept[i] / max(1, answered[i] + tenants.refused[i] + tenants.lost[i]), 6),
        }
        for name, i in tenants.numbers.items()
    ]
    return sorted(rows, key=_most_requests)[:TENANTS_SHOWN]


def _most_requests(row: Document) -> tuple[int, str]:
    return -row["answered"] - row["refused"] - row["lost"], row["name"]


def _kept(outcome: Outcome, classes: Mapping[str, BatchClassSpec]) -> Iterator[bool]:
    """Of each request that was answered: whether it kept all that its class is promised."""
    owed = [promises(classes[name]) if name in classes else () for name in outcome.class_names]
    for first_s, per_token_s, whole_s, number in zip(
        outcome.first_token_s, outcome.per_token_s, outcome.end_to_end_s, outcome.classes, strict=True
    ):
        took_s = {"timeToFirstToken": first_s, "interTokenLatency": per_token_s, "endToEnd": whole_s}
        yield all(took_s[promise.metric] <= promise.target_s for promise in owed[number])

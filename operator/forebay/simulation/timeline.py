"""A run over time, in spans: what arrived, which replicas there were, what they cost, and how long first tokens took."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forebay.simulation.course import Course
from forebay.simulation.outcome import Outcome
from forebay.simulation.score import quantile

Document = dict[str, Any]

BUCKETS = 240
"""Spans, at most."""


@dataclass(frozen=True, slots=True)
class Price:
    """A variant's kind of node, and dollars per hour of so many replicas, None where it has no price."""

    kind: str
    usd_per_hour: Callable[[int], float | None]


def timeline(outcome: Outcome, course: Course, prices: Mapping[str, Price], one_holds: float) -> list[Document]:
    """The spans in order. `one_holds` prompt tokens/s are what one replica holds: demand and forecasts are told in replicas by it."""
    # Shorter ones than samples are apart would be empty, and told as no replica and no request.
    span_s = max(outcome.span_s / BUCKETS, outcome.sample_s)
    count = max(1, int(outcome.span_s / span_s + 1e-9))
    firsts = _by_span(outcome, span_s, count)
    # A sample is of the time before it.
    samples = _spans([at - outcome.sample_s / 2.0 for at, _, _ in outcome.replicas], span_s, count)
    forecasts = _spans(course.forecast_for, span_s, count)
    return [
        {
            "at": round(i * span_s, 3),
            **_fleet(outcome, samples[i], prices),
            **_demand(outcome, samples[i], one_holds),
            "forecast": round(_mean(course.expected, forecasts[i]) / one_holds, 3) if forecasts[i] and one_holds else None,
            "forecastUpper": round(_mean(course.bound, forecasts[i]) / one_holds, 3) if forecasts[i] and one_holds else None,
            "classes": {name: _latency(values) for name, values in sorted(firsts[i].items())},
        }
        for i in range(count)
    ]


def _by_span(outcome: Outcome, span_s: float, count: int) -> list[dict[str, array[float]]]:
    """Times to first token by span of arrival and by class."""
    found: list[dict[str, array[float]]] = [{} for _ in range(count)]
    names = outcome.class_names
    for at, first_s, number in zip(outcome.arrived, outcome.first_token_s, outcome.classes, strict=True):
        if (i := int(at / span_s)) < count:
            found[i].setdefault(names[number], array("d")).append(first_s)
    return found


def _spans(times: Sequence[float], span_s: float, count: int) -> list[list[int]]:
    """Which entries of a series lie in which span."""
    found: list[list[int]] = [[] for _ in range(count)]
    for index, at in enumerate(times):
        if 0 <= (i := int(at / span_s)) < count:
            found[i].append(index)
    return found


def _mean(values: Sequence[float], indices: Sequence[int]) -> float:
    return sum(values[i] for i in indices) / max(1, len(indices))


def _mean_of(values: Sequence[float | None]) -> float:
    return sum(value or 0.0 for value in values) / max(1, len(values))


def _fleet(outcome: Outcome, indices: Sequence[int], prices: Mapping[str, Price]) -> Document:
    at = [outcome.replicas[i] for i in indices]
    usd: dict[str, float | None] = {}
    for variant, counts in outcome.billed.items():
        price = prices[variant]
        spent, before = [price.usd_per_hour(counts[i]) for i in indices], usd.get(price.kind, 0.0)
        # Unknown is what costs something and has no price.
        usd[price.kind] = None if before is None or None in spent else round(before + _mean_of(spent), 4)
    return {
        "ready": round(sum(ready for _, ready, _ in at) / max(1, len(at)), 3),
        "replicas": round(sum(there for _, _, there in at) / max(1, len(at)), 3),
        "usdPerHour": usd,
    }


def _demand(outcome: Outcome, indices: Sequence[int], one_holds: float) -> Document:
    tokens_s = sum(outcome.arrived_tokens[i] for i in indices) / max(1e-9, outcome.sample_s * len(indices))
    return {
        "requestsPerSecond": round(sum(outcome.arrivals[i] for i in indices) / max(1e-9, outcome.sample_s * len(indices)), 4),
        "inputTokensPerSecond": round(tokens_s, 2),
        "demand": round(tokens_s / one_holds, 3) if one_holds else None,
    }


def _latency(values: Sequence[float]) -> Document:
    ordered = sorted(values)
    return {"answered": len(ordered), "p50Seconds": round(quantile(ordered, 0.5), 6), "p99Seconds": round(quantile(ordered, 0.99), 6)}

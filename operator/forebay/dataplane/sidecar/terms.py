"""Sums that are told together: one counter with a label for each of them."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.metrics_core import CounterMetricFamily, Metric


def of_terms(name: str, help_text: str, terms: Sequence[str] = (), sums: Sequence[float] = ()) -> Metric:
    """The counter, with the sums in the order of their terms; without any, what it is."""
    family = CounterMetricFamily(name, help_text, labels=["term"])
    for term, value in zip(terms, sums, strict=True):
        family.add_metric([term], value)
    return family

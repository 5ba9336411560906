"""What is said where a store of metrics answers with more replicas than a pool has."""

from __future__ import annotations

from forebay.planning.measured import Demand

_REMEDY = (
    "another cluster's, or of pods that are gone; name this cluster's label in --prometheus-matchers (chart: operator.prometheusMatchers)"
)


def strange(demand: Demand) -> str:
    """Whose series were left out, or why nothing is believed."""
    if demand.told_apart:
        return f"series of {demand.strangers} pods that are not the pool's were left out, and no history is read: {_REMEDY}"
    several = demand.replicas_reporting + demand.strangers
    return f"{several} replicas report as the pool's, more than it has: they may be {_REMEDY}. The pool is held and never shrunk"

"""Classes without an objective share a pool with those that have one: they fill what is left, and have their time for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.planning.builders import NOW, a_class, a_snapshot, a_spec, running, settled

from forebay.planning.demand import loads
from forebay.planning.measured import ClassDemand, Demand
from forebay.planning.memory import Clumping, DemandPoint, Shape
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot

SHAPES = {name: Shape(input_tokens=200, output_tokens=100) for name in ("interactive", "nightly")}


def a_pool(nightly: ClassDemand, max_wait: str = "1h", interactive_rps: float = 4.0, dispersion: float = 1.0) -> Snapshot:
    classes = {"interactive": a_class(), "nightly": a_class(tier="Deferred", objectives=None, queue={"maxWait": max_wait})}
    measured = Demand(
        measured_at=NOW,
        window_s=45,
        source="scrape",
        replicas_reporting=1000,
        classes={"interactive": ClassDemand(requests_per_s=interactive_rps, completed_per_s=interactive_rps), "nightly": nightly},
    )
    memory = settled(2, shapes=SHAPES, dispersion={"nightly": Clumping(value=dispersion, seconds=3600.0)})
    spec = a_spec(classes=["interactive", "nightly"], scaling={"minReplicas": 1, "maxReplicas": 50})
    return a_snapshot(spec=spec, classes=classes, demand=measured, memory=memory, **running(2))


def provided(pool: Snapshot, rates: tuple[float, ...] = ()) -> float:
    points = tuple(DemandPoint(at=NOW - 15.0 * (len(rates) - 1 - i), requests_per_s=rate) for i, rate in enumerate(rates))
    return loads(pool, {"nightly": points} if points else {}, SHAPES)[1].load.requests_per_s


def test_a_backlog_that_may_wait_an_hour_is_drained_within_an_hour_and_not_at_once() -> None:
    backlog = ClassDemand(queued=3600.0)
    assert provided(a_pool(backlog)) == pytest.approx(1.0)
    assert provided(a_pool(backlog, max_wait="10m")) == pytest.approx(6.0)
    assert plan(a_pool(backlog)).replicas < plan(a_pool(backlog, max_wait="1m")).replicas


def test_a_peak_of_what_may_wait_is_provided_for_by_its_mean() -> None:
    assert provided(a_pool(ClassDemand(requests_per_s=9.0)), (0.0, 0.0, 9.0)) == pytest.approx(3.0)
    assert provided(a_pool(ClassDemand(requests_per_s=9.0), max_wait="10s"), (0.0, 0.0, 9.0)) == pytest.approx(9.0)


def test_bursts_of_what_may_wait_need_no_replica() -> None:
    """Higher priorities go first: a clump of deferred requests stands in line, and nobody else behind it."""
    steady = ClassDemand(requests_per_s=2.0)
    assert plan(a_pool(steady, dispersion=16.0)).replicas == plan(a_pool(steady)).replicas


def test_it_is_said_what_is_provided_for() -> None:
    why = " ".join(plan(a_pool(ClassDemand(requests_per_s=2.0, queued=36.0))).why)
    assert "class nightly has no objective and may wait: forebay_sidecar_arrivals_total 2 requests/s" in why
    assert "forebay_sidecar_queue_depth 36 to drain in 3600 s" in why


@given(st.floats(0, 100), st.floats(0, 1e5), st.sampled_from(["10s", "1m", "1h"]))
def test_what_waits_is_never_forgotten(rps: float, queued: float, max_wait: str) -> None:
    found = provided(a_pool(ClassDemand(requests_per_s=rps, queued=queued), max_wait))
    assert found >= rps and (found > rps or not queued or queued < 1e-6)

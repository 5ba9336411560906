"""What verdicts advise is written down, and the next plan is asked whether it was enough."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.planning.builders import (
    A100,
    H100,
    a_class,
    a_profile,
    a_snapshot,
    a_spec,
    demand,
    on_karpenter,
    running,
    said,
    settled,
    verdict,
)
from tests.planning.strategies import snapshots

from forebay.api.inference_pool import NodeLimits
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot

SLOWER = a_profile("a100", iteration={"base": "40ms", "perToken": "0.1ms", "perKvToken": "0.4us"})


def with_spec(snapshot: Snapshot, **scaling: Any) -> Snapshot:
    spec = snapshot.spec.model_copy(update={"scaling": snapshot.spec.scaling.model_copy(update=scaling)})
    return snapshot.model_copy(update={"spec": spec})


def with_limits(snapshot: Snapshot, limits: NodeLimits) -> Snapshot:
    nodes = snapshot.spec.capacity.nodes.model_copy(update={"limits": limits})
    capacity = snapshot.spec.capacity.model_copy(update={"nodes": nodes})
    return snapshot.model_copy(update={"spec": snapshot.spec.model_copy(update={"capacity": capacity})})


@pytest.mark.parametrize("profiles", [[a_profile()], [SLOWER, a_profile()]], ids=["one kind", "two kinds"])
@pytest.mark.parametrize("rps", [30, 1000])
def test_max_replicas_that_are_too_few_say_how_many_do(profiles: list[Any], rps: float) -> None:
    scaling = {"minReplicas": 1, "maxReplicas": 2}
    spec = a_spec(profiles=profiles, capacity={"accelerators": [A100, H100]}, scaling=scaling)
    snapshot = a_snapshot(spec=spec, demand=demand(rps=rps))
    told = verdict(plan(snapshot), "SloFeasible").message
    found = re.search(r"needs (\d+) replicas of h100/full, more than maxReplicas 2: raise scaling.maxReplicas to (\d+)$", told)
    assert found and found[1] == found[2]
    assert said(plan(with_spec(snapshot, max_replicas=int(found[2]))), "SloFeasible") == ("True", "Feasible")
    if len(profiles) == 1:
        assert said(plan(with_spec(snapshot, max_replicas=int(found[2]) - 1)), "SloFeasible") == ("False", "MaxReplicas")


@pytest.mark.parametrize("profiles", [[a_profile()], [SLOWER, a_profile()]], ids=["one kind", "two kinds"])
def test_what_no_max_replicas_would_do_says_so(profiles: list[Any]) -> None:
    spec = a_spec(profiles=profiles, capacity={"accelerators": [A100, H100]}, scaling={"minReplicas": 1, "maxReplicas": 2})
    told = verdict(plan(a_snapshot(spec=spec, demand=demand(rps=1e6))), "SloFeasible").message
    assert "needs more than 10,000 replicas of " in told and "maxReplicas is 2" in told


def eager(**targets: str) -> Any:
    return a_class(objectives={metric: {"quantile": 0.95, "target": target} for metric, target in targets.items()})


@pytest.mark.parametrize("most", [2, 6, 20])
@pytest.mark.parametrize("rps", [0.5, 20.0, 60.0])
@pytest.mark.parametrize("profiles", [[a_profile()], [SLOWER, a_profile()]], ids=["one kind", "two kinds"])
def test_a_target_that_is_advised_can_be_held_under_the_load(profiles: list[Any], rps: float, most: int) -> None:
    """An idle replica's figure would take far more replicas than there may be."""
    spec = a_spec(profiles=profiles, capacity={"accelerators": [A100, H100]}, scaling={"minReplicas": 1, "maxReplicas": most})
    snapshot = a_snapshot(spec=spec, classes={"interactive": eager(timeToFirstToken="5ms")}, demand=demand(rps=rps))
    told = verdict(plan(snapshot), "SloFeasible").message
    found = re.search(r"Raise (?:scaling.maxReplicas to (\d+) and )?the target to (\S+), which .* can hold for the measured load", told)
    assert found, told
    better = with_spec(snapshot, max_replicas=int(found[1] or most))
    after = better.model_copy(update={"classes": {"interactive": eager(timeToFirstToken=found[2])}})
    assert said(plan(after), "SloFeasible") == ("True", "Feasible")


def test_each_target_that_an_idle_replica_misses_is_named() -> None:
    classes = {"interactive": eager(timeToFirstToken="5ms", endToEnd="10ms")}
    snapshot = a_snapshot(classes=classes, demand=demand(rps=20))
    told = verdict(plan(snapshot), "SloFeasible").message
    found = re.search(r"the target to (\S+) and that of class interactive's endToEnd to (\S+), which maxReplicas 20 can hold", told)
    assert found, told
    after = snapshot.model_copy(update={"classes": {"interactive": eager(timeToFirstToken=found[1], endToEnd=found[2])}})
    assert said(plan(after), "SloFeasible") == ("True", "Feasible")


def test_a_load_that_no_number_of_replicas_holds_says_so() -> None:
    told = verdict(plan(a_snapshot(classes={"interactive": eager(timeToFirstToken="5ms")}, demand=demand(rps=1e6))), "SloFeasible").message
    assert "Even 10,000 replicas are too few for the measured load" in told


def test_a_replica_that_takes_weeks_for_a_request_is_planned_too() -> None:
    spec = a_spec(profiles=[a_profile(iteration={"base": "500h", "perToken": "1h"})])
    told = verdict(plan(a_snapshot(spec=spec, demand=demand(rps=20))), "SloFeasible").message
    assert re.search(r"needs (\S+) for .* Raise the target above \1, shorten", told)


def test_without_a_load_an_idle_replicas_figure_is_advised() -> None:
    told = verdict(plan(a_snapshot(classes={"interactive": eager(timeToFirstToken="5ms")}, demand=None)), "SloFeasible").message
    assert re.search(r"needs (\S+) for .* Raise the target to \1, shorten", told)


def test_limits_that_are_too_tight_say_what_is_taken() -> None:
    """Two nodes of eight GPUs at $55 where one is allowed."""
    scaling, profiles = {"minReplicas": 16, "maxReplicas": 20}, [a_profile(gpus=1)]
    spec = a_spec(scaling=scaling, profiles=profiles, capacity=on_karpenter(limits={"gpus": 8, "usdPerHour": 70.5}))
    decision = plan(a_snapshot(spec=spec, **running(8), memory=settled(8)))
    assert said(decision, "BudgetRespected") == ("True", "Limited")
    assert "limits (gpus 8, usdPerHour 70.5) allow 8. Raise nodes.limits to gpus 16, usdPerHour 110," in (
        verdict(decision, "BudgetRespected").message
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(snapshots(), st.integers(1, 24))
def test_limits_that_are_advised_let_through_what_is_wanted(snapshot: Snapshot, gpus: int) -> None:
    """Of one kind: of several, wider limits may let through a mix that costs less."""
    assume(len(snapshot.spec.profiles) == 1)
    snapshot = with_limits(snapshot.model_copy(update={"shares": ()}), NodeLimits(gpus=gpus))
    decision = plan(snapshot)
    found = re.search(r"^(\d+) replicas are wanted; .*Raise nodes.limits to gpus (\d+)", verdict(decision, "BudgetRespected").message)
    assume(found)
    assert found
    after = plan(with_limits(snapshot, NodeLimits(gpus=int(found[2]))))
    assert after.replicas == int(found[1])

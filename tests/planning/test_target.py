"""How many replicas the load asks for, on which profile."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.planning.builders import (
    A100,
    H100,
    NOW,
    a_class,
    a_deployment,
    a_profile,
    a_snapshot,
    a_spec,
    actions,
    demand,
    desired,
    done,
    running,
    said,
    settled,
    verdict,
)

from forebay.planning.decision import Plan
from forebay.planning.memory import Memory
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot

SLOW = a_profile("a100", iteration={"base": "300ms", "perToken": "0.1ms"})


def two_profiles(**spec: Any) -> Any:
    """A pool that prefers the slower, cheaper accelerator."""
    return a_spec(**{"profiles": [SLOW, a_profile()], "capacity": {"accelerators": [A100, H100]}, **spec})


def within(target: str) -> dict[str, Any]:
    return {"interactive": a_class(objectives={"timeToFirstToken": {"quantile": 0.95, "target": target}})}


def test_more_load_is_more_replicas_at_once() -> None:
    few, many = (plan(a_snapshot(demand=demand(rps=rps), **running(1), memory=settled(1))) for rps in (1, 20))
    assert few.replicas == 1 and many.replicas > 2
    assert any("replicas by" in w for w in many.why)


def test_the_pools_bounds_hold() -> None:
    bounds = {"minReplicas": 2, "maxReplicas": 3}
    assert plan(a_snapshot(spec=a_spec(scaling=bounds))).replicas == 2
    full = plan(a_snapshot(spec=a_spec(scaling=bounds), demand=demand(rps=1000)))
    assert full.replicas == 3
    assert said(full, "SloFeasible") == ("False", "MaxReplicas")
    assert "raise scaling.maxReplicas" in verdict(full, "SloFeasible").message


def test_kubectl_scale_moves_the_floor() -> None:
    """`kubectl scale` writes minReplicas: more replicas at once, and fewer only after a window."""
    raised = plan(a_snapshot(spec=a_spec(scaling={"minReplicas": 5, "maxReplicas": 20}), **running(1), memory=settled(1)))
    assert raised.replicas == 5
    lowered = plan(a_snapshot(**running(5), memory=settled(5).model_copy(update={"observed_since": NOW - 10})))
    assert lowered.replicas == 5


def test_the_first_profile_that_can_hold_the_objective_is_taken() -> None:
    assert plan(a_snapshot(spec=two_profiles(), classes=within("2s"))).memory.mix == {"a100/full": 1}
    assert plan(a_snapshot(spec=two_profiles(), classes=within("200ms"))).memory.mix == {"h100/full": 1}


def test_an_objective_below_the_service_time_names_what_can_be_met() -> None:
    decision = plan(a_snapshot(classes=within("5ms"), demand=demand(rps=5)))
    assert said(decision, "SloFeasible") == ("False", "ObjectiveBelowServiceTime")
    found = re.search(
        r"one idle h100/full replica needs (\S+) for 200 input and 100 output tokens", verdict(decision, "SloFeasible").message
    )
    assert found
    assert any("sized for throughput" in w for w in decision.why)
    met = plan(a_snapshot(classes=within(found[1]), demand=demand(rps=0.0001)))
    assert said(met, "SloFeasible") == ("True", "Feasible")


def test_no_profile_stays_at_the_floor() -> None:
    decision = plan(a_snapshot(spec=a_spec(profiles=[], scaling={"minReplicas": 3, "maxReplicas": 9}), demand=demand(rps=100)))
    assert decision.replicas == 3
    assert said(decision, "SloFeasible") == ("Unknown", "NoProfile")


def test_no_accelerator_at_all() -> None:
    decision = plan(a_snapshot(spec=a_spec(profiles=[], capacity={})))
    assert decision.replicas == 1
    assert [a.ref.name for a in actions(decision, "apply", "Deployment")] == ["llama-on-demand"]
    assert decision.status.rate.usd_per_hour == "unknown"


def test_a_class_without_objectives_is_sized_for_throughput() -> None:
    classes = {"interactive": a_class(tier="Deferred", objectives=None)}
    decision = plan(a_snapshot(classes=classes, demand=demand(rps=20)))
    assert said(decision, "SloFeasible") == ("True", "NoObjective")
    assert decision.replicas > 1


@pytest.mark.parametrize(("mode", "task"), [("Disabled", "Embeddings"), ("Fixed", "Chat")])
def test_a_window_that_nobody_waits_for_is_no_part_of_the_wait(mode: str, task: str) -> None:
    """The sidecar passes such requests on: the objective was given up as one that no replica could keep."""
    classes = {"interactive": a_class(batching={"mode": mode, "window": "2s"})}
    decision = plan(a_snapshot(spec=a_spec(model={"name": "m", "task": task}), classes=classes, demand=demand(12)))
    assert said(decision, "SloFeasible") == ("True", "Feasible")
    waits = {"interactive": a_class(batching={"mode": "Fixed", "window": "2s"})}
    waiting = plan(a_snapshot(spec=a_spec(model={"name": "m", "task": "Embeddings"}), classes=waits, demand=demand(12)))
    assert said(waiting, "SloFeasible") == ("False", "ObjectiveBelowServiceTime")


def test_a_pool_that_is_measured_while_none_of_its_classes_is_there_is_planned() -> None:
    """Its only class was deleted, or is misspelt since: replicas still tell how they share requests out."""
    measured = demand(rps=5, reporting=2).model_copy(update={"in_flight_variance": 1.0})
    decision = plan(a_snapshot(classes={}, demand=measured, **running(2), memory=settled(2)))
    assert said(decision, "ResolvedRefs")[0] == "False"
    assert decision.replicas == 2


def on_the_faster(**memory: Any) -> Snapshot:
    """A pool that had to move to its second profile, and could be back on its first."""
    where = {"deployments": (a_deployment(1, accelerator="h100", ready=1),), "pods": running(1)["pods"], "nodes": running(1)["nodes"]}
    return a_snapshot(spec=two_profiles(), classes=within("2s"), **where, memory=settled(1, mix={"h100/full": 1}, **memory))


def test_a_pool_goes_back_to_what_it_prefers_only_after_a_window() -> None:
    """A request shape at the edge of what the cheaper accelerator can do would move all replicas to and fro."""
    first = plan(on_the_faster())
    assert first.memory.mix == {"h100/full": 1} and first.memory.better_since == NOW
    assert any("1 × a100/full at 3.75 $/h would do as well, and must for 5m before the pool moves" in w for w in first.why)
    assert plan(on_the_faster(better_since=NOW - 100)).memory.mix == {"h100/full": 1}
    after = plan(on_the_faster(better_since=NOW - 301))
    assert after.memory.mix == {"a100/full": 1} and after.memory.better_since is None


def test_a_pool_leaves_what_no_longer_does_at_once() -> None:
    snapshot = a_snapshot(spec=two_profiles(), classes=within("200ms"), memory=settled(1, mix={"a100/full": 1}))
    assert plan(snapshot).memory.mix == {"h100/full": 1}


def test_without_memory_the_deployments_tell_which_profile_is_in_use() -> None:
    decision = plan(on_the_faster().model_copy(update={"memory": Memory()}))
    assert decision.memory.mix == {"h100/full": 1}


def test_what_no_profile_can_do_moves_nothing() -> None:
    """The pool stays where it is, rather than moving all replicas for an objective that is missed there too."""
    for used in ("a100/full", "h100/full"):
        decision = plan(a_snapshot(spec=two_profiles(), classes=within("1ms"), memory=settled(1, mix={used: 1})))
        assert decision.memory.mix == {used: 1}
        assert "h100/full replica needs" in verdict(decision, "SloFeasible").message


def _moved(ready: int) -> Plan:
    """The pool preferred h100 before; now it is a100 first, of which this many are ready."""
    old = a_deployment(2, accelerator="h100", ready=2)
    new = a_deployment(2, accelerator="a100", ready=ready)
    pods = (
        *running(2)["pods"],
        *(p.model_copy(update={"name": f"new-{i}", "variant": "a100-on-demand"}) for i, p in enumerate(running(ready)["pods"])),
    )
    spec = a_spec(profiles=[a_profile("a100")], capacity={"accelerators": [A100, H100]}, scaling={"minReplicas": 2, "maxReplicas": 4})
    return plan(a_snapshot(spec=spec, deployments=(old, new), pods=pods, nodes=running(1)["nodes"], memory=settled(2)))


def test_replicas_of_an_accelerator_that_is_no_longer_preferred_go_as_the_new_become_ready() -> None:
    assert desired(_moved(ready=0)) == (2, 0)
    assert [(v.name, v.desired) for v in _moved(ready=1).status.variants] == [("llama-a100-on-demand", 2), ("llama-h100-on-demand", 1)]
    assert not [a for a in done(_moved(ready=0)) if a[2] == "llama-h100-on-demand"]
    assert ("scale", "Deployment", "llama-h100-on-demand") in done(_moved(ready=1))
    assert ("delete", "Deployment", "llama-h100-on-demand") in done(_moved(ready=2))

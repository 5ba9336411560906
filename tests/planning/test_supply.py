"""What is done about replicas that were asked for and do not come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.planning.builders import (
    A100,
    H100,
    NOW,
    a_deployment,
    a_node,
    a_pod,
    a_profile,
    a_snapshot,
    a_spec,
    demand,
    desired,
    done,
    running,
    said,
    settled,
    together,
)

from forebay.planning.decision import Plan
from forebay.planning.memory import Memory, Unavailable
from forebay.planning.planner import plan
from forebay.planning.snapshot import NodeClaimView, Snapshot
from forebay.planning.supply import FIRST_AWAY_S, MAX_AWAY_S, MIN_PATIENCE_S, ready_within, unavailable_variants

STARTS = {"h100-on-demand": {"ready": (50.0, 60.0, 70.0)}}
UNPRICED = [{**accelerator, "usdPerHour": {}} for accelerator in (H100, A100)]
"""The order of the list is what is preferred."""
BOTH = a_spec(profiles=[a_profile(), a_profile("a100")], scaling={"minReplicas": 2, "maxReplicas": 20}, capacity={"accelerators": UNPRICED})
FOUR = a_spec(scaling={"minReplicas": 4, "maxReplicas": 20})
seconds = st.floats(0, 1e5, allow_nan=False)


def watched(target: int, **fields: Any) -> Memory:
    """The memory of a pool that has been looked at without a break for an hour, until a moment ago."""
    return settled(target, looked_at=NOW - 15, looking_since=NOW - 3600, **fields)


def waiting(ready: int, stuck: int, age_s: float, memory: Memory | None = None, node: str = "", **fields: Any) -> Snapshot:
    """Replicas that answer, and some that were made `age_s` ago."""
    there = running(ready)
    late = tuple(a_pod(f"late-{i}", ready=False, node=node, created_at=NOW - age_s) for i in range(stuck))
    return a_snapshot(
        **{
            "deployments": (a_deployment(ready + stuck, ready=ready),),
            "pods": (*there["pods"], *late),
            "nodes": there["nodes"],
            "memory": memory or watched(ready + stuck),
            **fields,
        }
    )


def later(snapshot: Snapshot, decision: Plan, by_s: float = 15.0, **fields: Any) -> Snapshot:
    """The next look, at the same load."""
    now = snapshot.now + by_s
    look = snapshot.demand.model_copy(update={"measured_at": now}) if snapshot.demand else None
    return snapshot.model_copy(update={"now": now, "demand": look, "memory": decision.memory, **fields})


@given(st.lists(seconds, max_size=20), seconds, seconds, seconds)
def test_a_probability_grows_with_the_time_that_is_left(times: list[float], waited: float, within: float, more: float) -> None:
    assert 0 <= ready_within(times, waited, within) <= ready_within(times, waited, within + more) <= 1


def test_who_has_waited_longer_than_all_is_hardly_expected() -> None:
    times = (90.0, 100.0, 110.0)
    assert ready_within(times, 0, 110) > 0.8
    assert ready_within(times, 105, 10) > 0.5
    assert ready_within(times, 200, 110) < 0.3 > ready_within(times, 2000, 110)
    assert ready_within((), 0, 60) == pytest.approx(0.5)


def test_what_is_not_overdue_is_not_ordered_twice() -> None:
    """A replica that may still come is counted on."""
    snapshot = waiting(2, 2, age_s=80, node="node-1", memory=watched(4, starts=STARTS), spec=FOUR)
    assert desired(plan(snapshot)) == (4, 0)


def test_who_is_overdue_on_a_node_is_ordered_once_more() -> None:
    snapshot = waiting(2, 2, age_s=300, node="node-1", memory=watched(4, starts=STARTS), spec=FOUR)
    decision = plan(snapshot)
    assert desired(decision) == (6, 0) and decision.memory.target == 4
    assert any("late-0, late-1 should be ready by now" in w and "2 asked for beside" in w for w in decision.why)
    more = tuple(a_pod(f"more-{i}", ready=False, node="node-1", created_at=NOW) for i in range(2))
    for age_s in (15, 300, 900):
        again = later(snapshot, decision, age_s, pods=(*snapshot.pods, *more), deployments=(a_deployment(6, ready=2),))
        again = again.model_copy(update={"memory": watched(4, starts=STARTS).model_copy(update={"looked_at": again.now - 15})})
        assert desired(plan(again)) == (6, 0), "never a third time, even where those do not come either"


def test_the_overdue_is_given_up_once_its_replacement_answers() -> None:
    snapshot = waiting(4, 2, age_s=300, node="node-1", memory=watched(4, starts=STARTS), spec=FOUR)
    assert desired(plan(snapshot)) == (4, 0)


def test_nothing_is_ordered_twice_before_a_start_was_seen() -> None:
    assert desired(plan(waiting(0, 2, age_s=3000, node="node-1", demand=demand(12), memory=watched(2), nodes=(a_node(),))))[0] <= 4


def test_max_replicas_bound_what_is_ordered_once_more() -> None:
    tight = a_spec(scaling={"minReplicas": 1, "maxReplicas": 4})
    snapshot = waiting(2, 2, age_s=300, node="node-1", spec=tight, memory=watched(4, starts=STARTS), demand=demand(50))
    decision = plan(snapshot)
    assert desired(decision) == (4, 0)
    assert any("none asked for beside; maxReplicas leaves no room for another" in w for w in decision.why)
    roomier = a_spec(scaling={"minReplicas": 4, "maxReplicas": 5})
    one_more = plan(waiting(2, 2, age_s=300, node="node-1", spec=roomier, memory=watched(4, starts=STARTS)))
    assert desired(one_more) == (5, 0)
    assert any("1 asked for beside; maxReplicas leaves no room for the others" in w for w in one_more.why)


def test_pod_stuck_pending() -> None:
    """Dynamo #14251. It is released once its time is over, and the next accelerator is tried."""
    patient = plan(waiting(1, 1, MIN_PATIENCE_S - 1, spec=BOTH))
    assert patient.memory.unavailable == {} and said(patient, "CapacityProvisioned") == ("False", "Provisioning")
    snapshot = waiting(1, 1, MIN_PATIENCE_S + 1, spec=BOTH)
    decision = plan(snapshot)
    assert decision.memory.mix == {"h100/full": 1, "a100/full": 1}
    assert set(decision.memory.unavailable) == {"h100-on-demand"}
    assert [n.reason for n in decision.notes if n.reason == "VariantUnavailable"]
    assert said(decision, "CapacityProvisioned") == ("False", "VariantUnavailable")
    assert any("h100-on-demand is unavailable: late-0 found no node within 180 s; it is tried again in 600 s" in w for w in decision.why)
    assert ("apply", "Deployment", "llama-a100-on-demand") in done(decision)
    (kept,) = [a for a in decision.actions if a.ref.name == "llama-h100-on-demand"]
    assert kept.body is not None and kept.body["spec"]["replicas"] == 1, "who answers stays, who does not come is released"
    assert not [n for n in plan(later(snapshot, decision)).notes if n.reason == "VariantUnavailable"], "it is told once"


def test_the_first_accelerator_is_tried_again() -> None:
    """Once it may be asked for again it must do for a window before the pool moves back, as ever."""
    away = {"h100-on-demand": Unavailable(since=NOW - 620, until=NOW - 20)}
    on_a100 = {**running(0), "deployments": (a_deployment(2, accelerator="a100", ready=2),), "nodes": (a_node(),)}
    on_a100["pods"] = tuple(a_pod(f"a{i}", accelerator="a100", node="node-1") for i in range(2))
    memory = watched(2, mix={"a100/full": 2}, unavailable=away)
    decision = plan(a_snapshot(spec=BOTH, memory=memory, **on_a100))
    assert set(decision.memory.mix) == {"a100/full"} and decision.memory.better_since == NOW
    waited = memory.model_copy(update={"better_since": NOW - 3600})
    assert plan(a_snapshot(spec=BOTH, memory=waited, **on_a100)).memory.mix.keys() == {"h100/full"}
    held = memory.model_copy(
        update={"better_since": NOW - 3600, "unavailable": {"h100-on-demand": Unavailable(since=NOW - 9, until=NOW + 9)}}
    )
    assert plan(a_snapshot(spec=BOTH, memory=held, **on_a100)).memory.mix.keys() == {"a100/full"}


def test_a_variant_that_fails_again_and_again_is_tried_less_and_less() -> None:
    away, now = FIRST_AWAY_S, NOW
    memory = watched(2)
    for times in range(1, 7):
        snapshot = waiting(1, 1, 5000, spec=BOTH).model_copy(update={"now": now})
        snapshot = snapshot.model_copy(update={"memory": memory.model_copy(update={"looked_at": now - 15})})
        memory = plan(snapshot).memory
        known = memory.unavailable["h100-on-demand"]
        assert (known.times, known.until - now) == (times, min(away, MAX_AWAY_S))
        away, now = 2 * away, known.until + 1


def test_a_node_that_came_after_all_ends_it() -> None:
    away = {"h100-on-demand": Unavailable(since=NOW - 60, until=NOW + 540)}
    there = running(2)
    came = (there["pods"][0], there["pods"][1].model_copy(update={"ready": False, "ready_at": None, "scheduled_at": NOW - 5}))
    decision = plan(a_snapshot(**{**there, "pods": came}, spec=BOTH, memory=watched(2, unavailable=away)))
    assert decision.memory.unavailable == {} and set(decision.memory.mix) == {"h100/full"}


def test_the_only_accelerator_is_asked_for_all_the_same() -> None:
    """Nobody makes a node for a replica that is not there."""
    decision = plan(waiting(1, 1, 5000, spec=a_spec(scaling={"minReplicas": 2, "maxReplicas": 4})))
    assert desired(decision) == (2, 0) and said(decision, "CapacityProvisioned") == ("False", "VariantUnavailable")


def test_an_accelerator_that_cannot_hold_the_objective_is_no_way_out() -> None:
    slow = {**a_profile("a100"), "iteration": {"base": "5s", "perToken": "1s"}}
    spec = a_spec(profiles=[a_profile(), slow], scaling={"minReplicas": 2, "maxReplicas": 20}, capacity={"accelerators": [H100, A100]})
    assert plan(waiting(1, 1, 5000, spec=spec)).memory.mix.keys() == {"h100/full"}


def test_a_node_that_is_granted_is_waited_for() -> None:
    claim = NodeClaimView(name="c", node_pool="np", coming=True)
    assert unavailable_variants(waiting(1, 1, 1000, spec=BOTH, node_claims=(claim,))) == {}
    assert set(unavailable_variants(waiting(1, 1, 1000, spec=BOTH))) == {"h100-on-demand"}


def test_patience_is_the_learned_start_and_more() -> None:
    slow = watched(2, starts={"h100-on-demand": {"ready": (200.0,)}})
    assert plan(waiting(0, 1, 399, spec=BOTH, memory=slow)).memory.unavailable == {}
    assert set(plan(waiting(0, 1, 401, spec=BOTH, memory=slow)).memory.unavailable) == {"h100-on-demand"}


def test_clock_step_releases_nothing() -> None:
    """Set forward an hour, every replica that is pending seems to have waited for an hour; set back, none for any time."""
    for step_s in (3600.0, -3600.0):
        snapshot = waiting(2, 2, 30, spec=BOTH.model_copy(update={"scaling": FOUR.scaling}), memory=watched(4, starts=STARTS))
        for look in range(4):
            stepped = snapshot if look else later(snapshot, plan(snapshot), step_s)
            decision = plan(stepped)
            assert decision.memory.unavailable == {} and desired(decision) == (4, 0)
            snapshot = later(stepped, decision)


def test_clock_step_shrinks_nothing_for_a_window() -> None:
    """Less was enough for a moment only, though by the clock it was for an hour."""
    for step_s in (3600.0, -3600.0):
        snapshot = a_snapshot(**running(4), memory=Memory(target=4, observed_since=NOW - 60, looked_at=NOW - 15, looking_since=NOW - 60))
        snapshot = later(snapshot, plan(snapshot), step_s)
        for _ in range(20):
            decision = plan(snapshot)
            assert decision.replicas == 4
            snapshot = later(snapshot, decision)
        for _ in range(80):
            decision = plan(snapshot)
            snapshot = later(snapshot, decision)
        assert decision.replicas < 4


def test_operator_restart_mid_scale_releases_nothing_at_once() -> None:
    """Knative #4795: what was not looked at for a while is looked at anew."""
    memory = watched(4).model_copy(update={"looked_at": NOW - 600, "looking_since": NOW - 7200})
    decision = plan(waiting(2, 2, 5000, spec=BOTH, memory=memory, demand=demand(0)))
    assert decision.replicas == 4 and decision.memory.unavailable == {} and decision.memory.observed_since == NOW
    assert decision.memory.looking_since == NOW


def test_cascade_while_pending() -> None:
    """AIBrix #2670: 2 → 4 → 8 → 16 while the first ones are still starting."""
    snapshot = a_snapshot(**running(2), memory=watched(2, starts=STARTS), demand=demand(12))
    wanted = []
    for _ in range(12):
        decision = plan(snapshot)
        wanted.append(decision.replicas)
        pods = tuple(a_pod(f"llama-h100-on-demand-{i}", ready=i < 2, node="node-1" if i < 2 else "") for i in range(decision.replicas))
        pods = tuple(p if p.ready else p.model_copy(update={"created_at": NOW + 1}) for p in pods)
        snapshot = later(snapshot, decision, pods=pods, deployments=(a_deployment(decision.replicas, ready=2),))
    assert wanted[0] > 2 and len(set(wanted)) == 1


def test_collapse_when_a_panic_ends_before_pods_are_ready() -> None:
    """Knative #3153, #9121: the load is gone before a replica came; what was ordered is held for a window."""
    snapshot = a_snapshot(**running(1), memory=watched(1, starts=STARTS), demand=demand(40))
    burst = plan(snapshot)
    pods = (*running(1)["pods"], *(a_pod(f"new-{i}", ready=False, created_at=NOW) for i in range(burst.replicas - 1)))
    snapshot = later(snapshot, burst, pods=pods, deployments=(a_deployment(burst.replicas, ready=1),))
    snapshot = snapshot.model_copy(update={"demand": demand(0.5).model_copy(update={"measured_at": snapshot.now})})
    for _ in range(10):
        decision = plan(snapshot)
        assert decision.replicas == burst.replicas > 3
        snapshot = later(snapshot, decision)


def test_demand_times_50_in_a_minute() -> None:
    """One order covers it; while it starts nothing more is ordered for the same load."""
    snapshot = a_snapshot(**running(1), memory=watched(1, starts=STARTS), demand=demand(0.6))
    quiet = plan(snapshot)
    jumped = later(snapshot, quiet).model_copy(update={"demand": demand(30, age_s=-15)})
    wanted = []
    for _ in range(4):
        decision = plan(jumped)
        wanted.append(decision.replicas)
        jumped = later(jumped, decision)
    assert quiet.replicas == 1 and wanted[0] >= 5 and max(wanted) <= 2 * wanted[0]


def test_spot_that_does_not_come_is_not_asked_of_another_accelerator() -> None:
    """On-demand of the same accelerator stands in for it, as ever."""
    spot = {"accelerators": UNPRICED, "spot": {"enabled": True}}
    spec = a_spec(profiles=[a_profile(), a_profile("a100")], scaling={"minReplicas": 4, "maxReplicas": 20}, capacity=spot)
    parts = together(running(2, node="node-2"), running(0, 2, "spot", node="", created_at=NOW - 5000))
    decision = plan(a_snapshot(**{**parts, "nodes": (a_node("node-2"),)}, spec=spec, memory=watched(4)))
    assert set(decision.memory.mix) == {"h100/full"} and set(decision.memory.unavailable) == {"h100-spot"}

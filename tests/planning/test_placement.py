"""Which replicas stand on spot and on on-demand, within limits that are never exceeded."""

from __future__ import annotations

from typing import Any

import pytest
from tests.planning.builders import (
    H100,
    NOW,
    a_class,
    a_deployment,
    a_node,
    a_pod,
    a_snapshot,
    a_spec,
    actions,
    demand,
    desired,
    done,
    reclaimed,
    running,
    settled,
    together,
)

from forebay.planning.memory import Memory
from forebay.planning.planner import plan
from forebay.planning.snapshot import PodView, Snapshot


def on_spot(replicas: int = 4, share: float = 1, base: int = 0, **capacity: Any) -> Any:
    """A pool of so many replicas, with spot."""
    spot = {"enabled": True, "maxShare": share, "returnAfter": "30m"}
    capacity = {"accelerators": [H100], "spot": spot, "onDemand": {"baseReplicas": base}, **capacity}
    return a_spec(scaling={"minReplicas": replicas, "maxReplicas": 20}, capacity=capacity)


def spot_pod(index: int, **fields: Any) -> PodView:
    return a_pod(f"llama-h100-spot-{index}", "spot", **{"node": "node-1", **fields})


@pytest.mark.parametrize(
    ("replicas", "share", "base", "expected"),
    [
        (4, 1.0, 0, (0, 4)),
        (4, 0.5, 0, (2, 2)),
        (4, 1.0, 1, (1, 3)),
        (5, 0.5, 0, (3, 2)),
        (4, 0.9, 2, (2, 2)),
        (1, 1.0, 3, (1, 0)),
        (3, 0.0, 0, (3, 0)),
    ],
)
def test_base_and_share(replicas: int, share: float, base: int, expected: tuple[int, int]) -> None:
    assert desired(plan(a_snapshot(spec=on_spot(replicas, share, base)))) == expected


def test_the_stricter_share_wins_and_is_named() -> None:
    strict = {"interactive": a_class(capacity={"maxSpotShare": 0.25})}
    decision = plan(a_snapshot(spec=on_spot(share=0.5), classes=strict))
    assert desired(decision) == (3, 1)
    assert any("spot share 0.25 by class interactive's maxSpotShare" in w for w in decision.why)
    loose = {"interactive": a_class(capacity={"maxSpotShare": 0.75})}
    decision = plan(a_snapshot(spec=on_spot(share=0.5), classes=loose))
    assert desired(decision) == (2, 2)
    assert any("spot share 0.5 by the pool's spot.maxShare" in w for w in decision.why)


# doomed replicas


def test_doomed_replicas_are_replaced_at_once() -> None:
    four = running(4, capacity_type="spot")
    decision = plan(a_snapshot(spec=on_spot(), **{**four, "nodes": (reclaimed(),)}, memory=settled(4)))
    assert desired(decision) == (0, 8) and decision.replicas == 4
    assert any(
        "replaced now: llama-h100-spot-0, llama-h100-spot-1, llama-h100-spot-2 and 1 more: taint karpenter.sh" in w for w in decision.why
    )
    interrupted = [n for n in decision.notes if n.reason == "Interrupted"]
    assert len(interrupted) == 1 and "and 1 more" in interrupted[0].message


def test_doomed_on_demand_is_replaced_too() -> None:
    two = running(2)
    decision = plan(
        a_snapshot(spec=a_spec(scaling={"minReplicas": 2, "maxReplicas": 4}), **{**two, "nodes": (reclaimed(),)}, memory=settled(2))
    )
    assert desired(decision) == (4, 0)


def test_replicas_of_a_node_that_is_gone_are_replaced() -> None:
    """Also where it was the only node, and nothing of it is left to look at."""
    decision = plan(a_snapshot(spec=on_spot(2), **{**running(2, capacity_type="spot"), "nodes": ()}, memory=settled(2)))
    assert desired(decision) == (0, 4)


def test_a_new_replica_on_a_node_too_new_to_be_known_is_not_doomed() -> None:
    decision = plan(
        a_snapshot(spec=on_spot(2), **{**running(0, 2, capacity_type="spot", created_at=NOW - 5), "nodes": ()}, memory=settled(2))
    )
    assert desired(decision) == (0, 2)


def test_replacements_that_land_on_doomed_nodes_do_not_multiply() -> None:
    """A mark that keeps no pod away would otherwise bring up ever more replicas."""
    thirty = running(30, capacity_type="spot")
    decision = plan(a_snapshot(spec=on_spot(4), **{**thirty, "nodes": (reclaimed(),)}, memory=settled(4)))
    assert sum(desired(decision)) <= 8


def unrouted(snapshot: Snapshot) -> set[str]:
    patches = actions(plan(snapshot), "patch", "Pod")
    return {a.ref.name for a in patches if a.body["metadata"]["labels"]["forebay.dev/routed"] is None}


def test_doomed_replicas_leave_the_service() -> None:
    there = together(running(1), running(2, capacity_type="spot", node="node-2"))
    nodes = (a_node(), reclaimed("node-2"))
    assert unrouted(a_snapshot(spec=on_spot(3), **{**there, "nodes": nodes}, memory=settled(3))) == {
        "llama-h100-spot-0",
        "llama-h100-spot-1",
    }


def test_the_last_that_answer_stay_in_the_service() -> None:
    """All replicas are on one node with notice: until a replacement is ready nobody else could take their requests."""
    two = {**running(2, capacity_type="spot"), "nodes": (reclaimed(),)}
    assert unrouted(a_snapshot(spec=on_spot(2), **two, memory=settled(2))) == set()
    replaced = {**two, "pods": (*two["pods"], spot_pod(9, node="node-2")), "nodes": (reclaimed(), a_node("node-2", "spot"))}
    assert unrouted(a_snapshot(spec=on_spot(2), **replaced, memory=settled(2))) == {"llama-h100-spot-0", "llama-h100-spot-1"}


def test_replicas_whose_node_stays_after_all_are_routed_again() -> None:
    two = running(2)
    off = {**two, "pods": tuple(p.model_copy(update={"routed": False}) for p in two["pods"])}
    patches = actions(plan(a_snapshot(**off, memory=settled(2))), "patch", "Pod")
    assert [a.body["metadata"]["labels"] for a in patches] == [{"forebay.dev/routed": "true"}] * 2


# spot that does not come, and its return


def waiting_for_spot(age_s: float, ready: int = 2, pending: int = 2, **fields: Any) -> Snapshot:
    """A pool of four on spot of which some never became ready."""
    pods = (
        *(spot_pod(i) for i in range(ready)),
        *(spot_pod(ready + i, ready=False, node="", created_at=NOW - age_s) for i in range(pending)),
    )
    there = {"deployments": (a_deployment(4, "spot", ready=ready),), "pods": pods, "nodes": (a_node(capacity_type="spot"),)}
    return a_snapshot(spec=on_spot(4), **there, **{"memory": settled(4), **fields})


def test_spot_that_does_not_come_is_made_up_by_on_demand() -> None:
    patient, late = plan(waiting_for_spot(59)), plan(waiting_for_spot(61))
    assert desired(patient) == (0, 4) and patient.memory.spot_hold_until == 0
    assert desired(late) == (2, 2) and late.memory.spot_hold_until == NOW + 1800
    assert "2 spot replicas did not come within 60 s: on-demand stands in" in late.why
    assert [n.reason for n in late.notes] == ["SpotUnavailable"]


def test_patience_follows_the_measured_start_time() -> None:
    assert desired(plan(waiting_for_spot(150, memory=settled(4, start_times_s=(100.0,))))) == (0, 4)
    assert desired(plan(waiting_for_spot(201, memory=settled(4, start_times_s=(100.0,))))) == (2, 2)


def test_replicas_collapse_when_pods_not_ready() -> None:
    """Knative #3153, #9121: replicas that are unready for a moment are still there. They hold no spot back and lose no place."""
    flapping = tuple(spot_pod(i, ready=i < 2) for i in range(4))
    started = tuple(p.name for p in flapping)
    there = {"deployments": (a_deployment(4, "spot", ready=2),), "pods": flapping, "nodes": (a_node(capacity_type="spot"),)}
    decision = plan(a_snapshot(spec=on_spot(4), **there, memory=settled(4, started_pods=started)))
    assert desired(decision) == (0, 4) and decision.memory.spot_hold_until == 0
    held = plan(a_snapshot(spec=on_spot(4), **there, memory=settled(4, started_pods=started, spot_hold_until=NOW + 60)))
    assert desired(held) == (0, 4)


def test_spot_is_left_alone_until_the_hold_is_over() -> None:
    there = together(running(2), running(2, capacity_type="spot", node="node-2"))
    held = plan(a_snapshot(spec=on_spot(4), **there, memory=settled(4, spot_hold_until=NOW + 100)))
    assert desired(held) == (2, 2) and "spot is tried again in 100 s" in held.why
    assert "SpotUnavailable" not in [n.reason for n in held.notes], "it was told when it began"
    over = plan(a_snapshot(spec=on_spot(4), **there, memory=settled(4, spot_hold_until=NOW - 1)))
    assert desired(over) == (2, 4)


def test_clock_step_keeps_spot_away_for_no_longer() -> None:
    there = together(running(2), running(2, capacity_type="spot", node="node-2"))
    memory = settled(4, spot_hold_until=NOW + 86400 + 600)
    assert plan(a_snapshot(spec=on_spot(4), **there, memory=memory)).memory.spot_hold_until == NOW + 1800


def test_clock_step_does_not_make_spot_overdue() -> None:
    """Set forward an hour, replicas that were asked for a moment ago seem to have waited for it; and all of them to have been lost."""
    memory = settled(4, looked_at=NOW - 3600)
    decision = plan(waiting_for_spot(3605, memory=memory))
    assert desired(decision) == (0, 4) and decision.memory.spot_hold_until == 0


def test_make_before_break() -> None:
    """On-demand stays until spot is ready, one for one."""
    for ready, expected in ((0, (4, 4)), (1, (3, 4)), (4, (0, 4))):
        there = together(running(4), running(ready, 4 - ready, capacity_type="spot", node="node-2", created_at=NOW - 10))
        decision = plan(a_snapshot(spec=on_spot(4), **there, memory=settled(4)))
        assert desired(decision) == expected, ready


def test_growing_does_not_bring_on_demand_back() -> None:
    there = running(2, 2, capacity_type="spot", created_at=NOW - 10)
    assert desired(plan(a_snapshot(spec=on_spot(6), **there, memory=settled(4)))) == (0, 6)


def test_spot_switched_off_moves_to_on_demand_as_it_becomes_ready() -> None:
    spec = a_spec(scaling={"minReplicas": 2, "maxReplicas": 4})
    decision = plan(a_snapshot(spec=spec, **running(2, capacity_type="spot"), memory=settled(2)))
    assert desired(decision) == (2, 0)
    assert not [a for a in done(decision) if a[2] == "llama-h100-spot"]
    both = together(running(2), running(2, capacity_type="spot", node="node-2"))
    assert ("delete", "Deployment", "llama-h100-spot") in done(plan(a_snapshot(spec=spec, **both, memory=settled(2))))


def test_pending_forever() -> None:
    """Dynamo #14251: one replica that never gets a node must not wedge the pool. It still grows, shrinks and replaces."""
    stuck = running(2, 1, created_at=NOW - 86400)
    grown = plan(a_snapshot(spec=a_spec(), **stuck, memory=settled(3), demand=demand(rps=30)))
    assert desired(grown)[0] > 3
    shrunk = plan(a_snapshot(spec=a_spec(), **stuck, memory=settled(3)))
    assert desired(shrunk) == (1, 0)


def test_cascade_while_pods_are_pending() -> None:
    """AIBrix #2670: 2→4→8→16 while nothing was ready. What was asked for already counts."""
    memory, seen = Memory(), []
    there: dict[str, Any] = {}
    for _ in range(10):
        decision = plan(a_snapshot(demand=demand(rps=20), memory=memory, **there))
        memory = decision.memory
        seen.append(decision.replicas)
        there = running(1, decision.replicas - 1)
    assert len(set(seen)) == 1

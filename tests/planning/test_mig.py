"""Changing the MIG layout of the pool's own nodes: one at a time, each step only when the one before is seen to be done."""

from __future__ import annotations

from typing import Any

import pytest
from tests.planning.builders import a_node, a_pod, a_profile, a_spec, verdict
from tests.planning.mig_world import HALVES, SEVENTHS, World, own, succeeds, world

from forebay.planning.decision import Plan
from forebay.planning.memory import Memory
from forebay.planning.mig import ANNOTATION_CORDONED, LABEL_CONFIG, LABEL_STATE, config_document, config_name, shows_layout
from forebay.planning.planner import plan

DEADLINE_S = 1800


def partitioned(decision: Plan) -> tuple[str, str]:
    found = verdict(decision, "Partitioned")
    return found.status, found.reason.value


def test_the_order_of_steps() -> None:
    one = world("n1", pods=1)
    for _ in range(6):
        decision = one.round()
    assert one.log == ["cordon n1", "unroute n1-p0", "evict n1-p0", "label n1", "uncordon n1"]
    assert partitioned(decision) == ("True", "LayoutApplied")
    assert one.memory.partitioning == {} and ANNOTATION_CORDONED not in one.nodes["n1"].annotations


def test_one_node_at_a_time() -> None:
    three = world("n1", "n2", "n3", pods=2)
    for _ in range(20):
        three.round()
        assert sum(n.unschedulable for n in three.nodes.values()) <= 1
    assert [entry for entry in three.log if entry.startswith(("cordon", "uncordon"))] == [
        f"{verb} {name}" for name in ("n1", "n2", "n3") for verb in ("cordon", "uncordon")
    ]


def test_a_node_that_serves_is_not_begun_while_replicas_elsewhere_are_on_their_way() -> None:
    """Else for a while nobody would answer."""
    two = world("n1", "n2", pods=2)
    two.pods += [a_pod(f"new-{i}", node="", ready=False) for i in range(2)]
    for _ in range(5):
        waits = two.round()
    assert two.log[-1] == "uncordon n1"
    assert "2 replicas have room on n1 and are not there yet" in verdict(waits, "Partitioned").message
    placed = [p.model_copy(update={"node": "n1"} if p.name.startswith("new") else {}) for p in two.pods]
    two.pods = placed
    waits = two.round()
    assert "new-0, new-1 elsewhere must answer first" in verdict(waits, "Partitioned").message
    assert partitioned(waits) == ("False", "Repartitioning") and two.log[-1] == "uncordon n1"
    two.pods = [p.model_copy(update={"ready": True, "ready_at": two.now}) for p in placed]
    two.round()
    assert "cordon n2" in two.log


def test_what_will_never_come_is_not_waited_for() -> None:
    """Replicas that fit on no node yet, and a pool of one node."""
    two = world("n1", "n2", pods=1)
    two.pods.append(a_pod("homeless", node="", ready=False))
    two.round()
    assert two.log[0] == "cordon n1"
    one = world("n1", pods=1)
    one.round()
    assert one.log[0] == "cordon n1"


def test_a_node_without_answering_replicas_goes_first() -> None:
    two = world("n1", "n2")
    two.pods = [a_pod("p", node="n1")]
    two.round()
    assert two.log[0] == "cordon n2"


def test_a_node_is_uncordoned_only_when_its_partitions_are_allocatable() -> None:
    """mig-manager says success before devices are there, and sometimes they never come."""
    one = world("n1", answer=lambda _: {"state": "success"})
    for _ in range(6):
        decision = one.round()
    assert one.nodes["n1"].unschedulable and partitioned(decision) == ("False", "Repartitioning")
    one.show("n1")
    one.round()
    assert not one.nodes["n1"].unschedulable


def test_failed_is_named_and_not_tried_again() -> None:
    two = world("n1", "n2", answer=lambda _: {"state": "failed"})
    for _ in range(8):
        decision = two.round()
    assert partitioned(decision) == ("False", "PartitioningFailed")
    assert "node n1: mig-manager answered failed" in verdict(decision, "Partitioned").message
    assert two.log == ["cordon n1", "label n1"], "and the other node is left alone"
    assert [n.reason for n in decision.notes] == ["PartitioningFailed"]


def test_a_node_that_somebody_mends_goes_on() -> None:
    two = world("n1", "n2", answer=lambda _: {"state": "failed"})
    for _ in range(5):
        two.round()
    two.nodes["n1"] = two.nodes["n1"].model_copy(update={"labels": {**two.nodes["n1"].labels, LABEL_STATE: "success"}})
    two.show("n1")
    two.answer = succeeds
    for _ in range(6):
        decision = two.round()
    assert partitioned(decision) == ("True", "LayoutApplied")


def test_another_layout_is_another_try() -> None:
    one = world("n1", answer=lambda _: {"state": "failed"})
    for _ in range(5):
        one.round()
    one.layout, one.answer = SEVENTHS, succeeds
    for _ in range(6):
        decision = one.round()
    assert partitioned(decision) == ("True", "LayoutApplied")


def test_what_an_earlier_layout_came_to_is_not_the_answer_to_this_one() -> None:
    """The state label still says failed when the new layout is asked for, until mig-manager begins."""
    one = world("n1", answer=lambda _: {})
    one.nodes["n1"] = own(labels={LABEL_CONFIG: "former", LABEL_STATE: "failed"})
    for _ in range(4):
        decision = one.round()
    assert one.log == ["cordon n1", "label n1"]
    assert LABEL_STATE not in one.nodes["n1"].labels
    assert partitioned(decision) == ("False", "Repartitioning")


@pytest.mark.parametrize("answer", [{"state": "pending"}, {}, {"state": "success"}], ids=["pending", "silent", "no devices"])
def test_stuck_after_the_deadline(answer: dict[str, Any]) -> None:
    one = world("n1", answer=lambda _: answer)
    for _ in range(4):
        one.round()
    one.now += DEADLINE_S
    assert partitioned(one.round()) == ("False", "PartitioningStuck")
    steps = list(one.log)
    for _ in range(5):
        decision = one.round()
    assert one.log == steps and one.nodes["n1"].unschedulable
    assert "node n1" in verdict(decision, "Partitioned").message


def test_a_drain_that_does_not_end_is_stuck_and_its_replicas_serve_on() -> None:
    """A disruption budget lets nobody go."""
    one = world("n1", pods=1)
    one.round()
    assert not one.pods[0].routed
    kept = list(one.pods)
    for _ in range(3):
        one.round()
        one.pods = kept
    assert one.log.count("evict n1-p0") >= 2
    one.now += DEADLINE_S
    assert partitioned(one.round()) == ("False", "PartitioningStuck")
    one.pods = kept
    one.round()
    assert one.pods[0].routed


@pytest.mark.parametrize("keep_memory", [True, False], ids=["with memory", "without"])
@pytest.mark.parametrize("rounds", range(6))
def test_a_restart_at_any_step_goes_on(rounds: int, keep_memory: bool) -> None:
    two = world("n1", "n2", pods=1)
    for _ in range(rounds):
        two.round()
    two.memory = Memory.model_validate_json(two.memory.model_dump_json(by_alias=True)) if keep_memory else Memory()
    for _ in range(12):
        two.round()
        assert sum(n.unschedulable for n in two.nodes.values()) <= 1
    assert all(shows_layout(n, HALVES) and not n.unschedulable for n in two.nodes.values())
    assert two.log.count("label n1") == two.log.count("label n2") == 1, "mig-manager answers only to a change of the label"


def test_a_lost_write_of_the_label_is_made_up() -> None:
    """The plan went on, the write did not arrive."""
    one = world("n1")
    one.round()
    one.memory = plan(one.snapshot()).memory
    assert one.memory.partitioning["n1"].phase == "Applying" and LABEL_CONFIG not in one.nodes["n1"].labels
    one.now += 15
    for _ in range(3):
        decision = one.round()
    assert partitioned(decision) == ("True", "LayoutApplied")


def test_nodes_that_somebody_else_cordoned_are_left_alone() -> None:
    two = world("n1", "n2")
    two.nodes["n1"] = own("n1", unschedulable=True)
    for _ in range(6):
        decision = two.round()
    assert two.log == ["cordon n2", "label n2", "uncordon n2"]
    assert (
        partitioned(decision) == ("False", "Repartitioning")
        and "n1 is cordoned by somebody else" in verdict(decision, "Partitioned").message
    )


def test_layouts_switched_off_in_the_middle_leave_no_node_cordoned() -> None:
    one = world("n1", answer=lambda _: {"state": "pending"})
    for _ in range(3):
        one.round()
    one.round(spec=a_spec())
    assert one.log[-1] == "uncordon n1"


def test_nothing_is_touched_in_mode_recommend_or_paused() -> None:
    for spec in ({"mode": "Recommend"}, {"scaling": {"paused": True}}):
        one = world("n1", pods=1)
        full = a_spec(profiles=[a_profile(partition="3g.40gb")], partitioning={"mode": "Static", "layout": HALVES}, **spec)
        for _ in range(3):
            one.round(spec=full)
        assert one.log == [] and one.memory.partitioning == {}


def test_no_node_of_the_pool_is_said_so() -> None:
    decision = world().round()
    assert partitioned(decision) == ("Unknown", "NotPartitioned")
    assert "no node is labelled forebay.dev/pool=default.llama" in verdict(decision, "Partitioned").message


def test_only_the_pools_own_nodes_are_partitioned() -> None:
    shared = World(nodes={"shared": a_node("shared")})
    shared.round()
    assert shared.log == []


@pytest.mark.parametrize(
    ("allocatable", "layout", "shown"),
    [
        ({"nvidia.com/mig-3g.40gb": "2"}, HALVES, True),
        ({"nvidia.com/mig-3g.40gb": "16"}, HALVES, True),
        ({"nvidia.com/mig-3g.40gb": "1"}, HALVES, False),
        ({"nvidia.com/mig-3g.40gb": "0"}, HALVES, False),
        ({}, HALVES, False),
        ({"nvidia.com/mig-3g.40gb": "2", "nvidia.com/mig-1g.10gb": "1"}, HALVES, False),
        ({"nvidia.com/mig-3g.40gb": "2", "nvidia.com/mig-1g.10gb": "0"}, HALVES, True),
        ({"nvidia.com/mig-3g.40gb": "8", "nvidia.com/mig-1g.10gb.me": "8"}, {"3g.40gb": 1, "1g.10gb+me": 1}, True),
        ({"nvidia.com/mig-3g.40gb": "8", "nvidia.com/mig-1g.10gb.me": "7"}, {"3g.40gb": 1, "1g.10gb+me": 1}, False),
    ],
)
def test_a_layout_is_shown_on_every_gpu_alike(allocatable: dict[str, str], layout: dict[str, int], shown: bool) -> None:
    assert shows_layout(own(allocatable=allocatable), layout) is shown


def test_the_configuration_holds_every_layout_and_the_default() -> None:
    document = config_document([SEVENTHS, HALVES])
    assert set(document["mig-configs"]) == {"all-disabled", config_name(HALVES), config_name(SEVENTHS)}
    assert document["mig-configs"][config_name(HALVES)] == [{"devices": "all", "mig-enabled": True, "mig-devices": HALVES}]
    assert config_name({"a": 1, "b": 2}) == config_name({"b": 2, "a": 1})

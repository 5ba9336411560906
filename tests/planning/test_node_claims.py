"""Nodes that Karpenter has ordered and that have not joined yet: they come, so they count, wherever capacity moves meanwhile."""

from __future__ import annotations

from typing import Any

from tests.planning.builders import (
    NOW,
    POOL,
    a_deployment,
    a_node,
    a_pod,
    a_snapshot,
    a_spec,
    actions,
    desired,
    on_karpenter,
    running,
    settled,
    together,
)

from forebay.planning.planner import plan
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType, NodeClaimView, Snapshot
from forebay.planning.variants import node_pool_name


def a_claim(name: str = "claim-0", capacity_type: CapacityType = SPOT, *, coming: bool = True) -> NodeClaimView:
    node_pool = node_pool_name(POOL, "h100", capacity_type)
    return NodeClaimView(name=name, node_pool=node_pool, capacity_type=capacity_type, coming=coming)


def late(*claims: NodeClaimView, pods: Any = None, **limits: Any) -> Snapshot:
    """Sixteen spot replicas, eight on a node, have waited for nodes for a long time."""
    capacity = on_karpenter(spot={"enabled": True, "maxShare": 1}, limits=limits)
    spec = a_spec(capacity=capacity, scaling={"minReplicas": 16, "maxReplicas": 16})
    waiting = pods or tuple(a_pod(f"spot-{i}", "spot", ready=False, created_at=NOW - 500) for i in range(16))
    there = {"deployments": (a_deployment(16, "spot"),), "pods": waiting, "node_claims": claims}
    return a_snapshot(spec=spec, **there, memory=settled(16))


def bounds(snapshot: Snapshot) -> dict[str, str]:
    made = actions(plan(snapshot), "apply", "NodePool")
    return {a.ref.name.rpartition(".")[2]: a.body["spec"]["limits"]["nvidia.com/gpu"] for a in made}


def test_nodes_under_way_count_against_the_limits_when_capacity_moves() -> None:
    """Spot's orders stand when on-demand takes over: both together were twice what the limits allow."""
    assert bounds(late(gpus=16)) == {ON_DEMAND: "16", SPOT: "0"}
    assert bounds(late(a_claim(coming=False), gpus=16)) == {ON_DEMAND: "8", SPOT: "0"}
    assert bounds(late(a_claim("c0", coming=False), a_claim("c1", coming=False), gpus=16)) == {ON_DEMAND: "0", SPOT: "0"}


def test_spot_that_the_cloud_has_granted_has_come() -> None:
    """A node may take minutes to join: on-demand that stands in meanwhile is paid for twice."""
    assert desired(plan(late())) == (16, 0)
    assert desired(plan(late(a_claim("c0"), a_claim("c1")))) == (0, 16)
    half = plan(late(a_claim("c0")))
    assert desired(half) == (8, 8) and "8 spot replicas did not come within 120 s: on-demand stands in" in half.why
    assert desired(plan(late(a_claim("c0", coming=False), a_claim("c1", coming=False)))) == (16, 0), "asked for, not granted"


def test_a_replica_that_has_a_spot_node_and_loads_its_model_has_come() -> None:
    """Nothing is wrong with spot: a large model takes minutes, and would on on-demand too."""
    pods = tuple(a_pod(f"spot-{i}", "spot", ready=False, node="node-1", created_at=NOW - 500) for i in range(16))
    decision = plan(late(pods=pods).model_copy(update={"nodes": (a_node("node-1", SPOT),)}))
    assert desired(decision) == (0, 16) and decision.memory.spot_hold_until == 0


def test_what_is_on_its_way_is_not_given_up_when_the_rest_does_not_come() -> None:
    there = together(running(0, 4, capacity_type="spot", node="node-1", created_at=NOW - 500))
    lost = tuple(a_pod(f"spot-{i}", "spot", ready=False, created_at=NOW - 500) for i in range(12))
    decision = plan(late(pods=(*there["pods"], *lost)).model_copy(update={"nodes": there["nodes"]}))
    assert desired(decision) == (12, 4)

"""A node that is about to go still counts against its NodePool's bound, so the bound must leave room for the node that replaces it.

Without that, replicas of a reclaimed node are replaced only once it is gone: their replacements stay pending beside it.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.planning.builders import NOW, POOL, a_deployment, a_node, a_pod, a_snapshot, a_spec, actions, on_karpenter, reclaimed, settled

from forebay.planning.planner import plan
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType, NodeView, Snapshot
from forebay.planning.variants import LABEL_NODE_POOL, node_pool_name


def own(node: NodeView) -> NodeView:
    name = node_pool_name(POOL, "h100", node.capacity_type)
    return node.model_copy(update={"own": True, "labels": {LABEL_NODE_POOL: name}})


def a_pool(spot_node: NodeView, **limits: Any) -> Snapshot:
    """One replica on demand, three on one spot node."""
    pods = (a_pod("base", node="node-0"), *(a_pod(f"spot-{i}", "spot", node=spot_node.name, created_at=NOW - 600) for i in range(3)))
    capacity = on_karpenter(onDemand={"baseReplicas": 1}, spot={"enabled": True}, limits=limits)
    return a_snapshot(
        spec=a_spec(scaling={"minReplicas": 4, "maxReplicas": 4}, capacity=capacity),
        deployments=(a_deployment(1), a_deployment(3, "spot")),
        pods=pods,
        nodes=(own(a_node("node-0")), own(spot_node)),
        memory=settled(4, started_pods=tuple(pod.name for pod in pods)),
    )


def gpus(snapshot: Snapshot, capacity_type: CapacityType) -> int:
    """GPUs that the NodePool of a capacity type may have."""
    name = node_pool_name(POOL, "h100", capacity_type)
    (found,) = [a.body for a in actions(plan(snapshot), "apply", "NodePool") if a.ref.name == name]
    return int(found["spec"]["limits"]["nvidia.com/gpu"])


def test_spot_that_stays_needs_one_node() -> None:
    assert gpus(a_pool(a_node("node-1", "spot")), SPOT) == 8


def test_node_that_goes_leaves_room_for_the_one_that_replaces_it() -> None:
    assert gpus(a_pool(reclaimed()), SPOT) == 16
    assert gpus(a_pool(reclaimed()), ON_DEMAND) == 8


@pytest.mark.parametrize("most", [16, 20, 23])
def test_room_for_both_is_never_made_beyond_the_limits(most: int) -> None:
    snapshot = a_pool(reclaimed(), gpus=most)
    assert gpus(snapshot, SPOT) + gpus(snapshot, ON_DEMAND) <= most

"""Karpenter NodePools: what they ask for, what bounds them, and when they go."""

from __future__ import annotations

from tests.planning.builders import (
    A100,
    H100,
    NODE_CLASS,
    a_node,
    a_pod,
    a_profile,
    a_snapshot,
    a_spec,
    actions,
    done,
    on_karpenter,
    running,
    settled,
)

from forebay.planning.planner import plan
from forebay.planning.snapshot import NodePoolView, PoolIdentity, Snapshot
from forebay.planning.variants import node_pool_name

SPOT_POOL = "forebay.default.llama.h100.spot"
BASE_POOL = "forebay.default.llama.h100.on-demand"


def test_one_per_accelerator_and_capacity_type() -> None:
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["p5.48xlarge"]}
    capacity = on_karpenter(accelerators=[{**H100, "requirements": [requirement]}], spot={"enabled": True, "maxShare": 0.5})
    spec = a_spec(capacity=capacity, scaling={"minReplicas": 4, "maxReplicas": 9})
    made = {a.ref.name: a.body for a in actions(plan(a_snapshot(spec=spec)), "apply", "NodePool")}
    assert set(made) == {BASE_POOL, SPOT_POOL}
    spot, base = made[SPOT_POOL]["spec"], made[BASE_POOL]["spec"]
    capacity_type = {"key": "karpenter.sh/capacity-type", "operator": "In"}
    assert spot["template"]["spec"]["requirements"] == [{**capacity_type, "values": ["spot"]}, requirement]
    assert base["template"]["spec"]["requirements"] == [{**capacity_type, "values": ["on-demand", "reserved"]}, requirement]
    assert spot["template"]["spec"]["nodeClassRef"] == NODE_CLASS
    assert spot["template"]["metadata"]["labels"] == {"forebay.dev/pool": "default.llama"}
    assert spot["limits"] == base["limits"] == {"nvidia.com/gpu": "8"}
    assert spot["disruption"]["consolidationPolicy"] == "WhenEmpty"
    labels = made[SPOT_POOL]["metadata"]["labels"]
    assert (labels["forebay.dev/owner-uid"], labels["forebay.dev/owner-namespace"]) == ("uid-1", "default")
    assert "ownerReferences" not in made[SPOT_POOL]["metadata"], "a namespaced owner would have it deleted at once"


def test_replicas_stand_only_on_nodes_that_were_made_for_them() -> None:
    pod = actions(plan(a_snapshot(spec=a_spec(capacity=on_karpenter()))), "apply", "Deployment")[0].body["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"forebay.dev/pool": "default.llama"}


def test_without_karpenter_existing_nodes_are_used() -> None:
    decision = plan(a_snapshot(spec=a_spec(capacity=on_karpenter()), backend_installed=False))
    assert not actions(decision, "apply", "NodePool")
    pod = actions(decision, "apply", "Deployment")[0].body["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod and "affinity" not in pod, "nodes that nobody labelled must do"


def test_nodes_without_gpus_are_bounded_by_their_number() -> None:
    capacity = on_karpenter(accelerators=[{"name": "cpu"}])
    spec = a_spec(profiles=[a_profile("cpu", gpus=0)], capacity=capacity, scaling={"minReplicas": 3, "maxReplicas": 5})
    made = actions(plan(a_snapshot(spec=spec)), "apply", "NodePool")
    assert [a.body["spec"]["limits"] for a in made] == [{"nodes": "3"}]


def test_partitions_share_gpus() -> None:
    """Seven partitions a GPU, eight GPUs a node: 57 replicas are two nodes."""
    spec = a_spec(
        profiles=[a_profile(partition="1g.10gb")], partitioning={"mode": "Static", "layout": {"1g.10gb": 7}},
        capacity=on_karpenter(), scaling={"minReplicas": 57, "maxReplicas": 99},
    )  # fmt: skip
    made = actions(plan(a_snapshot(spec=spec)), "apply", "NodePool")
    assert [a.body["spec"]["limits"] for a in made] == [{"nvidia.com/gpu": "16"}]


def test_no_two_pools_of_a_cluster_share_a_name() -> None:
    """Hyphens are allowed in all of its parts."""
    parts = [("a", "b-c", "d"), ("a-b", "c", "d"), ("a", "b", "c-d"), ("a", "b-c-d", "spot")]
    names = {node_pool_name(PoolIdentity(namespace=ns, name=pool), acc, ct) for ns, pool, acc in parts for ct in ("spot", "on-demand")}
    assert len(names) == 2 * len(parts)


def test_names_stay_within_a_labels_value() -> None:
    pool = PoolIdentity(namespace="n" * 63, name="p" * 63)
    names = {node_pool_name(pool, accelerator, "spot") for accelerator in ("a" * 63, "a" * 62 + "b")}
    assert len(names) == 2 and all(len(name) <= 63 and name[-1].isalnum() for name in names)


def leaving(**fields: object) -> Snapshot:
    """Spot was switched off; its NodePool is still there."""
    spec = a_spec(capacity=on_karpenter())
    return a_snapshot(spec=spec, node_pools=(NodePoolView(name=BASE_POOL), NodePoolView(name=SPOT_POOL)), memory=settled(1), **fields)


def test_a_node_pool_stays_while_replicas_are_on_its_nodes() -> None:
    """Karpenter takes the nodes of a deleted NodePool away, and what runs on them with it."""
    there = {
        **running(1, capacity_type="spot"),
        "nodes": (a_node("node-1", "spot", own=True, labels={"karpenter.sh/nodepool": SPOT_POOL}),),
    }
    assert ("delete", "NodePool", SPOT_POOL) not in done(plan(leaving(**there)))
    assert ("delete", "NodePool", SPOT_POOL) in done(plan(leaving(**running(1))))


def test_a_node_pool_outlives_the_last_replica_that_drains_on_its_nodes() -> None:
    """Its Deployment is gone, and the replica has requests under way."""
    there = running(1)
    pod = a_pod("llama-h100-spot-0", "spot", node="node-2", deleting=True)
    node = a_node("node-2", "spot", own=True, labels={"karpenter.sh/nodepool": SPOT_POOL})
    draining = {**there, "pods": (*there["pods"], pod), "nodes": (*there["nodes"], node)}
    assert ("delete", "NodePool", SPOT_POOL) not in done(plan(leaving(**draining)))


def test_node_pools_go_when_the_pool_no_longer_wants_karpenter() -> None:
    snapshot = leaving(**running(1)).model_copy(update={"spec": a_spec()})
    assert {name for verb, kind, name in done(plan(snapshot)) if (verb, kind) == ("delete", "NodePool")} == {BASE_POOL, SPOT_POOL}


def test_karpenter_without_accelerators_is_asked_for_nothing() -> None:
    spec = a_spec(profiles=[], capacity=on_karpenter(accelerators=[]))
    decision = plan(a_snapshot(spec=spec))
    assert not actions(decision, "apply", "NodePool")
    pod = actions(decision, "apply", "Deployment")[0].body["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod


def test_no_profile_still_gets_nodes() -> None:
    spec = a_spec(profiles=[], capacity=on_karpenter(accelerators=[A100, H100]), scaling={"minReplicas": 2, "maxReplicas": 4})
    made = actions(plan(a_snapshot(spec=spec)), "apply", "NodePool")
    assert {a.ref.name: a.body["spec"]["limits"] for a in made} == {"forebay.default.llama.a100.on-demand": {"nodes": "2"}}

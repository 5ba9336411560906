"""From Kubernetes objects to a snapshot."""

from __future__ import annotations

from typing import Any

from tests.reconcile.worlds import Lab, a_class, a_pool, in_lab

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object
from forebay.planning.memory import Memory
from forebay.planning.snapshot import Taint
from forebay.reconcile.keys import pool_key
from forebay.reconcile.observe import deployment_view, epoch_s, node_claim_view, node_view, pod_view, pool_record, target

T0 = "2026-01-01T00:00:00Z"
CHAT = pool_key("default", "chat")


def a_pod(phase: str = "Running", ready: str = "True", **meta: Any) -> Object:
    labels = {
        "forebay.dev/pool": "chat",
        "forebay.dev/variant": "h100-spot",
        "karpenter.sh/capacity-type": "spot",
        "forebay.dev/routed": "true",
    }
    conditions = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:30Z"},
    ]
    return {
        "metadata": {"name": "p", "namespace": "default", "labels": labels, "creationTimestamp": T0, **meta},
        "spec": {"nodeName": "n1"},
        "status": {"phase": phase, "podIP": "10.0.0.1", "conditions": conditions},
    }


def test_a_ready_replica() -> None:
    view = pod_view(a_pod())
    assert (view.variant, view.capacity_type, view.node, view.ready, view.routed, view.deleting) == (
        "h100-spot",
        "spot",
        "n1",
        True,
        True,
        False,
    )
    assert view.ready_at is not None and view.ready_at - view.created_at == 30


def test_the_times_of_a_start() -> None:
    pod = a_pod()
    pod["spec"]["containers"] = [{"name": "server", "startupProbe": {"httpGet": {"path": "/health"}}}]
    pod["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:05Z"
    running = {"running": {"startedAt": "2026-01-01T00:00:12Z"}}
    server = {"name": "server", "restartCount": 0, "started": True, "state": running}
    pod["status"]["containerStatuses"] = [{"name": "other", "restartCount": 0, "state": {}}, server]
    view = pod_view(pod)
    assert view.scheduled_at is not None and view.running_at is not None
    assert (view.scheduled_at - view.created_at, view.running_at - view.created_at, view.loaded) == (5, 12, True)
    pod["status"]["containerStatuses"] = [{**server, "restartCount": 1, "started": False}]
    assert (pod_view(pod).running_at, pod_view(pod).loaded) == (None, False)
    del pod["spec"]["containers"][0]["startupProbe"]
    assert pod_view(pod).loaded is None, "there is no probe to pass"


def test_a_replica_that_is_not_there_yet() -> None:
    bare = {"metadata": {"name": "p", "labels": {}, "creationTimestamp": T0}, "spec": {}}
    view = pod_view(bare)
    assert (view.ready, view.ready_at, view.node, view.routed, view.capacity_type) == (False, None, "", False, "on-demand")
    assert pod_view(a_pod(ready="False")).ready_at is None
    assert pod_view(a_pod(deletionTimestamp=T0)).deleting


def a_claim(name: str, **status: Any) -> Object:
    labels = {"forebay.dev/pool": "default.chat", "karpenter.sh/nodepool": "np", "karpenter.sh/capacity-type": "spot"}
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": name, "labels": labels}, "status": status}


def test_nodes_under_way_are_those_without_a_node() -> None:
    """Asked for, granted, and joined: the last is counted as a node."""
    granted = {"conditions": [{"type": "Launched", "status": "True"}]}

    async def test(lab: Lab) -> None:
        node = {"name": "n1", "labels": {"forebay.dev/pool": "default.chat"}}
        await lab.apply(a_class(), a_pool(), {"apiVersion": "v1", "kind": "Node", "metadata": node})
        for name, status in (("asked", {}), ("granted", granted), ("joined", {**granted, "nodeName": "n1"})):
            claim = a_claim(name, **status)
            await lab.apply(claim)
            await lab.cluster.apply(claim, manager="karpenter", subresource="status")
        async with lab.operator() as operator:
            await operator.again()
            snapshot = operator.decisions.records[-1]["snapshot"]
            assert [(c["name"], c["coming"]) for c in snapshot["nodeClaims"]] == [("asked", False), ("granted", True)]
            assert {c["nodePool"] for c in snapshot["nodeClaims"]} == {"np"}
            await lab.cluster.patch(kinds.NODE_CLAIMS, None, "asked", {"status": granted}, subresource="status")
            await operator.quiet()
            claims = operator.world.view.all(kinds.NODE_CLAIMS)
            assert all(node_claim_view(c).coming for c in claims)

    in_lab(test)


def test_sidecars_are_asked_once_their_pod_runs() -> None:
    found = target(a_pod())
    assert found is not None and (found.address, found.port, found.pod) == ("10.0.0.1", 9400, "p")
    assert target(a_pod("Pending")) is None
    without = a_pod()
    del without["status"]["podIP"]
    assert target(without) is None
    terminating = target(a_pod(deletionTimestamp=T0))
    assert terminating is not None, "what it still does counts"


def test_a_deployment_rolls_while_old_replicas_are_left() -> None:
    def view(**status: int) -> bool:
        meta = {"name": "d", "labels": {"forebay.dev/variant": "v"}}
        return deployment_view({"metadata": meta, "spec": {"replicas": 4}, "status": status}).rolling

    assert not view() and not view(replicas=4, updatedReplicas=4)
    assert view(replicas=5, updatedReplicas=1) and view(replicas=4)
    assert not view(replicas=2, updatedReplicas=2), "growing is no rollout"


def test_of_a_node_only_what_decisions_look_at_is_kept() -> None:
    node = {
        "metadata": {
            "name": "n1",
            "labels": {"forebay.dev/pool": "default.chat", "karpenter.sh/nodepool": "np", "kubernetes.io/hostname": "n1", "topology": "z"},
            "annotations": {"forebay.dev/cordoned-for": "c", "kubelet": "x"},
        },
        "spec": {"unschedulable": True, "taints": [{"key": "k", "effect": "NoSchedule"}]},
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown", "lastHeartbeatTime": T0}],
            "allocatable": {"cpu": "8", "nvidia.com/gpu": 8, "nvidia.com/mig-3g.40gb": "2"},
        },
    }
    view = node_view(node, "default.chat")
    assert view.own and not view.ready and view.unschedulable and view.taints == (Taint(key="k", effect="NoSchedule"),)
    assert set(view.labels) == {"forebay.dev/pool", "karpenter.sh/nodepool"} and set(view.annotations) == {"forebay.dev/cordoned-for"}
    assert view.allocatable == {"nvidia.com/gpu": "8", "nvidia.com/mig-3g.40gb": "2"}
    assert not node_view(node, "default.other").own
    assert node_view({"metadata": {"name": "n"}}, "x").ready is False


def test_times_of_either_form_are_read() -> None:
    assert epoch_s("2026-01-01T00:00:00Z") == epoch_s("2026-01-01T00:00:00.000000Z") == 1767225600.0
    assert epoch_s(None) is None and epoch_s("") is None


def test_ended_pods_are_no_replicas() -> None:
    """What the kubelet has evicted stays as an object, for days."""

    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            await operator.quiet()
            await lab.run_pods()
            ended = a_pod("Failed", "False")
            ended["metadata"].pop("creationTimestamp")
            await lab.cluster.create(
                {"apiVersion": "v1", "kind": "Pod", **ended, "spec": {"nodeName": "n1", "containers": [{"name": "c"}]}}
            )
            where = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}}
            await lab.cluster.apply({**where, "status": ended["status"]}, manager="kubelet", subresource="status", force=True)
            await operator.quiet()
            assert (await lab.status())["replicas"] == 1

    in_lab(test)


def test_another_pool_of_the_same_name_has_a_record_of_its_own() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            first = await pool_record(operator.world, CHAT, "uid-1", 0)
            first.memory = Memory(target=9)
            assert (await pool_record(operator.world, CHAT, "uid-1", 0)).memory.target == 9
            assert (await pool_record(operator.world, CHAT, "uid-2", 0)).memory.target == 0

    in_lab(test)

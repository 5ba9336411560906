"""Gives pending pods their node, for `forebay up`: what the scheduler does in a cluster."""

from __future__ import annotations

from collections import Counter

from forebay.adapters.cluster import NODES, PODS, Cluster, Object
from forebay.local.container import now
from forebay.local.control_loop import follow
from forebay.local.fit import place, usage
from forebay.local.rollout import is_live, is_over

UNSCHEDULABLE = "Unschedulable"


async def run_scheduler(cluster: Cluster) -> None:
    """Runs until it is cancelled."""

    async def step() -> None:
        pods, nodes = await cluster.list(PODS), await cluster.list(NODES)
        pending = {pod["metadata"]["uid"]: pod for pod in pending_pods(pods)}
        chosen, refused = place(list(pending.values()), oldest_first(nodes), used_by_node(pods))
        for uid, node in chosen.items():
            await _bind(cluster, pending[uid], node)
        for uid, reason in refused.items():
            await _refuse(cluster, pending[uid], reason)

    await follow(cluster, (PODS, NODES), step)


def pending_pods(pods: list[Object]) -> list[Object]:
    """Pods that wait for a node, oldest first."""
    return oldest_first([pod for pod in pods if is_live(pod) and not pod["spec"].get("nodeName")])


def oldest_first(objects: list[Object]) -> list[Object]:
    return sorted(objects, key=lambda one: (one["metadata"].get("creationTimestamp", ""), one["metadata"]["name"]))


def used_by_node(pods: list[Object]) -> dict[str, Counter[str]]:
    """What the pods of each node take; a pod that is ending takes it until it is gone."""
    by_node: dict[str, list[Object]] = {}
    for pod in pods:
        if not is_over(pod):
            by_node.setdefault(pod["spec"].get("nodeName", ""), []).append(pod)
    return {node: usage(on_it) for node, on_it in by_node.items()}


async def _bind(cluster: Cluster, pod: Object, node: str) -> None:
    metadata = pod["metadata"]
    version = {"resourceVersion": metadata.get("resourceVersion")}
    bound = await cluster.patch(PODS, metadata["namespace"], metadata["name"], {"metadata": version, "spec": {"nodeName": node}})
    await _say(cluster, bound, {"type": "PodScheduled", "status": "True"})


async def _refuse(cluster: Cluster, pod: Object, message: str) -> None:
    await _say(cluster, pod, {"type": "PodScheduled", "status": "False", "reason": UNSCHEDULABLE, "message": message})


async def _say(cluster: Cluster, pod: Object, condition: dict[str, str]) -> None:
    conditions = pod.get("status", {}).get("conditions") or []
    old: dict[str, str] = next((one for one in conditions if one["type"] == condition["type"]), {})
    if {**old, **condition} == old:
        return
    since = old["lastTransitionTime"] if old.get("status") == condition["status"] else now()
    kept = [one for one in conditions if one["type"] != condition["type"]]
    status = {"phase": "Pending", "conditions": [*kept, {**condition, "lastTransitionTime": since}]}
    metadata = pod["metadata"]
    body = {"metadata": {"resourceVersion": metadata.get("resourceVersion")}, "status": status}
    await cluster.patch(PODS, metadata["namespace"], metadata["name"], body, subresource="status")

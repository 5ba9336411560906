"""Keeps the pods of Deployments, for `forebay up`: what the controller manager does in a cluster, without ReplicaSets between."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from forebay.adapters.cluster import DEPLOYMENTS, PODS, Cluster, Object
from forebay.local.container import now
from forebay.local.control_loop import follow
from forebay.local.rollout import HASH_LABEL, bounds_of, is_live, is_ready, recreate, rolling_update, template_hash


async def run_deployments(cluster: Cluster) -> None:
    """Runs until it is cancelled."""

    async def step() -> None:
        pods: dict[str, list[Object]] = {}
        for pod in await cluster.list(PODS):
            for owner in pod["metadata"].get("ownerReferences") or []:
                pods.setdefault(owner["uid"], []).append(pod)
        for deployment in await cluster.list(DEPLOYMENTS):
            await _settle(cluster, deployment, pods.get(deployment["metadata"]["uid"], []))

    await follow(cluster, (DEPLOYMENTS, PODS), step)


async def _settle(cluster: Cluster, deployment: Object, pods: list[Object]) -> None:
    spec, namespace = deployment["spec"], deployment["metadata"]["namespace"]
    desired, current = int(spec.get("replicas", 1)), template_hash(spec["template"])
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        moves = recreate(desired, current, pods)
    else:
        moves = rolling_update(desired, bounds_of(spec, desired), current, pods)
    for name in moves.delete:
        await cluster.delete(PODS, namespace, name)
    for _ in range(moves.create):
        await cluster.create(_pod(deployment, current))
    status = _status(deployment, current, [pod for pod in pods if is_live(pod)])
    if status != deployment.get("status"):
        await cluster.patch(DEPLOYMENTS, namespace, deployment["metadata"]["name"], {"status": status}, subresource="status")


def _pod(deployment: Object, current: str) -> Object:
    metadata, template = deployment["metadata"], deployment["spec"]["template"]
    described = template.get("metadata") or {}
    owner = {"apiVersion": deployment["apiVersion"], "kind": deployment["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{metadata['name']}-{current}-",
            "namespace": metadata["namespace"],
            "labels": {**(described.get("labels") or {}), HASH_LABEL: current},
            "annotations": dict(described.get("annotations") or {}),
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def _status(deployment: Object, current: str, live: list[Object]) -> dict[str, Any]:
    spec = deployment["spec"]
    desired, ready = int(spec.get("replicas", 1)), sum(map(is_ready, live))
    updated = [pod for pod in live if pod["metadata"]["labels"][HASH_LABEL] == current]
    available = ready >= desired - bounds_of(spec, desired).unavailable
    complete = len(updated) == len(live) == desired and ready == desired
    before = {one["type"]: one for one in deployment.get("status", {}).get("conditions") or []}
    return {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": len(live),
        "updatedReplicas": len(updated),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, desired - ready),
        "conditions": [
            _condition(
                before, "Available", "True" if available else "False", f"MinimumReplicas{'Available' if available else 'Unavailable'}"
            ),
            _condition(before, "Progressing", "True", "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated"),
        ],
    }


def _condition(before: Mapping[str, Any], type_: str, status: str, reason: str) -> dict[str, Any]:
    old = before.get(type_)
    if old and (old["status"], old["reason"]) == (status, reason):
        return dict(old)
    changed = old["lastTransitionTime"] if old and old["status"] == status else now()
    return {"type": type_, "status": status, "reason": reason, "lastTransitionTime": changed, "lastUpdateTime": now()}

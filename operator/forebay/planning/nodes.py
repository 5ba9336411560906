"""Karpenter NodePools of a pool: one per accelerator and capacity type, bounded to what the plan needs.

They are cluster-scoped, so no ownerReference can tie them to their pool: they carry its UID in a label and are swept by it.
"""

from __future__ import annotations

from typing import Any

from forebay.api.canonical import bounded_name
from forebay.api.inference_pool import Accelerator, Backend, InferencePoolSpec, Profile
from forebay.planning.placement import Split, nodes_needed
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType, PoolIdentity
from forebay.planning.variants import LABEL_CAPACITY_TYPE, LABEL_OWNER_NAMESPACE, LABEL_OWNER_UID, LABEL_POOL, capacity_types, qualified

CONSOLIDATE_AFTER = "2m"
KARPENTER_CAPACITY_TYPES: dict[CapacityType, list[str]] = {ON_DEMAND: ["on-demand", "reserved"], SPOT: ["spot"]}


def node_pool_name(pool: PoolIdentity, accelerator: Accelerator, capacity_type: CapacityType) -> str:
    return bounded_name("forebay", pool.namespace, pool.name, accelerator.name, capacity_type)


def node_pool(
    pool: PoolIdentity, spec: InferencePoolSpec, accelerator: Accelerator, capacity_type: CapacityType, limits: dict[str, str]
) -> dict[str, Any]:
    """A `karpenter.sh/v1` NodePool; nodes leave only when they are empty, for a loaded model is dear to move."""
    node_class = spec.capacity.nodes.node_class_ref
    requirements = [{"key": LABEL_CAPACITY_TYPE, "operator": "In", "values": KARPENTER_CAPACITY_TYPES[capacity_type]}]
    requirements += [r.model_dump(mode="json", by_alias=True, exclude_defaults=True) for r in accelerator.requirements]
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {
            "name": node_pool_name(pool, accelerator, capacity_type),
            "labels": {
                "app.kubernetes.io/managed-by": "forebay",
                LABEL_OWNER_UID: pool.uid,
                LABEL_OWNER_NAMESPACE: pool.namespace,
                LABEL_POOL: qualified(pool.namespace, pool.name),
            },
        },
        "spec": {
            "template": {
                "metadata": {"labels": {LABEL_POOL: qualified(pool.namespace, pool.name)}},
                "spec": {
                    "requirements": requirements,
                    "nodeClassRef": node_class.model_dump(mode="json", by_alias=True) if node_class else {},
                },
            },
            "limits": limits,
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": CONSOLIDATE_AFTER},
        },
    }


def node_pools(
    pool: PoolIdentity, spec: InferencePoolSpec, chosen: tuple[Accelerator, Profile] | None, split: Split
) -> list[dict[str, Any]]:
    """The NodePools of the plan. Those of accelerators that are not chosen are bounded to nothing new."""
    if spec.capacity.nodes.backend != Backend.KARPENTER or chosen is None:
        return []
    accelerator, profile = chosen
    per_gpu = spec.partitioning.layout.get(profile.partition, 1)
    result = []
    for capacity_type in capacity_types(spec):
        nodes = nodes_needed(accelerator, profile, split.of(capacity_type), per_gpu)
        limits = {"nvidia.com/gpu": str(nodes * accelerator.gpus_per_node)} if profile.gpus else {"nodes": str(nodes)}
        result.append(node_pool(pool, spec, accelerator, capacity_type, limits))
    return result

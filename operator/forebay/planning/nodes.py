"""Karpenter NodePools of a pool: one per accelerator and capacity type, bounded to what the plan needs.

They are cluster-scoped, so no ownerReference can tie them to their pool: they carry its UID in a label and are swept by it. A NodePool that
is deleted takes its nodes along, so one that is no longer wanted goes only when none of the pool's replicas is on its nodes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from forebay.api.inference_pool import Backend, NodeLimits
from forebay.planning.interruption import interruption
from forebay.planning.limits import NOTHING, Bill, bill, bill_of_nodes, nodes_needed
from forebay.planning.placement import Placed
from forebay.planning.room import makes_nodes
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType, NodePoolView, Snapshot
from forebay.planning.variants import (
    LABEL_CAPACITY_TYPE,
    LABEL_NODE_POOL,
    LABEL_OWNER_NAMESPACE,
    LABEL_OWNER_UID,
    LABEL_POOL,
    Variant,
    existing_variant,
    node_pool_name,
    qualified,
)

CONSOLIDATE_AFTER = "2m"
KARPENTER_CAPACITY_TYPES: dict[CapacityType, list[str]] = {ON_DEMAND: ["on-demand", "reserved"], SPOT: ["spot"]}


@dataclass
class _Need:
    """One NodePool and the nodes it is needed for."""

    variant: Variant
    nodes: int = 0


def node_pools(snapshot: Snapshot, variants: tuple[Variant, ...], placed: Placed) -> list[dict[str, Any]]:
    """The NodePools of the plan, and of Deployments that are on their way out."""
    if not makes_nodes(snapshot, variants):
        return []
    needs = _needs(snapshot, variants, placed)
    bounds = _bounds(snapshot, needs, variants[0])
    return [_node_pool(snapshot, name, need.variant, bounds[name]) for name, need in needs.items()]


def _needs(snapshot: Snapshot, variants: tuple[Variant, ...], placed: Placed) -> dict[str, _Need]:
    pool, spec, needs = snapshot.pool, snapshot.spec, dict[str, _Need]()
    counted = [(v, placed.of(v) + placed.surge.get(v.name, 0)) for v in variants]
    listed = {a.name for a in spec.capacity.accelerators}
    leaving = [d for d in snapshot.deployments if d.name in placed.old and d.accelerator in listed]
    counted += [(existing_variant(spec, d, variants[0]), placed.old[d.name]) for d in leaving]
    going = {node.name: node.labels.get(LABEL_NODE_POOL, "") for node in snapshot.nodes if node.own and interruption(node)}
    for variant, replicas in counted:
        if variant.accelerator is not None:
            name = node_pool_name(pool, variant.accelerator.name, variant.capacity_type)
            need = needs.setdefault(name, _Need(variant))
            doomed = sum(p.variant == variant.name and not p.deleting and going[p.node] == name for p in snapshot.pods if p.node in going)
            need.nodes += nodes_needed(spec, variant, max(0, replicas - doomed))
    for name, need in needs.items():
        # Karpenter counts them against the bound until they are gone, and what replaces their replicas cannot stand on them.
        need.nodes += sum(own == name for own in going.values())
    return needs


def _bounds(snapshot: Snapshot, needs: dict[str, _Need], like: Variant) -> dict[str, int]:
    """Nodes that each NodePool may have: what is needed, as far as there is room beside the pool's nodes that exist or are under way.

    Those under way come even where they are no longer wanted, as when on-demand stands in for spot.
    """
    limits = snapshot.spec.capacity.nodes.limits
    if limits.unset:
        return {name: need.nodes for name, need in needs.items()}
    have = _nodes_there(snapshot)
    known = sum((bill_of_nodes(needs[name].variant if name in needs else like, count) for name, count in have.items()), NOTHING)
    bounds = {}
    for name, need in needs.items():
        bounds[name], known = _grown(need, have[name], known, limits)
    return bounds


def taken(snapshot: Snapshot, like: Variant) -> Bill:
    """What the pool takes until it is gone: by its replicas, those that still end included, and by nodes of its own that are empty."""
    spec, pods, needed = snapshot.spec, Counter(p.variant for p in snapshot.pods), Counter[str]()
    found = NOTHING
    for d in snapshot.deployments:
        variant, replicas = existing_variant(spec, d, like), max(d.replicas, pods[d.variant])
        found += bill(spec, variant, replicas)
        needed[variant.node_pool_name(snapshot.pool)] += nodes_needed(spec, variant, replicas)
    if spec.capacity.nodes.backend != Backend.KARPENTER:
        return found
    kinds = [Variant(capacity_type, acc) for acc in spec.capacity.accelerators for capacity_type in (ON_DEMAND, SPOT)]
    named = {kind.node_pool_name(snapshot.pool): kind for kind in kinds}
    empty = _nodes_there(snapshot) - needed
    return sum((bill_of_nodes(named.get(name, like), count) for name, count in empty.items()), found)


def _nodes_there(snapshot: Snapshot) -> Counter[str]:
    """Nodes of each NodePool, those under way included."""
    have = Counter(node.labels.get(LABEL_NODE_POOL, "") for node in snapshot.nodes if node.own)
    return have + Counter(claim.node_pool for claim in snapshot.node_claims)


def _grown(need: _Need, have: int, taken: Bill, limits: NodeLimits) -> tuple[int, Bill]:
    allowed = min(need.nodes, have)
    while allowed < need.nodes and (more := taken + bill_of_nodes(need.variant, 1)).within(limits):
        allowed, taken = allowed + 1, more
    return allowed, taken


def unwanted(snapshot: Snapshot, wanted: list[dict[str, Any]]) -> list[NodePoolView]:
    """NodePools of the pool that no plan needs and on whose nodes none of its replicas is left."""
    names = {obj["metadata"]["name"] for obj in wanted}
    nodes = {node.name: node.labels.get(LABEL_NODE_POOL, "") for node in snapshot.nodes}
    occupied = {nodes.get(pod.node, "") for pod in snapshot.pods if pod.node}
    return [p for p in snapshot.node_pools if p.name not in names and p.name not in occupied]


def _node_pool(snapshot: Snapshot, name: str, variant: Variant, nodes: int) -> dict[str, Any]:
    """A `karpenter.sh/v1` NodePool; nodes leave only when they are empty, for a loaded model is dear to move."""
    pool, accelerator, node_class = snapshot.pool, variant.accelerator, snapshot.spec.capacity.nodes.node_class_ref
    assert accelerator is not None
    requirements = [{"key": LABEL_CAPACITY_TYPE, "operator": "In", "values": KARPENTER_CAPACITY_TYPES[variant.capacity_type]}]
    requirements += [r.model_dump(mode="json", by_alias=True, exclude_defaults=True) for r in accelerator.requirements]
    limits = {"nvidia.com/gpu": str(nodes * accelerator.gpus_per_node)} if variant.gpus else {"nodes": str(nodes)}
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {
            "name": name,
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

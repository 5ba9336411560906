"""What an API server does differently from kind to kind: status apart, generations, scale, and a few rules of built-in kinds."""

from __future__ import annotations

from collections.abc import Iterator

from forebay.adapters.cluster import (
    ALL_KINDS,
    BATCH_CLASSES,
    CRDS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    INFERENCE_POOLS,
    NAMESPACES,
    NODE_CLAIMS,
    NODE_POOLS,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    ROLE_BINDINGS,
    ROLES,
    ROUTING_POLICIES,
    SERVICES,
    Kind,
    Object,
)

BY_NAME = {(kind.api_version, kind.name): kind for kind in ALL_KINDS}

_OURS = (INFERENCE_POOLS, ROUTING_POLICIES, BATCH_CLASSES)
HAS_STATUS = frozenset(
    (*_OURS, DEPLOYMENTS, REPLICA_SETS, PODS, NODES, SERVICES, NAMESPACES, NODE_POOLS, NODE_CLAIMS, CRDS, POD_DISRUPTION_BUDGETS)
)
"""Kinds whose status is written through its own subresource only."""

STATUS_ON_CREATE = frozenset((NODES, NAMESPACES))
"""Kinds that keep the status they are created with, for what registers them knows it."""

HAS_GENERATION = HAS_STATUS - {NODES, SERVICES, NAMESPACES} | {ENDPOINT_SLICES}
FREE_NAMES = frozenset((ROLES, ROLE_BINDINGS))
"""Kinds whose names may hold more than DNS allows."""

SCALE: dict[Kind, tuple[str, ...]] = {
    DEPLOYMENTS: ("spec", "replicas"),
    REPLICA_SETS: ("spec", "replicas"),
    NODE_POOLS: ("spec", "replicas"),
    INFERENCE_POOLS: ("spec", "scaling", "minReplicas"),
}
"""Where the scale subresource keeps its number."""


def spec_of(obj: Object) -> Object:
    """What a generation counts changes of: all but metadata and status."""
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


def prepare(kind: Kind, obj: Object) -> None:
    """Fills in what the server itself says about a new object of a built-in kind. What was sent is left as it is: its sender owns that."""
    if kind == PODS:
        obj["status"] = {"phase": "Pending"}
    elif kind == NAMESPACES:
        obj["metadata"]["labels"] = {**(obj["metadata"].get("labels") or {}), "kubernetes.io/metadata.name": obj["metadata"]["name"]}
        obj["status"] = {"phase": "Active"}
    elif kind == DEPLOYMENTS:
        obj["spec"] = {"replicas": 1, **(obj.get("spec") or {})}


def broken_rules(kind: Kind, old: Object | None, new: Object) -> Iterator[str]:
    """What the server refuses about built-in kinds, as far as this project could get it wrong."""
    if kind in (DEPLOYMENTS, REPLICA_SETS):
        spec = new.get("spec") or {}
        wanted = (spec.get("selector") or {}).get("matchLabels") or {}
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        if not wanted and not (spec.get("selector") or {}).get("matchExpressions"):
            yield "spec.selector: Required value"
        if any(labels.get(name) != value for name, value in wanted.items()):
            yield f"spec.template.metadata.labels: Invalid value: {labels}: `selector` does not match template `labels`"
        if old and (old.get("spec") or {}).get("selector") != spec.get("selector"):
            yield f"spec.selector: Invalid value: {spec.get('selector')}: field is immutable"
        if not isinstance(spec.get("replicas", 0), int) or spec.get("replicas", 0) < 0:
            yield f"spec.replicas: Invalid value: {spec.get('replicas')}: must be greater than or equal to 0"
    if kind == PODS and not ((new.get("spec") or {}).get("containers")):
        yield "spec.containers: Required value"

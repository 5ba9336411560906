"""What is worked on: keys of the queue, and which of them a change of an object concerns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Kind, Object
from forebay.planning.gateway_workload import LABEL_GATEWAY
from forebay.planning.variants import LABEL_OWNER_UID, LABEL_POOL, qualified
from forebay.reconcile.view import View


class Key(NamedTuple):
    """A piece of work: a pool, a gateway, a class, or a chore of the whole cluster."""

    what: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.what} {self.namespace}/{self.name}" if self.namespace else f"{self.what} {self.name}"


SWEEP = Key("chore", "", "sweep")
MIG_CONFIG = Key("chore", "", "mig-config")
WAKE = Key("chore", "", "wake")


def pool_key(namespace: str, name: str) -> Key:
    return Key("pool", namespace, name)


def gateways(view: View) -> set[Key]:
    """Every gateway that a policy names."""
    policies = view.all(kinds.ROUTING_POLICIES)
    return {Key("gateway", p["metadata"]["namespace"], p["spec"].get("gateway", {}).get("name", "default")) for p in policies}


class Asked(NamedTuple):
    """What a pool's user asked for, as far as work follows from it; its status is ours."""

    uid: str
    generation: int
    deleting: bool
    layout: dict[str, int]


def asked(pool: Object) -> Asked:
    meta, partitioning = pool["metadata"], pool.get("spec", {}).get("partitioning") or {}
    layout = partitioning.get("layout", {}) if partitioning.get("mode") == "Static" else {}
    return Asked(meta["uid"], meta.get("generation", 0), "deletionTimestamp" in meta, layout)


def chores(before: Asked | None, after: Asked | None) -> set[Key]:
    """Work of the whole cluster that follows from a pool's change: what it left behind when it went, and layouts when its own changed.

    Each lists all pools, so no other change is worth it; both are also done at start.
    """
    gone = before is not None and (after is None or after.uid != before.uid)
    relaid = (before.layout if before else {}) != (after.layout if after else {})
    return {key for key, due in ((SWEEP, gone), (MIG_CONFIG, relaid)) if due}


def concerned(kind: Kind, obj: Object, view: View) -> Iterable[Key]:
    """The keys that must be looked at again after the object changed or went."""
    meta = obj["metadata"]
    namespace, name, labels = meta.get("namespace", ""), meta["name"], meta.get("labels") or {}
    if kind == kinds.INFERENCE_POOLS:
        classes = obj.get("spec", {}).get("classes", [])
        served = [Key("class", "", c) for c in classes if view.get(kinds.BATCH_CLASSES, None, c)]
        return [pool_key(namespace, name), *gateways(view), *served]
    if kind == kinds.ROUTING_POLICIES:
        return [*gateways(view), Key("gateway", namespace, obj.get("spec", {}).get("gateway", {}).get("name", "default"))]
    if kind == kinds.BATCH_CLASSES:
        users = [p["metadata"] for p in view.all(kinds.INFERENCE_POOLS) if name in p["spec"].get("classes", [])]
        return [Key("class", "", name), *(pool_key(m["namespace"], m["name"]) for m in users), *gateways(view)]
    if kind == kinds.NODES:
        return _pools_on(name, labels, view)
    if kind == kinds.NODE_CLAIMS:
        return _labelled(labels, view)
    if kind == kinds.NODE_POOLS:
        return [*_labelled(labels, view), *([SWEEP] if _orphaned(labels, view) else [])]
    if LABEL_GATEWAY in labels:
        return [Key("gateway", namespace, labels[LABEL_GATEWAY])]
    return [pool_key(namespace, labels[LABEL_POOL])] if LABEL_POOL in labels else []


def _pools_on(node: str, labels: dict[str, str], view: View) -> set[Key]:
    hosted = {(p["metadata"]["namespace"], p["metadata"]["labels"][LABEL_POOL]) for p in view.pods_on(node)}
    return {pool_key(*found) for found in hosted} | set(_labelled(labels, view))


def _orphaned(labels: dict[str, str], view: View) -> bool:
    """Whether it is ours and its pool is gone: perhaps it was made while the pool went."""
    owner = labels.get(LABEL_OWNER_UID)
    return owner is not None and all(p["metadata"]["uid"] != owner for p in view.all(kinds.INFERENCE_POOLS))


def _labelled(labels: dict[str, str], view: View) -> list[Key]:
    """The pool that a cluster-scoped object belongs to by its `namespace.name` label, which is a hash where both are long."""
    label = labels.get(LABEL_POOL, "")
    namespace, _, name = label.partition(".")
    if not name or view.get(kinds.INFERENCE_POOLS, namespace, name) is not None:
        return [pool_key(namespace, name)] if name else []
    places = ((p["metadata"]["namespace"], p["metadata"]["name"]) for p in view.all(kinds.INFERENCE_POOLS))
    return [pool_key(*place) for place in places if qualified(*place) == label]

"""What the operator knows of the cluster without asking: objects as watches delivered them, indexed the way they are looked up."""

from __future__ import annotations

from typing import Protocol

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Kind, Object
from forebay.planning.gateway_workload import LABEL_GATEWAY
from forebay.planning.variants import LABEL_OWNER_UID, LABEL_PART_OF, LABEL_POOL, PART_OF

OURS = {LABEL_PART_OF: PART_OF}
"""Label of every Pod and Deployment that is watched."""

WATCHED: tuple[tuple[Kind, dict[str, str] | None], ...] = (
    (kinds.BATCH_CLASSES, None),
    (kinds.INFERENCE_POOLS, None),
    (kinds.ROUTING_POLICIES, None),
    (kinds.DEPLOYMENTS, OURS),
    (kinds.PODS, OURS),
    (kinds.NODES, None),
)
"""Kinds that are watched always, with the label that the server filters by."""


PROVISIONED: tuple[tuple[Kind, str], ...] = ((kinds.NODE_POOLS, LABEL_OWNER_UID), (kinds.NODE_CLAIMS, LABEL_POOL))
"""Karpenter's kinds, watched where it is installed, with a label that ours carry."""


class View(Protocol):
    """Lookups in what was watched."""

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None: ...

    def all(self, kind: Kind) -> list[Object]: ...

    def of_pool(self, kind: Kind, namespace: str, pool: str) -> list[Object]:
        """Pods or Deployments of one pool."""

    def of_gateway(self, kind: Kind, namespace: str, gateway: str) -> list[Object]:
        """Pods or Deployments of one gateway."""

    def pods_on(self, node: str) -> list[Object]:
        """The pools' pods that are bound to a node."""


Place = tuple[str, str]
"""Namespace and name of an object."""


def _place(obj: Object) -> Place:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


class ObjectView:
    """A View that is filled one change at a time."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Place, Object]] = {}
        self._groups: dict[tuple[Kind, str, str, str], dict[Place, Object]] = {}

    def put(self, kind: Kind, obj: Object) -> None:
        self.remove(kind, obj)
        self._objects.setdefault(kind, {})[_place(obj)] = obj
        for group in self._groups_of(kind, obj):
            self._groups.setdefault(group, {})[_place(obj)] = obj

    def remove(self, kind: Kind, obj: Object) -> None:
        old = self._objects.get(kind, {}).pop(_place(obj), None)
        for group in self._groups_of(kind, old) if old else ():
            members = self._groups.get(group, {})
            members.pop(_place(obj), None)
            if not members:
                self._groups.pop(group, None)

    @staticmethod
    def _groups_of(kind: Kind, obj: Object) -> list[tuple[Kind, str, str, str]]:
        meta = obj["metadata"]
        labels, namespace = meta.get("labels") or {}, meta.get("namespace", "")
        groups = [(kind, label, namespace, labels[label]) for label in (LABEL_POOL, LABEL_GATEWAY) if label in labels]
        node = obj.get("spec", {}).get("nodeName") if kind == kinds.PODS and LABEL_POOL in labels else None
        return [*groups, (kind, "node", "", node)] if node else groups

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        return self._objects.get(kind, {}).get((namespace or "", name))

    def all(self, kind: Kind) -> list[Object]:
        return list(self._objects.get(kind, {}).values())

    def of_pool(self, kind: Kind, namespace: str, pool: str) -> list[Object]:
        return list(self._groups.get((kind, LABEL_POOL, namespace, pool), {}).values())

    def of_gateway(self, kind: Kind, namespace: str, gateway: str) -> list[Object]:
        return list(self._groups.get((kind, LABEL_GATEWAY, namespace, gateway), {}).values())

    def pods_on(self, node: str) -> list[Object]:
        return list(self._groups.get((kinds.PODS, "node", "", node), {}).values())

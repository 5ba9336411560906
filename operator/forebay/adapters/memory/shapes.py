"""How server-side apply sees each part of an object: merged field by field, by keys, as a set, or replaced whole.

For our kinds the CRD says so; for those built into Kubernetes it is this table, taken from the OpenAPI schema of 1.37. Lists that are
not named are replaced whole, maps that are not named are merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from forebay.api.admission import schema_for
from forebay.api.meta import API_VERSION

FieldNames = tuple[str, ...]
"""Names of fields from the top; items of lists add nothing."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one value is merged. `keys` identify the items of a map list, `defaults` stand for keys that an item leaves out."""

    merge: Literal["fields", "keys", "set", "whole"]
    keys: tuple[str, ...] = ()
    defaults: tuple[tuple[str, Any], ...] = ()


_WHOLE, _FIELDS, _SET = Shape("whole"), Shape("fields"), Shape("set")
_TCP = (("protocol", "TCP"),)

_POD_LISTS = {
    **{
        name: Shape("keys", ("name",))
        for name in (
            "containers",
            "initContainers",
            "ephemeralContainers",
            "volumes",
            "env",
            "claims",
            "imagePullSecrets",
            "resourceClaims",
        )
    },
    "schedulingGates": Shape("keys", ("name",)),
    "ports": Shape("keys", ("containerPort", "protocol"), _TCP),
    "volumeMounts": Shape("keys", ("mountPath",)),
    "volumeDevices": Shape("keys", ("devicePath",)),
    "hostAliases": Shape("keys", ("ip",)),
    "podIPs": Shape("keys", ("ip",)),
    "topologySpreadConstraints": Shape("keys", ("topologyKey", "whenUnsatisfiable")),
}
_LISTS: dict[str, dict[str, Shape]] = {
    "Pod": _POD_LISTS,
    "Deployment": _POD_LISTS,
    "ReplicaSet": _POD_LISTS,
    "Service": {"ports": Shape("keys", ("port", "protocol"), _TCP)},
    "Node": {"addresses": Shape("keys", ("type",)), "podCIDRs": _SET},
    "ServiceAccount": {"secrets": Shape("keys", ("name",))},
}
_WHOLE_MAPS = frozenset(
    "selector nodeSelector labelSelector namespaceSelector preference configMapKeyRef secretKeyRef fieldRef resourceFieldRef"  # noqa: SIM905
    " nodePublishSecretRef roleRef regarding related".split()
)
_NODE_POOL_LABELS = ("spec", "template", "metadata", "labels")


@lru_cache(maxsize=4096)
def shape_of(api_version: str, kind: str, path: FieldNames, is_list: bool) -> Shape:
    """The shape of the value at a path, which is the list there or a map: the list's item or the field's own."""
    if path == ("metadata", "ownerReferences"):
        return Shape("keys", ("uid",)) if is_list else _WHOLE
    if path == ("metadata", "finalizers"):
        return _SET
    if api_version == API_VERSION and path[:1] != ("metadata",):
        return _in_schema(schema_for(kind), path, is_list)
    if is_list:
        return Shape("keys", ("type",)) if path == ("status", "conditions") else _LISTS.get(kind, {}).get(path[-1], _WHOLE)
    if path[-1:] and (path[-1] in _WHOLE_MAPS or (kind == "NodePool" and path == _NODE_POOL_LABELS)):
        return _WHOLE
    if path[-2:] == ("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"):
        return _WHOLE
    return _FIELDS


def _in_schema(schema: dict[str, Any], path: FieldNames, is_list: bool) -> Shape:
    for name in path:
        schema = schema.get("items", schema)
        schema = schema.get("properties", {}).get(name) or schema.get("additionalProperties") or {}
    if not is_list or schema.get("type") != "array":
        return _FIELDS if not is_list else _WHOLE
    kind = schema.get("x-kubernetes-list-type", "atomic")
    if kind == "set":
        return _SET
    if kind != "map":
        return _WHOLE
    items = schema["items"]["properties"]
    keys = tuple(schema["x-kubernetes-list-map-keys"])
    return Shape("keys", keys, tuple((key, items[key]["default"]) for key in keys if "default" in items[key]))

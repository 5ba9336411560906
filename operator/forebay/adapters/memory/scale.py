"""The scale subresource: one number of an object, behind the same door for every kind that has one."""

from __future__ import annotations

from typing import Any

from forebay.adapters.cluster import Invalid, Kind, NotFound, Object
from forebay.adapters.memory.kinds import SCALE


def scale_patch(kind: Kind, patch: Object) -> Object:
    """The patch to the object that a patch to its scale means.

    Raises:
        NotFound: the kind cannot be scaled.
        Invalid: replicas is not a whole number from 0.
    """
    if kind not in SCALE:
        raise NotFound(f"the server could not find the requested resource: {kind.plural}/scale", 404)
    replicas = (patch.get("spec") or {}).get("replicas")
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise Invalid(f"spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0", 422)
    inner: Any = replicas
    for name in reversed(SCALE[kind]):
        inner = {name: inner}
    return dict(inner)


def scale_view(kind: Kind, obj: Object) -> Object:
    """The object's scale as the API shows it."""
    replicas: Any = obj
    for name in SCALE[kind]:
        replicas = (replicas or {}).get(name)
    status = obj.get("status") or {}
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {name: obj["metadata"][name] for name in shown if name in obj["metadata"]},
        "spec": {"replicas": replicas or 0},
        "status": {"replicas": status.get("replicas", 0)},
    }

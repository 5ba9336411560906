"""How objects end: at once, after a pod's grace period, or when the last finalizer is gone; and what ends with them."""

from __future__ import annotations

from forebay.adapters.clock import Clock, timestamp
from forebay.adapters.cluster import PODS, Kind, Object
from forebay.adapters.memory.kinds import BY_NAME, HAS_GENERATION
from forebay.adapters.memory.store import Store

_DEFAULT_GRACE_S = 30


def begin_delete(kind: Kind, obj: Object, grace_s: int | None, clock: Clock) -> Object | None:
    """The object as it waits for its end, or None where it ends at once."""
    grace = _grace_s(obj, grace_s) if kind == PODS else 0
    metadata = obj["metadata"]
    if grace == 0 and not metadata.get("finalizers"):
        return None
    if metadata.get("deletionGracePeriodSeconds", grace + 1) <= grace:
        return obj
    ending = {**metadata, "deletionTimestamp": timestamp(int(clock.now()) + grace), "deletionGracePeriodSeconds": grace}
    if kind in HAS_GENERATION and "deletionTimestamp" not in metadata:
        ending["generation"] = metadata["generation"] + 1
    return {**obj, "metadata": ending}


def _grace_s(pod: Object, asked: int | None) -> int:
    """Seconds a pod is given: none before it has a node or after its processes ended."""
    spec = pod.get("spec") or {}
    if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    return int(spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S)) if asked is None else asked


def is_finished(obj: Object) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    metadata = obj["metadata"]
    return "deletionTimestamp" in metadata and not metadata.get("finalizers") and metadata.get("deletionGracePeriodSeconds") == 0


def is_orphan(store: Store, obj: Object) -> bool:
    """Whether every owner of an object is gone. An owner of a kind that is unknown here counts as alive."""
    owners = obj["metadata"].get("ownerReferences") or []
    known = [owner for owner in owners if (owner.get("apiVersion"), owner.get("kind")) in BY_NAME]
    return bool(owners) and len(known) == len(owners) and not any(store.has_uid(owner.get("uid", "")) for owner in owners)

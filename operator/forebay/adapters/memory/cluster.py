"""A Kubernetes API in memory: the same verbs, the same refusals, the same watches, and no controllers but the garbage collector.

It carries `forebay up` and the tests of everything that reconciles; tests/adapters/test_cluster_contract.py runs against it and against
a real API server. All calls belong to one event loop. Namespaces come into being with the first object in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

from forebay.adapters.clock import Clock, SystemClock
from forebay.adapters.cluster import FIELD_MANAGER, NAMESPACES, PODS, Conflict, Event, Invalid, Kind, Labels, NotFound, Object
from forebay.adapters.memory import ownership
from forebay.adapters.memory.deletion import begin_delete, is_finished, is_orphan
from forebay.adapters.memory.eviction import blocking_budget
from forebay.adapters.memory.kinds import BY_NAME
from forebay.adapters.memory.ownership import Manager
from forebay.adapters.memory.scale import scale_patch, scale_view
from forebay.adapters.memory.store import Key, Record, Store, copied, has_labels
from forebay.adapters.memory.writes import (
    changed_object,
    check_preconditions,
    main_part,
    merge_patch,
    new_object,
    resource,
    status_part,
)


class MemoryCluster:
    """A `Cluster` that keeps its objects itself.

    Args:
        clock: for timestamps.
        without: kinds that are not installed here, such as Karpenter's.
        history: changes that a watch may be behind before it lists again.
    """

    def __init__(self, clock: Clock | None = None, *, without: Collection[Kind] = (), history: int = 4096) -> None:
        self._clock = clock or SystemClock()
        self._without = frozenset(without)
        self._store = Store(history)
        self._ensure_namespace("default")

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        await asyncio.sleep(0)
        record = self._store.get(kind, _key(kind, namespace, name))
        return copied(record.obj) if record else None

    async def list(self, kind: Kind, namespace: str | None = None, labels: Labels | None = None) -> list[Object]:
        await asyncio.sleep(0)
        self._installed(kind)
        return [copied(obj) for key, obj in self._store.items(kind) if _within(kind, key, namespace) and has_labels(obj, labels)]

    async def create(self, obj: Object) -> Object:
        await asyncio.sleep(0)
        kind, obj = self._known(obj), _json(obj)
        return copied(self._create(kind, obj, Manager(FIELD_MANAGER, "Update")))

    async def apply(self, obj: Object, *, manager: str, subresource: str | None = None, force: bool = False) -> Object:
        await asyncio.sleep(0)
        kind, obj = self._known(obj), _json(obj)
        metadata = obj.get("metadata") or {}
        if metadata.get("managedFields"):
            raise Invalid("metadata.managedFields must be nil", 400)
        owner = Manager(manager, "Apply", subresource)
        key = _key(kind, metadata.get("namespace"), metadata.get("name") or "")
        record = self._store.get(kind, key)
        if record is None:
            if subresource:
                raise _not_found(kind, key[1])
            if metadata.get("uid") or metadata.get("resourceVersion"):
                raise Conflict(f'Operation cannot be fulfilled on {resource(kind)} "{key[1]}": no existing object was found', 409)
            return copied(self._create(kind, obj, owner))
        check_preconditions(kind, record.obj, metadata)
        part = status_part(obj) if subresource else main_part(kind, obj)
        merged, owners = ownership.apply(record.obj, part, record.owners, owner, force)
        return copied(self._replace(kind, key, record, changed_object(kind, record.obj, merged, subresource, applied=True), owners))

    async def patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Object, *, subresource: str | None = None, manager: str | None = None
    ) -> Object:
        await asyncio.sleep(0)
        self._installed(kind)
        key, patch = _key(kind, namespace, name), _json(patch)
        record = self._store.get(kind, key)
        if record is None:
            raise _not_found(kind, name)
        check_preconditions(kind, record.obj, patch.get("metadata") or {})
        owner = Manager(manager or FIELD_MANAGER, "Update", subresource)
        if subresource == "scale":
            new = changed_object(kind, record.obj, merge_patch(record.obj, scale_patch(kind, patch)), None)
            owners = ownership.rescale(record.obj, new, record.owners, owner)
            return copied(scale_view(kind, self._replace(kind, key, record, new, owners)))
        new = changed_object(kind, record.obj, merge_patch(record.obj, patch), subresource)
        return copied(self._replace(kind, key, record, new, ownership.update(record.obj, new, record.owners, owner)))

    async def delete(self, kind: Kind, namespace: str | None, name: str, *, uid: str | None = None, grace_s: int | None = None) -> bool:
        await asyncio.sleep(0)
        record = self._store.get(kind, _key(kind, namespace, name))
        if record is None or (uid and record.obj["metadata"]["uid"] != uid):
            return False
        self._delete(kind, _key(kind, namespace, name), grace_s)
        return True

    async def evict(self, namespace: str, name: str) -> bool:
        await asyncio.sleep(0)
        record = self._store.get(PODS, (namespace, name))
        if record is None:
            return True
        if blocking_budget(self._store, record.obj):
            return False
        self._delete(PODS, (namespace, name), None)
        return True

    async def watch(self, kind: Kind, namespace: str | None = None, labels: Labels | None = None) -> AsyncIterator[Event]:
        self._installed(kind)
        async for event in self._store.watch(kind, lambda key, obj: _within(kind, key, namespace) and has_labels(obj, labels)):
            yield event

    def _known(self, obj: Object) -> Kind:
        kind = BY_NAME.get((obj.get("apiVersion", ""), obj.get("kind", "")))
        if kind is None:
            raise NotFound(f'no matches for kind "{obj.get("kind")}" in version "{obj.get("apiVersion")}"', 404)
        self._installed(kind)
        return kind

    def _installed(self, kind: Kind) -> None:
        if kind in self._without:
            raise NotFound(f"the server could not find the requested resource: {resource(kind)}", 404)

    def _create(self, kind: Kind, obj: Object, owner: Manager) -> Object:
        new = new_object(kind, obj, self._clock, applied=owner.operation == "Apply")
        key = _key(kind, new["metadata"].get("namespace"), new["metadata"]["name"])
        existing = self._store.get(kind, key)
        if existing:
            ending = "object is being deleted: " if "deletionTimestamp" in existing.obj["metadata"] else ""
            raise Conflict(f'{ending}{resource(kind)} "{key[1]}" already exists', 409)
        if kind.namespaced:
            self._ensure_namespace(key[0])
        claimed = ownership.own_fields(main_part(kind, obj) if owner.operation == "Apply" else new)
        stored = self._store.put(kind, key, Record(new, {owner: claimed} if claimed else {}))
        if is_orphan(self._store, new):
            self._delete(kind, key, None)
        return stored

    def _replace(self, kind: Kind, key: Key, old: Record, new: Object, owners: ownership.Owners) -> Object:
        """Stores what changed; a write that changes nothing leaves no trace. What was only waiting for its finalizers goes."""
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": old.obj["metadata"]["resourceVersion"]}}
        if new == old.obj and dict(owners) == dict(old.owners):
            return old.obj
        if is_finished(new):
            return self._drop(kind, key, new)
        return self._store.put(kind, key, Record(new, owners))

    def _delete(self, kind: Kind, key: Key, grace_s: int | None) -> None:
        record = self._store.get(kind, key)
        if record is None:
            return
        ending = begin_delete(kind, record.obj, grace_s, self._clock)
        if ending:
            self._replace(kind, key, record, ending, record.owners)
        else:
            self._drop(kind, key, record.obj)

    def _drop(self, kind: Kind, key: Key, last: Object) -> Object:
        """Removes an object, then what lost its last owner or its namespace by that."""
        gone = self._store.drop(kind, key, last)
        for child_kind, child_key in self._store.dependents(gone["metadata"]["uid"]):
            child = self._store.get(child_kind, child_key)
            if child and is_orphan(self._store, child.obj):
                self._delete(child_kind, child_key, None)
        for child_kind, child_key in self._store.inside(key[1]) if kind == NAMESPACES else ():
            self._delete(child_kind, child_key, None)
        return gone

    def _ensure_namespace(self, name: str) -> None:
        if self._store.get(NAMESPACES, ("", name)) is None:
            obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            self._store.put(NAMESPACES, ("", name), Record(new_object(NAMESPACES, obj, self._clock)))


def _key(kind: Kind, namespace: str | None, name: str) -> Key:
    if not kind.namespaced:
        return "", name
    if not namespace:
        raise Invalid(f'{kind.name} "{name}": metadata.namespace: Required value', 422)
    return namespace, name


def _within(kind: Kind, key: Key, namespace: str | None) -> bool:
    return namespace is None or not kind.namespaced or key[0] == namespace


def _not_found(kind: Kind, name: str) -> NotFound:
    return NotFound(f'{resource(kind)} "{name}" not found', 404)


def _json(obj: Object) -> Object:
    try:
        return copied(obj)
    except TypeError as error:
        raise Invalid(f"not JSON: {error}", 400) from None

"""What is stored, and the short history of changes that watches follow.

Objects in here are never changed in place: each write replaces the whole record, so that a watch that is behind still sees every state.
A watch that falls further behind than the history reaches lists again; nothing is lost silently and nothing grows without bound.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from forebay.adapters.cluster import Event, Kind, Object
from forebay.adapters.memory.ownership import Owners

Key = tuple[str, str]
"""Namespace ("" for cluster-scoped kinds) and name."""


T = TypeVar("T")


def copied(obj: T) -> T:
    """A deep copy, as JSON would carry it.

    Raises:
        TypeError: something in it is not JSON.
    """
    copy: T = orjson.loads(orjson.dumps(obj))
    return copy


@dataclass(frozen=True, slots=True)
class Record:
    """An object and who owns its fields."""

    obj: Object
    owners: Owners = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    version: int
    kind: Kind
    key: Key
    obj: Object
    gone: bool


class Store:
    """Records by kind and key, one growing version, and the last changes."""

    def __init__(self, history: int) -> None:
        self.version = 1
        self._records: dict[Kind, dict[Key, Record]] = {}
        self._history: deque[Change] = deque(maxlen=history)
        self._wakers: set[asyncio.Event] = set()
        self._uids: set[str] = set()
        self._dependents: dict[str, set[tuple[Kind, Key]]] = {}

    def get(self, kind: Kind, key: Key) -> Record | None:
        return self._records.get(kind, {}).get(key)

    def items(self, kind: Kind) -> list[tuple[Key, Object]]:
        """All objects of a kind, by namespace and name."""
        return [(key, record.obj) for key, record in sorted(self._records.get(kind, {}).items(), key=lambda item: item[0])]

    def inside(self, namespace: str) -> list[tuple[Kind, Key]]:
        """All objects of a namespace."""
        return [(kind, key) for kind, records in self._records.items() if kind.namespaced for key in records if key[0] == namespace]

    def has_uid(self, uid: str) -> bool:
        return uid in self._uids

    def dependents(self, uid: str) -> list[tuple[Kind, Key]]:
        """Objects that named this owner when they were last written, or before."""
        return sorted(self._dependents.get(uid, ()), key=lambda item: (item[0].name, item[1]))

    def put(self, kind: Kind, key: Key, record: Record) -> Object:
        """Stores the record under a new resourceVersion, which it writes into the object."""
        self._records.setdefault(kind, {})[key] = record
        self._uids.add(record.obj["metadata"]["uid"])
        for owner in record.obj["metadata"].get("ownerReferences") or ():
            self._dependents.setdefault(owner.get("uid", ""), set()).add((kind, key))
        self._note(kind, key, record.obj, gone=False)
        return record.obj

    def drop(self, kind: Kind, key: Key, last: Object | None = None) -> Object:
        """Removes an object; `last` is its final state where that differs from the stored one."""
        obj = last or self._records[kind][key].obj
        del self._records[kind][key]
        self._uids.discard(obj["metadata"]["uid"])
        for owner in obj["metadata"].get("ownerReferences") or ():
            self._dependents.get(owner.get("uid", ""), set()).discard((kind, key))
        gone = {**obj, "metadata": {**obj["metadata"]}}
        self._note(kind, key, gone, gone=True)
        return gone

    def _note(self, kind: Kind, key: Key, obj: Object, gone: bool) -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._history.append(Change(self.version, kind, key, obj, gone))
        for waker in self._wakers:
            waker.set()

    def since(self, version: int) -> list[Change] | None:
        """The changes after a version, or None where the history does not reach back that far."""
        if self.version == version:
            return []
        if not self._history or self._history[0].version > version + 1:
            return None
        newer: list[Change] = []
        for change in reversed(self._history):
            if change.version <= version:
                break
            newer.append(change)
        return newer[::-1]

    async def watch(self, kind: Kind, wanted: Callable[[Key, Object], bool]) -> AsyncIterator[Event]:
        """All objects that are wanted, SYNCED, then changes without end. Objects are copies."""
        seen: dict[Key, Object] = {}
        waker = asyncio.Event()
        self._wakers.add(waker)
        try:
            cursor = self.version
            for event in self._relist(kind, wanted, seen):
                yield event
            yield Event("SYNCED", {})
            while True:
                waker.clear()
                changes = self.since(cursor)
                cursor = self.version
                for event in self._relist(kind, wanted, seen) if changes is None else _follow(changes, kind, wanted, seen):
                    yield event
                if self.version == cursor:
                    await waker.wait()
        finally:
            self._wakers.discard(waker)

    def _relist(self, kind: Kind, wanted: Callable[[Key, Object], bool], seen: dict[Key, Object]) -> list[Event]:
        now = {key: obj for key, obj in self.items(kind) if wanted(key, obj)}
        events = [Event("DELETED", copied(seen.pop(key))) for key in list(seen) if key not in now or _uid(now[key]) != _uid(seen[key])]
        for key, obj in now.items():
            events += _event(key, obj, seen)
        return events


def _follow(changes: list[Change], kind: Kind, wanted: Callable[[Key, Object], bool], seen: dict[Key, Object]) -> Iterator[Event]:
    """Events of a watch with a filter: an object that no longer matches counts as gone."""
    for change in changes:
        if change.kind != kind:
            continue
        if change.gone or not wanted(change.key, change.obj):
            if seen.pop(change.key, None) is not None:
                yield Event("DELETED", copied(change.obj))
        else:
            yield from _event(change.key, change.obj, seen)


def _event(key: Key, obj: Object, seen: dict[Key, Object]) -> list[Event]:
    before = seen.get(key)
    seen[key] = obj
    if before is None:
        return [Event("ADDED", copied(obj))]
    return [Event("MODIFIED", copied(obj))] if before is not obj else []


def _uid(obj: Object) -> Any:
    return obj["metadata"]["uid"]


def has_labels(obj: Object, labels: Mapping[str, str] | None) -> bool:
    """Whether the object carries all of these labels."""
    own = obj["metadata"].get("labels") or {}
    return all(own.get(name) == value for name, value in (labels or {}).items())

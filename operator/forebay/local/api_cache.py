"""Lists and watches of one kind with resource versions, from one watch of the cluster: what an API server keeps for its clients.

The last changes are remembered, so that a client can take up where it was; who was away for longer is told to list again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from forebay.adapters.cluster import Cluster, Kind, Object
from forebay.local.store import Key, key_of

_REMEMBERED = 1000

Wanted = Callable[[Object], bool]


class Expired(Exception):
    """What happened since that version is not remembered any more: 410."""


@dataclass(frozen=True, slots=True)
class Change:
    """An object before and after, either of which may be absent; the version at which that happened."""

    version: int
    before: Object | None
    after: Object | None

    def seen_by(self, wanted: Wanted) -> tuple[str, Object] | None:
        """The event for a client that sees only some objects, None where there is none for it."""
        was = self.before is not None and wanted(self.before)
        if self.after is not None and wanted(self.after):
            return ("MODIFIED" if was else "ADDED"), self.after
        gone = self.after or self.before
        return ("DELETED", _at(gone, self.version)) if was and gone is not None else None


class KindCache:
    """One kind's objects and their last changes. `run` fills it; `synced` is set when all objects are there."""

    def __init__(self, cluster: Cluster, kind: Kind) -> None:
        self.version = 0
        self.synced = asyncio.Event()
        self._cluster, self._kind = cluster, kind
        self._objects: dict[Key, Object] = {}
        self._changes: deque[Change] = deque(maxlen=_REMEMBERED)
        self._forgotten = 0
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follows the cluster until it is cancelled."""
        async for event in self._cluster.watch(self._kind):
            if event.type == "SYNCED":
                self.synced.set()
                continue
            key, before = key_of(event.object), self._objects.get(key_of(event.object))
            if event.type == "DELETED":
                self._objects.pop(key, None)
                self._note(before, None, event.object)
            else:
                self._objects[key] = event.object
                self._note(before, event.object, event.object)

    def _note(self, before: Object | None, after: Object | None, latest: Object) -> None:
        self.version = max(self.version, int(latest["metadata"]["resourceVersion"]))
        if not self.synced.is_set():
            self._forgotten = self.version
            return
        if len(self._changes) == _REMEMBERED:
            self._forgotten = self._changes[0].version
        self._changes.append(Change(self.version, before, after))
        self._changed.set()
        self._changed = asyncio.Event()

    def list(self, wanted: Wanted) -> list[Object]:
        return [self._objects[key] for key in sorted(self._objects) if wanted(self._objects[key])]

    async def changes(self, version: int) -> AsyncIterator[Change]:
        """What happened after a version, for ever. Expired where that is not remembered."""
        while True:
            if version < self._forgotten:
                raise Expired(f"too old resource version: {version} ({self._forgotten})")
            for change in [change for change in self._changes if change.version > version]:
                version = change.version
                yield change
            changed = self._changed
            if self.version <= version:
                await changed.wait()


def _at(obj: Object, version: int) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}

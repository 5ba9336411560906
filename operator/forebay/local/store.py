"""What a watch has shown so far: the objects of one kind, by namespace and name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from forebay.adapters.cluster import Cluster, Kind, Labels, Object

Key = tuple[str, str]
"""Namespace ("" for objects of the cluster) and name."""


def key_of(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


class Store:
    """A copy of a kind's objects, as fresh as its watch; `changed` is called after every change.

    The objects are the watch's own: who wants to change one copies it first.
    """

    def __init__(self, cluster: Cluster, kind: Kind, changed: Callable[[], None], labels: Labels | None = None) -> None:
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self._cluster, self._kind, self._changed, self._labels = cluster, kind, changed, labels

    async def run(self) -> None:
        """Follows the watch until it is cancelled."""
        async for event in self._cluster.watch(self._kind, labels=self._labels):
            if event.type == "SYNCED":
                self.synced.set()
            elif event.type == "DELETED":
                self.objects.pop(key_of(event.object), None)
            else:
                self.objects[key_of(event.object)] = event.object
            self._changed()

    def find(self, namespace: str, name: str) -> Object | None:
        return self.objects.get((namespace, name))

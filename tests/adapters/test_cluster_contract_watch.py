"""What every `Cluster` does, in memory and on a real API server alike: watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.adapters.contract_objects import (
    Run,
    a_config_map,
    unique,
)

from forebay.adapters.cluster import (
    CONFIG_MAPS,
    LEASES,
    Cluster,
    Event,
    Kind,
    Object,
)


class Watcher:
    """Follows a watch in the background and waits for what a test expects of it."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._task = asyncio.create_task(self._follow(events))

    async def _follow(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            await self._queue.put(event)

    async def next(self) -> tuple[str, str]:
        event = await asyncio.wait_for(self._queue.get(), 15)
        return event.type, event.object["metadata"]["name"] if event.object else ""

    async def next_object(self) -> tuple[str, Object]:
        event = await asyncio.wait_for(self._queue.get(), 15)
        return event.type, event.object

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def watching(cluster: Cluster, kind: Kind, *args: Any) -> AsyncIterator[Watcher]:
    watcher = Watcher(cluster.watch(kind, *args))
    try:
        yield watcher
    finally:
        await watcher.close()


def test_a_watch_begins_with_what_exists_and_goes_on(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        for name in ("b", "a"):
            await cluster.create(a_config_map(ns, name, data={"n": "1"}))
        async with watching(cluster, CONFIG_MAPS, ns) as watcher:
            assert sorted([await watcher.next(), await watcher.next()]) == [("ADDED", "a"), ("ADDED", "b")]
            assert await watcher.next() == ("SYNCED", "")
            created = await cluster.create(a_config_map(ns, "c", data={"n": "1"}))
            assert await watcher.next_object() == ("ADDED", created)
            patched = await cluster.patch(CONFIG_MAPS, ns, "c", {"data": {"n": "2"}})
            assert await watcher.next_object() == ("MODIFIED", patched)
            await cluster.patch(CONFIG_MAPS, ns, "c", {"data": {"n": "2"}})
            await cluster.delete(CONFIG_MAPS, ns, "c")
            kind, gone = await watcher.next_object()
            assert (kind, gone["metadata"]["uid"], gone["data"]) == ("DELETED", created["metadata"]["uid"], {"n": "2"})
            await cluster.create(a_config_map(ns, "c"))
            assert await watcher.next() == ("ADDED", "c")

    run(check)


def test_a_watch_of_labels_sees_objects_come_and_go_as_they_match(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_config_map(ns, "other", labels={"app": "y"}))
        async with watching(cluster, CONFIG_MAPS, ns, {"app": "x"}) as watcher:
            assert await watcher.next() == ("SYNCED", "")
            await cluster.create(a_config_map(ns, "c", labels={"app": "x"}))
            assert await watcher.next() == ("ADDED", "c")
            await cluster.patch(CONFIG_MAPS, ns, "c", {"metadata": {"labels": {"app": "y"}}})
            assert await watcher.next() == ("DELETED", "c")
            await cluster.patch(CONFIG_MAPS, ns, "other", {"metadata": {"labels": {"app": "x"}}})
            assert await watcher.next() == ("ADDED", "other")
            await cluster.patch(CONFIG_MAPS, ns, "other", {"metadata": {"annotations": {"a": "b"}}})
            assert await watcher.next() == ("MODIFIED", "other")

    run(check)


def test_a_watch_sees_its_namespace_and_its_kind_only(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        other, name = unique("ns"), unique("lease")
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}, manager="m")
        async with watching(cluster, LEASES, ns) as one, watching(cluster, LEASES) as every:
            while (await every.next())[0] != "SYNCED":
                pass
            assert await one.next() == ("SYNCED", "")
            for namespace in (other, ns):
                lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"namespace": namespace, "name": name}}
                await cluster.create(lease)
            await cluster.create(a_config_map(ns))
            kind, seen = await one.next_object()
            assert (kind, seen["metadata"]["namespace"]) == ("ADDED", ns)
            seen_everywhere = [await every.next_object(), await every.next_object()]
            assert [obj["metadata"]["namespace"] for _, obj in seen_everywhere if obj["metadata"]["name"] == name] == [other, ns]

    run(check)


def test_a_watch_sees_an_object_end_slowly(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_config_map(ns, finalizers=["a.b/c"]))
        async with watching(cluster, CONFIG_MAPS, ns) as watcher:
            assert [await watcher.next(), await watcher.next()] == [("ADDED", "c"), ("SYNCED", "")]
            await cluster.delete(CONFIG_MAPS, ns, "c")
            kind, ending = await watcher.next_object()
            assert kind == "MODIFIED" and ending["metadata"]["deletionTimestamp"]
            await cluster.patch(CONFIG_MAPS, ns, "c", {"metadata": {"finalizers": None}})
            assert await watcher.next() == ("DELETED", "c")

    run(check)

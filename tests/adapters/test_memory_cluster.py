"""What the cluster in memory does beyond the contract: collecting garbage, counting budgets, and watches that fall behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adapters.contract_objects import a_budget, a_config_map, a_deployment, a_pod, a_pool

from forebay.adapters.clock import ManualClock, settle
from forebay.adapters.cluster import CONFIG_MAPS, INFERENCE_POOLS, NAMESPACES, NODE_POOLS, PODS, Conflict, Event, Invalid, NotFound, Object
from forebay.adapters.memory import MemoryCluster


def owned_by(owner: Object, obj: Object, *others: Object) -> Object:
    owners = [(each["apiVersion"], each["kind"], each["metadata"]) for each in (owner, *others)]
    references = [{"apiVersion": api, "kind": kind, "name": meta["name"], "uid": meta["uid"]} for api, kind, meta in owners]
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": references}}


async def names(cluster: MemoryCluster, *args: Any) -> list[str]:
    return [obj["metadata"]["name"] for obj in await cluster.list(*args)]


def test_what_is_owned_goes_with_its_last_owner() -> None:
    async def check() -> None:
        cluster = MemoryCluster()
        pool, other = await cluster.create(a_pool("ns")), await cluster.create(a_pool("ns", "other"))
        deployment = await cluster.create(owned_by(pool, a_deployment("ns")))
        await cluster.create(owned_by(deployment, a_config_map("ns", "grandchild")))
        await cluster.create(owned_by(pool, a_config_map("ns", "shared"), other))
        await cluster.create(a_config_map("ns", "free"))
        await cluster.delete(INFERENCE_POOLS, "ns", "p")
        assert await names(cluster, CONFIG_MAPS, "ns") == ["free", "shared"]
        await cluster.delete(INFERENCE_POOLS, "ns", "other")
        assert await names(cluster, CONFIG_MAPS, "ns") == ["free"]

    asyncio.run(check())


def test_an_object_whose_owner_is_gone_already_does_not_stay() -> None:
    async def check() -> None:
        cluster = MemoryCluster()
        owner = await cluster.create(a_config_map("ns", "owner"))
        await cluster.delete(CONFIG_MAPS, "ns", "owner")
        await cluster.create(owned_by(owner, a_config_map("ns", "late")))
        stranger = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "uid": "unknown-here"}}
        await cluster.create(owned_by(stranger, a_config_map("ns", "of-a-stranger")))
        assert await names(cluster, CONFIG_MAPS, "ns") == ["of-a-stranger"]

    asyncio.run(check())


def test_owned_pods_end_with_their_grace() -> None:
    async def check() -> None:
        clock = ManualClock(now=1_700_000_000)
        cluster = MemoryCluster(clock)
        owner = await cluster.create(a_config_map("ns", "owner"))
        await cluster.create(owned_by(owner, a_pod("ns", nodeName="n")))
        await cluster.delete(CONFIG_MAPS, "ns", "owner")
        [pod] = await cluster.list(PODS, "ns")
        assert pod["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:50Z"
        await cluster.delete(PODS, "ns", "pod", grace_s=0)
        assert await cluster.list(PODS, "ns") == []

    asyncio.run(check())


def test_namespaces_come_with_their_first_object_and_take_all_along() -> None:
    async def check() -> None:
        cluster = MemoryCluster()
        await cluster.create(a_config_map("team"))
        assert await names(cluster, NAMESPACES) == ["default", "team"]
        namespace = await cluster.get(NAMESPACES, None, "team")
        assert namespace is not None and namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "team"}
        await cluster.delete(NAMESPACES, None, "team")
        assert await cluster.list(CONFIG_MAPS) == []

    asyncio.run(check())


@pytest.mark.parametrize(
    ("budget", "ready", "total", "allowed"),
    [
        ({"minAvailable": 2}, 3, 3, True),
        ({"minAvailable": 3}, 3, 3, False),
        ({"minAvailable": "50%"}, 2, 3, False),
        ({"minAvailable": "50%"}, 3, 3, True),
        ({"maxUnavailable": 1}, 3, 3, True),
        ({"maxUnavailable": 1}, 2, 3, False),
        ({"maxUnavailable": "34%"}, 2, 3, True),
        ({"maxUnavailable": 0}, 3, 3, False),
    ],
)
def test_budgets_are_counted(budget: Object, ready: int, total: int, allowed: bool) -> None:
    async def check() -> None:
        cluster = MemoryCluster()
        for number in range(total):
            await cluster.create(a_pod("ns", f"pod-{number}", {"app": "x"}, nodeName="n"))
            conditions = [{"type": "Ready", "status": "True" if number < ready else "False"}]
            status = {"phase": "Running", "conditions": conditions}
            await cluster.patch(PODS, "ns", f"pod-{number}", {"status": status}, subresource="status")
        await cluster.create(a_budget("ns", {"app": "x"}, **budget))
        assert await cluster.evict("ns", "pod-0") is allowed

    asyncio.run(check())


def test_kinds_left_out_are_not_installed() -> None:
    async def check() -> None:
        with pytest.raises(NotFound):
            await MemoryCluster(without=[NODE_POOLS]).list(NODE_POOLS)
        assert await MemoryCluster().list(NODE_POOLS) == []

    asyncio.run(check())


def test_what_is_not_json_is_refused() -> None:
    async def check() -> None:
        with pytest.raises(Invalid, match="not JSON"):
            await MemoryCluster().create(a_config_map("ns", data={"a": object()}))

    asyncio.run(check())


class Mirror:
    """A consumer of a watch that reads only as much as it is allowed to, and what it believes to exist."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self.believed: dict[str, Object] = {}
        self.synced = False
        self._allowed = asyncio.Semaphore(0)
        self._task = asyncio.create_task(self._read(events))

    async def _read(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            await self._allowed.acquire()
            self._follow(event)

    def _follow(self, event: Event) -> None:
        if event.type == "SYNCED":
            self.synced = True
            return
        name = event.object["metadata"]["name"]
        known = name in self.believed
        assert known == (event.type != "ADDED"), f"{event.type} of {name}, which is {'known' if known else 'unknown'}"
        if event.type == "DELETED":
            del self.believed[name]
        else:
            self.believed[name] = event.object

    async def read(self, most: int) -> None:
        for _ in range(most):
            self._allowed.release()
        await settle()
        if self._task.done():
            self._task.result()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def test_a_watch_that_falls_behind_lists_again_and_tells_what_vanished() -> None:
    async def check() -> None:
        cluster = MemoryCluster(history=3)
        for name in ("stays", "goes", "returns"):
            await cluster.create(a_config_map("ns", name))
        mirror = Mirror(cluster.watch(CONFIG_MAPS, "ns"))
        await mirror.read(4)
        assert mirror.synced and set(mirror.believed) == {"stays", "goes", "returns"}
        await cluster.delete(CONFIG_MAPS, "ns", "goes")
        await cluster.delete(CONFIG_MAPS, "ns", "returns")
        again = await cluster.create(a_config_map("ns", "returns"))
        await cluster.create(a_config_map("ns", "new"))
        for number in range(10):
            await cluster.patch(CONFIG_MAPS, "ns", "stays", {"data": {"n": str(number)}})
        await mirror.read(100)
        assert set(mirror.believed) == {"stays", "returns", "new"}
        assert mirror.believed["stays"]["data"] == {"n": "9"}
        assert mirror.believed["returns"]["metadata"]["uid"] == again["metadata"]["uid"]
        await mirror.close()

    asyncio.run(check())


verbs = st.sampled_from(["create", "patch", "label", "delete", "finalize", "release", "read"])
scripts = st.lists(st.tuples(verbs, st.sampled_from("abc"), st.integers(0, 3)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(scripts, st.integers(1, 12), st.booleans())
def test_a_watch_never_loses_what_a_list_would_show(script: list[tuple[str, str, int]], history: int, filtered: bool) -> None:
    async def check() -> None:
        cluster = MemoryCluster(history=history)
        labels = {"on": "1"} if filtered else None
        mirror = Mirror(cluster.watch(CONFIG_MAPS, "ns", labels))
        for verb, name, number in script:
            if verb == "read":
                await mirror.read(number)
            else:
                await attempt(cluster, verb, name, number)
        await mirror.read(1000)
        assert mirror.believed == {obj["metadata"]["name"]: obj for obj in await cluster.list(CONFIG_MAPS, "ns", labels)}
        await mirror.close()

    asyncio.run(check())


async def attempt(cluster: MemoryCluster, verb: str, name: str, number: int) -> None:
    """One write, which may well be refused: the object is not there, is there already, or is ending."""
    label = {"on": str(number % 2)}
    patches: dict[str, Object] = {
        "patch": {"data": {"n": str(number)}},
        "label": {"metadata": {"labels": label}},
        "finalize": {"metadata": {"finalizers": ["a.b/c"]}},
        "release": {"metadata": {"finalizers": None}},
    }
    with suppress(NotFound, Conflict, Invalid):
        if verb == "create":
            await cluster.create(a_config_map("ns", name, labels=label))
        elif verb == "delete":
            await cluster.delete(CONFIG_MAPS, "ns", name)
        else:
            await cluster.patch(CONFIG_MAPS, "ns", name, patches[verb])


data = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["m", "n"]), data), min_size=1, max_size=6))
def test_what_is_there_is_what_somebody_last_applied(applications: list[tuple[str, dict[str, str]]]) -> None:
    """Forced applies of two managers: every field that is there was last sent by someone who still sends it, and none is missing."""

    async def check() -> None:
        cluster = MemoryCluster()
        sent: dict[str, dict[str, str]] = {"m": {}, "n": {}}
        for manager, fields in applications:
            obj = await cluster.apply(a_config_map("ns", data=fields), manager=manager, force=True)
            other = "n" if manager == "m" else "m"
            sent[manager] = fields
            sent[other] = {name: value for name, value in sent[other].items() if fields.get(name, value) == value}
            assert (obj.get("data") or {}) == sent["m"] | sent["n"]

    asyncio.run(check())

"""Kubernetes Events: written once, and never a reason to stop."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.reconcile.worlds import a_class, a_pool

from forebay.adapters import cluster as kinds
from forebay.adapters.clock import ManualClock
from forebay.adapters.cluster import Forbidden, Object
from forebay.adapters.memory import MemoryCluster
from forebay.planning.decision import Note
from forebay.reconcile.events import MAX_REMEMBERED, QUIET_S, Recorder

NOTE = Note(type="Warning", reason="Limited", message="too few")


async def made(cluster: MemoryCluster, obj: Object) -> Object:
    return await cluster.create(obj)


async def events(cluster: MemoryCluster) -> list[Object]:
    return await cluster.list(kinds.EVENTS)


def test_an_event_names_its_object() -> None:
    async def test() -> None:
        clock = ManualClock()
        cluster = MemoryCluster(clock)
        pool = await made(cluster, a_pool())
        await Recorder(cluster, clock, "operator-1").record(pool, NOTE)
        (event,) = await events(cluster)
        assert (event["reason"], event["type"], event["note"]) == ("Limited", "Warning", "too few")
        assert event["regarding"]["uid"] == pool["metadata"]["uid"] and event["regarding"]["kind"] == "InferencePool"
        assert event["metadata"]["namespace"] == "default" and event["eventTime"].endswith(".000000Z")

    asyncio.run(test())


def test_events_of_cluster_scoped_objects_go_to_the_default_namespace() -> None:
    async def test() -> None:
        clock = ManualClock()
        cluster = MemoryCluster(clock)
        await Recorder(cluster, clock, "o").record(await made(cluster, a_class()), NOTE)
        assert (await events(cluster))[0]["metadata"]["namespace"] == "default"

    asyncio.run(test())


def test_after_a_clock_was_set_back_an_event_waits_two_minutes_and_not_an_hour() -> None:
    async def test() -> None:
        clock = ManualClock()
        cluster = MemoryCluster(clock)
        pool, recorder = await made(cluster, a_pool()), Recorder(cluster, clock, "o")
        await recorder.record(pool, NOTE)
        clock.set_back(3600)
        await clock.advance(QUIET_S)
        await recorder.record(pool, NOTE)
        assert len(await events(cluster)) == 2

    asyncio.run(test())


def test_the_same_event_is_not_written_again_for_two_minutes() -> None:
    async def test() -> None:
        clock = ManualClock()
        cluster = MemoryCluster(clock)
        pool, recorder = await made(cluster, a_pool()), Recorder(cluster, clock, "o")
        for _ in range(8):
            await recorder.record(pool, NOTE)
            await clock.advance(15)
        assert len(await events(cluster)) == 1
        await recorder.record(pool, NOTE)
        assert len(await events(cluster)) == 2
        await recorder.record(pool, NOTE.model_copy(update={"message": "other"}))
        assert len(await events(cluster)) == 3

    asyncio.run(test())


def test_what_is_remembered_is_bounded_and_long_messages_are_cut() -> None:
    async def test() -> None:
        clock = ManualClock()

        class Counting(MemoryCluster):
            longest = 0

            async def create(self, obj: Object) -> Object:
                self.longest = max(self.longest, len(obj["note"]))
                return obj

        cluster = Counting(clock)
        recorder = Recorder(cluster, clock, "o")
        pool = {**a_pool(), "metadata": {"name": "chat", "namespace": "default", "uid": "u"}}
        for index in range(MAX_REMEMBERED + 100):
            await recorder.record(pool, Note(reason="R", message=f"{index} {'x' * 2000}"))
        assert len(recorder._seen) == MAX_REMEMBERED and cluster.longest == 1024

    asyncio.run(test())


def test_failing_to_write_one_is_no_failure() -> None:
    class Mute(MemoryCluster):
        async def create(self, obj: Object) -> Any:
            raise Forbidden("no events for you", 403)

    async def test() -> None:
        pool = {**a_pool(), "metadata": {"name": "chat", "namespace": "default", "uid": "u"}}
        await Recorder(Mute(), ManualClock(), "o").record(pool, NOTE)

    asyncio.run(test())

"""A pool whose replicas are listed and cannot be reached, beside one that sleeps: as good as none, so the other is woken."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule, sleepy
from tests.dataplane.gateway.gateway_fakes import Sidecar, answers
from tests.dataplane.gateway.gateway_world import Got, World, metric, run, until

from forebay.dataplane.http.message import Request, Response

BOTH = {"default/awake": 1, "default/asleep": 1}


def a_world(folder: Path, replicas: int = 1, *, attempts: int = 3, budget: float = 0.5, **hold: Any) -> World:
    """Pool `awake` never sleeps and has replicas, `asleep` has none and is woken by requests."""
    document = a_document(
        a_policy(rules=[a_rule(pools=BOTH)], retryBudget=budget),
        pools=[a_pool("awake"), sleepy(a_pool("asleep"), **hold)],
        classes={
            "interactive": {"tier": "Interactive", "priority": 100, "maxAttempts": attempts},
            "nightly": {"tier": "Deferred", "priority": 0, "maxAttempts": attempts},
        },
    )
    return World(folder, document, {"awake": replicas})


async def die(world: World) -> None:
    """The replicas of the pool that is awake are gone, and still listed."""
    for sidecar in world.sidecars["awake"]:
        await sidecar.stop()


async def wake(world: World) -> Sidecar:
    """The first replica of the pool that slept is ready."""
    sidecar = Sidecar()
    await sidecar.start()
    world.sidecars["asleep"] = [sidecar]
    world.publish("asleep")
    return sidecar


def held() -> float:
    return metric("forebay_gateway_held", pool="default/asleep")


def codes(got: Got) -> list[str]:
    return (got.header("x-decision") or "").split(",")


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_sleeping_pool_is_woken_and_the_request_held(tmp_path: Path, replicas: int) -> None:
    async def test() -> None:
        async with a_world(tmp_path, replicas) as world:
            await die(world)
            first = asyncio.create_task(world.chat())
            await until(lambda: held() == 1 or first.done())
            assert not first.done(), (await first).body
            later = asyncio.create_task(world.chat(stream=True))
            await until(lambda: held() == 2)
            sidecar = await wake(world)
            assert {got.status for got in await asyncio.gather(first, later)} == {200}
            assert len(sidecar.seen) == 2
            assert {"held", "retry-connect", "pool-failover"} <= set(codes(await first))
            records = {record["stream"]: record for record in await world.decisions(2)}
            assert records[False]["attempts"] == replicas + 1
            assert records[True]["attempts"] == 1, "what is known to be dead was tried again"
            assert all(record["heldMs"] > 0 and record["pool"] == "default/asleep" for record in records.values())

    run(test)


def test_the_class_says_how_often_it_may_be_tried(tmp_path: Path) -> None:
    """One try in all: the first request was that. The next one was not tried at all, and waits."""

    async def test() -> None:
        async with a_world(tmp_path, attempts=1) as world:
            await die(world)
            got = await world.chat()
            assert (got.status, codes(got)[-2:], held()) == (502, ["attempts-spent", "upstream-failed"], 0)
            asking = asyncio.create_task(world.chat())
            await until(lambda: held() == 1)
            await wake(world)
            assert (await asking).status == 200

    run(test)


def test_a_retry_that_the_budget_has_not_is_not_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, budget=0) as world:
            await die(world)
            got = await world.chat()
            assert (got.status, codes(got)[-2:], "held" in codes(got)) == (502, ["retry-budget-spent", "upstream-failed"], False)

    run(test)


def test_nobody_waits_for_longer_than_its_class(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, wait_s=0.05, start_s=40.0) as world:
            await die(world)
            for tries in (1, 0):
                got = await world.chat()
                assert (got.status, codes(got)[-2:]) == (503, ["held", "hold-timed-out"])
                assert 0 < int(got.header("retry-after") or 0) <= 40
                assert (await world.decisions(2 - tries))[-1]["attempts"] == tries

    run(test)


def test_what_waits_goes_on_to_the_pool_that_is_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            await die(world)
            asking = asyncio.create_task(world.chat())
            await until(lambda: held() == 1)
            sidecar = Sidecar()
            await sidecar.start()
            world.sidecars["awake"] = [sidecar]
            world.publish("awake")
            assert ((await asking).status, len(sidecar.seen)) == (200, 1)

    run(test)


def test_one_that_turns_away_for_it_is_going_is_as_good_as_none(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path, attempts=1, budget=0) as world:
            world.sidecar.answer = answers(503, (b"x-forebay-draining", b"1"))
            world.sidecar.load["draining"] = True
            asking = asyncio.create_task(world.chat())
            await until(lambda: held() == 1 or asking.done())
            await wake(world)
            assert (await asking).status == 200

    run(test)


async def hang_up(request: Request, response: Response) -> None:
    response.abort()


@pytest.mark.parametrize(("failing", "status"), [(hang_up, 502), (answers(502), 502), (answers(503), 503)])
def test_what_a_replica_may_have_begun_with_does_not_wait_for_another(tmp_path: Path, failing: Any, status: int) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            world.sidecar.answer = failing
            got = await world.chat()
            assert (got.status, "attempts-spent" in codes(got), "held" in codes(got)) == (status, True, False)

    run(test)

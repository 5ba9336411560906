"""Requests for a pool without replicas: held while it wakes, in order and within bounds, and answered honestly where it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule, sleepy
from tests.dataplane.gateway.gateway_fakes import Sidecar, answers
from tests.dataplane.gateway.gateway_world import World, counted, metric, run, until

from forebay.dataplane.config import ConfigError
from forebay.dataplane.gateway import holding
from forebay.dataplane.gateway.config import parse


def asleep(folder: Path, **hold: Any) -> World:
    return World(folder, a_document(pools=[sleepy(a_pool("chat"), **hold)]), replicas={})


async def wake(world: World, *limits: int, pool: str = "chat") -> list[Sidecar]:
    """The pool's first replicas are ready."""
    sidecars = [Sidecar() for _ in limits]
    for sidecar, limit in zip(sidecars, limits, strict=True):
        sidecar.load["limit"] = limit
        await sidecar.start()
    world.sidecars[pool] = sidecars
    world.publish(pool)
    return sidecars


def held(pool: str = "default/chat") -> float:
    return metric("forebay_gateway_held", pool=pool)


async def told(world: World) -> Any:
    """What the operator reads."""
    async with await world.client.send("127.0.0.1", world.role.admin_port, "GET", "/held") as reply:
        return orjson.loads(await reply.read())["pools"]


def test_the_first_request_waits_for_the_first_replica_and_is_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with asleep(tmp_path) as world:
            assert await told(world) == {}
            asking = asyncio.create_task(world.chat())
            await until(lambda: held() == 1)
            assert await told(world) == {"default/chat": {"held": {"interactive": 1}, "passedOver": False}}
            with counted("forebay_gateway_holds_total", 1, pool="default/chat", result="released"):
                await wake(world, 8)
                got = await asking
            assert (got.status, held(), await told(world)) == (200, 0, {})
            assert "held" in (got.header("x-decision") or "").split(",")
            (record,) = await world.decisions(1)
            assert record["heldMs"] > 0 and "held" in record["reasons"]
            assert (await world.chat()).header("x-decision") == "class-default,cache-bypass"

    run(test)


def test_a_stream_waits_as_well(tmp_path: Path) -> None:
    async def test() -> None:
        async with asleep(tmp_path) as world:
            asking = asyncio.create_task(world.chat(stream=True))
            await until(lambda: held() == 1)
            await wake(world, 8)
            assert (await asking).body.endswith(b"data: [DONE]\n\n")

    run(test)


def test_too_late_is_said_with_the_time_that_a_replica_still_takes(tmp_path: Path) -> None:
    """An honest Retry-After: the learned start time less what has passed."""

    async def test() -> None:
        async with asleep(tmp_path, start_s=40.0, wait_s=0.05) as world:
            got = await world.chat()
            assert (got.status, got.error["code"], got.error["type"]) == (503, "server_is_overloaded", "server_error")
            assert got.header("retry-after") in ("39", "40")
            assert "try again in" in got.error["message"]
            assert (got.header("x-decision") or "").endswith("held,hold-timed-out")
            assert held() == 0
            (record,) = await world.decisions(1)
            assert (record["status"], record["lost"], record["heldMs"] >= 50) == (503, False, True)

    run(test)


def test_a_start_that_takes_longer_than_learned_promises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "UNNOTICED_S", 0.01)

    async def test() -> None:
        async with asleep(tmp_path, start_s=0.01, wait_s=0.05) as world:
            assert (await world.chat()).header("retry-after") == str(holding.OVERDUE_S)

    run(test)


def test_a_pool_that_does_not_sleep_holds_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={}) as world:
            got = await world.chat()
            assert (got.status, got.header("retry-after"), "no-endpoint" in (got.header("x-decision") or "")) == (503, "5", True)

    run(test)


def test_no_more_are_held_than_the_class_may_queue_and_no_tenant_takes_all(tmp_path: Path) -> None:
    async def test() -> None:
        tenants = [{"name": "acme", "keys": "support/acme"}, {"name": "globex", "keys": "support/globex"}]
        document = a_document(a_policy(tenants=tenants), pools=[sleepy(a_pool("chat"), most=4)])
        world = World(tmp_path, document, replicas={})
        world.write_key("support/globex", "globex-key")
        async with world:
            acme = [asyncio.create_task(world.chat()) for _ in range(2)]
            await until(lambda: held() == 2)
            full = await world.chat()
            assert (full.status, full.header("x-decision")) == (503, "class-default,cache-bypass,held,hold-full")
            assert 50 <= int(full.header("retry-after") or 0) <= 60
            globex = [asyncio.create_task(world.chat(key="globex-key")) for _ in range(2)]
            await until(lambda: held() == 4)
            nightly = asyncio.create_task(world.chat(service_tier="flex"))
            await until(lambda: held() == 5)
            await wake(world, 8)
            assert {got.status for got in await asyncio.gather(*acme, *globex, nightly)} == {200}

    run(test)


def test_a_client_that_goes_away_leaves_the_line(tmp_path: Path) -> None:
    async def test() -> None:
        async with asleep(tmp_path, most=2) as world:
            for _ in range(5):
                with counted("forebay_gateway_holds_total", 1, pool="default/chat", result="gone"):
                    asking = asyncio.create_task(world.chat())
                    await until(lambda: held() == 1)
                    asking.cancel()
                    await until(lambda: held() == 0)
            (record, *_) = await world.decisions(5)
            assert record["reasons"][-1] == "client-gone"
            assert await told(world) == {}

    run(test)


def test_released_in_order_and_not_all_at_once(tmp_path: Path) -> None:
    """A replica that takes one at a time gets one at a time; the higher class goes first, and whoever comes later stays behind."""

    async def test() -> None:
        async with asleep(tmp_path) as world:
            asking = []
            for index, tier in enumerate(("flex", "priority", "flex", "priority")):
                asking.append(asyncio.create_task(world.chat(messages=[{"role": "user", "content": str(index)}], service_tier=tier)))
                await until(lambda: held() == len(asking))
            (sidecar,) = await wake(world, 1)
            sidecar.hold = asyncio.Event()
            await until(lambda: len(sidecar.seen) == 1)
            late = asyncio.create_task(world.chat(messages=[{"role": "user", "content": "late"}], service_tier="priority"))
            await until(lambda: held() == 4)
            assert len(sidecar.seen) == 1
            sidecar.hold.set()
            assert {got.status for got in await asyncio.gather(*asking, late)} == {200}
            order = [orjson.loads(request.body)["messages"][0]["content"] for request in sidecar.seen]
            assert order == ["1", "3", "late", "0", "2"]

    run(test)


def test_two_replicas_share_what_was_held(tmp_path: Path) -> None:
    async def test() -> None:
        async with asleep(tmp_path, most=40) as world:
            asking = [asyncio.create_task(world.chat()) for _ in range(16)]
            await until(lambda: held() == 16)
            both = await wake(world, 2, 2)
            for sidecar in both:
                sidecar.hold = asyncio.Event()
            await until(lambda: all(sidecar.seen for sidecar in both))
            await until(lambda: held() <= 14)
            assert sum(len(sidecar.seen) for sidecar in both) <= 4
            for sidecar in both:
                assert sidecar.hold is not None
                sidecar.hold.set()
            assert {got.status for got in await asyncio.gather(*asking)} == {200}

    run(test)


def test_the_last_replica_goes_to_sleep_under_a_request(tmp_path: Path) -> None:
    """It turns the request away, for it is going, and nobody else is there: the request waits for the next one."""

    async def test() -> None:
        document = a_document(pools=[sleepy(a_pool("chat"))])
        async with World(tmp_path, document) as world:
            world.sidecar.answer = answers(503, (b"x-forebay-draining", b"1"))
            world.sidecar.load["draining"] = True
            asking = asyncio.create_task(world.chat())
            await until(lambda: held() == 1)
            await wake(world, 8)
            got = await asking
            assert (got.status, "held" in (got.header("x-decision") or "")) == (200, True)

    run(test)


def test_stopping_tells_those_who_wait_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with asleep(tmp_path) as world:
            asking = asyncio.create_task(world.chat())
            await until(lambda: held() == 1)
            stopping = asyncio.create_task(world.stop())
            got = await asking
            assert (got.status, (got.header("x-decision") or "").split(",")[-1]) == (503, "shutdown")
            assert got.header("retry-after") is not None
            assert await stopping == 0

    run(test)


def test_a_pool_that_is_no_longer_routed_to_holds_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        async with asleep(tmp_path) as world:
            asking = asyncio.create_task(world.chat())
            await until(lambda: held() == 1)
            await world.take_document(a_document(a_policy(rules=[a_rule(pools={"default/other": 1})]), pools=[a_pool("other")]))
            assert (await asking).status == 503

    run(test)


def test_a_pool_that_sleeps_is_woken_where_another_answers_in_its_turn(tmp_path: Path) -> None:
    async def test() -> None:
        rules = [a_rule(pools={"default/chat": 1, "default/other": 1})]
        document = a_document(a_policy(rules=rules), pools=[sleepy(a_pool("chat")), a_pool("other")])
        async with World(tmp_path, document, {"other": 1}) as world:
            got = await world.chat()
            assert (got.status, "pool-failover" in (got.header("x-decision") or "")) == (200, True)
            assert await told(world) == {"default/chat": {"held": {}, "passedOver": True}}

    run(test)


def test_who_waits_is_answered_by_another_pool_of_the_rule_that_has_a_replica_first(tmp_path: Path) -> None:
    """Everybody who came later was answered by it, and this one told in the end that nobody is there."""

    async def test() -> None:
        rules = [a_rule(pools={"default/chat": 1, "default/other": 1})]
        document = a_document(a_policy(rules=rules), pools=[sleepy(a_pool("chat")), a_pool("other")])
        async with World(tmp_path, document, {}) as world:
            asking = [asyncio.create_task(world.chat()) for _ in range(3)]
            await until(lambda: held() == 3)
            (sidecar,) = await wake(world, 1, pool="other")
            sidecar.hold = asyncio.Event()
            await until(lambda: len(sidecar.seen) == 1)
            assert (held(), await told(world)) == (2, {"default/chat": {"held": {"interactive": 2}, "passedOver": True}})
            sidecar.hold.set()
            assert {got.status for got in await asyncio.gather(*asking)} == {200}

    run(test)


def test_a_pool_that_slept_again_takes_a_whole_start_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who woke it had gone when its replica came, and nobody asked while it was there."""
    monkeypatch.setattr(holding, "UNNOTICED_S", 0.01)

    async def test() -> None:
        async with asleep(tmp_path, start_s=1.0, wait_s=0.05) as world:
            assert (await world.chat()).header("retry-after") == "1"
            await wake(world, 8)
            await asyncio.sleep(1.2)
            await world.sidecar.stop()
            world.sidecars["chat"] = []
            world.publish("chat")
            await until(lambda: not world.role.fleet.endpoints())
            assert (await world.chat()).header("retry-after") == "1"

    run(test)


def test_identical_requests_that_wait_count_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with asleep(tmp_path) as world:
            asking = [asyncio.create_task(world.chat(temperature=0)) for _ in range(5)]
            await until(lambda: held() == 1)
            await until(lambda: metric("forebay_gateway_in_flight") == 5)
            assert held() == 1
            (sidecar,) = await wake(world, 8)
            assert {got.status for got in await asyncio.gather(*asking)} == {200}
            assert len(sidecar.seen) == 1

    run(test)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"startSeconds": 0}, "hold.startSeconds: 0 is too small"),
        ({"classes": {"interactive": {"maxWaitSeconds": 1.0, "maxRequests": 0}}}, "maxRequests: 0 is too small"),
        ({"classes": 3}, "hold.classes: must be an object"),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(changes: dict[str, Any], problem: str) -> None:
    pool = sleepy(a_pool("chat"))
    with pytest.raises(ConfigError, match=problem):
        parse(a_document(pools=[{**pool, "hold": {**pool["hold"], **changes}}]))


def test_a_wrong_method_finds_nothing_at_held(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            asleep(tmp_path) as world,
            await world.client.send("127.0.0.1", world.role.admin_port, "POST", "/held", body=b"{}") as reply,
        ):
            assert reply.status == 404

    run(test)

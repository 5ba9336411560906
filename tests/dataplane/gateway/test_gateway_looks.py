"""When those who are held are looked after: when there is news, and not at all where nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule, sleepy
from tests.dataplane.gateway.gateway_world import run

from forebay.dataplane.gateway import holding
from forebay.dataplane.gateway.config import BatchClass, parse
from forebay.dataplane.gateway.fleet import Fleet
from forebay.dataplane.gateway.holding import Holding

INTERACTIVE = BatchClass("interactive", "Interactive", 0, 2)
RULE = a_rule(pools={"default/chat": 1, "default/other": 1})
POOLS = parse(a_document(a_policy(rules=[RULE]), pools=[sleepy(a_pool("chat")), a_pool("other")])).pools
CHAT = POOLS["default/chat"]


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look may follow the last one at once, and whoever waited was noticed."""
    monkeypatch.setattr(holding, "LOOK_S", 0)
    monkeypatch.setattr(holding, "UNNOTICED_S", 0)


class Counting(Holding):
    looks = 0

    def release(self, key: str) -> None:
        self.looks += 1
        super().release(key)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Fleet, Counting]]:
    fleet = Fleet()
    fleet.keep(POOLS)
    held = Counting(fleet)
    task = asyncio.create_task(held.run())
    yield fleet, held
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def rest() -> None:
    """Everything that is ready to run has run."""
    for _ in range(20):
        await asyncio.sleep(0)


def asking(held: Holding) -> asyncio.Task[str]:
    until = asyncio.get_running_loop().time() + 60
    assert CHAT.hold is not None
    return asyncio.create_task(held.wait(CHAT, CHAT.hold, INTERACTIVE, "acme", until, frozenset(POOLS)))


async def looks_in_a_while(held: Counting) -> int:
    await rest()
    before = held.looks
    await rest()
    return held.looks - before


def test_a_pool_that_never_comes_is_not_looked_for_when_nobody_waits() -> None:
    """Every 50 ms for as long as the gateway ran."""

    async def test() -> None:
        async with running() as (_, held):
            waiting = asking(held)
            await rest()
            waiting.cancel()
            assert await looks_in_a_while(held) == 0

    run(test)


def test_who_waits_is_looked_after_when_there_is_news() -> None:
    async def test() -> None:
        async with running() as (fleet, held):
            waiting = asking(held)
            assert await looks_in_a_while(held) == 0
            fleet.pools["default/chat"].update([("10.0.0.1", 80)])
            assert await waiting == ""

    run(test)


@pytest.mark.parametrize("pool", ["default/chat", "default/other"])
def test_room_in_a_replica_that_was_full_is_news(pool: str) -> None:
    """Its own pool's, and another's of its rule."""

    async def test() -> None:
        async with running() as (fleet, held):
            replicas = fleet.pools[pool]
            replicas.update([("10.0.0.1", 80)])
            (replica,) = replicas.endpoints
            for freed in (replica.ended, lambda: replica.told(0, 0, 1, False)):
                replica.since = 1
                waiting = asking(held)
                await rest()
                assert not waiting.done()
                freed()
                assert await waiting == ""

    run(test)


def test_a_pool_that_came_when_nobody_waited_takes_a_whole_start_the_next_time() -> None:
    async def test() -> None:
        async with running() as (fleet, held):
            assert CHAT.hold is not None
            waiting = asking(held)
            await rest()
            waiting.cancel()
            await rest()
            assert held.retry_after_s(CHAT, CHAT.hold) > holding.OVERDUE_S
            woken_at = held._line(CHAT).woken_at
            assert woken_at is not None
            fleet.pools["default/chat"].update([("10.0.0.1", 80)])
            assert held._line(CHAT).woken_at is None

    run(test)

"""Time that is moved by hand wakes each sleeper at its own moment."""

from __future__ import annotations

import asyncio

import pytest

from forebay.adapters.clock import Clock, ManualClock, SystemClock, settle, timestamp


def test_sleepers_wake_in_order_at_their_moments() -> None:
    async def check() -> None:
        clock, woken = ManualClock(now=100.0), list[tuple[str, float]]()

        async def sleeper(name: str, *naps: float) -> None:
            for nap in naps:
                await clock.sleep(nap)
                woken.append((name, clock.now()))

        tasks = [asyncio.create_task(sleeper("slow", 3.0, 3.0)), asyncio.create_task(sleeper("quick", 1.0, 1.0, 1.0))]
        await clock.advance(3.5)
        assert woken == [("quick", 101.0), ("quick", 102.0), ("slow", 103.0), ("quick", 103.0)]
        assert clock.now() == 103.5 and clock.monotonic() == 3.5
        await clock.advance(10)
        await asyncio.gather(*tasks)
        assert woken[-1] == ("slow", 106.0)

    asyncio.run(check())


def test_after_a_jump_sleepers_wake_late() -> None:
    async def check() -> None:
        clock = ManualClock(now=0.0)
        task = asyncio.create_task(clock.sleep(1))
        await settle()
        clock.jump(60)
        await settle()
        assert not task.done()
        await clock.advance(0)
        assert task.done() and clock.now() == 60

    asyncio.run(check())


def test_a_cancelled_sleeper_disturbs_nobody() -> None:
    async def check() -> None:
        clock = ManualClock()
        gone, stays = asyncio.create_task(clock.sleep(1)), asyncio.create_task(clock.sleep(1))
        await settle()
        gone.cancel()
        await clock.advance(2)
        assert stays.done() and not stays.cancelled()

    asyncio.run(check())


def test_the_systems_clock_goes_forward() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()
    asyncio.run(clock.sleep(0.001))
    assert clock.monotonic() > before
    assert clock.now() > 1_700_000_000


@pytest.mark.parametrize(
    ("epoch_s", "plain", "micros"),
    [
        (0.0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
        (1_700_000_000.25, "2023-11-14T22:13:20Z", "2023-11-14T22:13:20.250000Z"),
        (1_700_000_000.999_999_9, "2023-11-14T22:13:21Z", "2023-11-14T22:13:21.000000Z"),
    ],
)
def test_timestamps_are_what_kubernetes_writes(epoch_s: float, plain: str, micros: str) -> None:
    assert timestamp(epoch_s) == plain
    assert timestamp(epoch_s, micros=True) == micros

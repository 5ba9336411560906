"""The work queue: each key once at a time, however often it is added, and back when it failed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from forebay.reconcile.queue import FIRST_BACKOFF_S, MAX_BACKOFF_S, WorkQueue


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():
            await asyncio.sleep(0)


def run(work: Callable[[str], Awaitable[float | None]], test: Callable[[WorkQueue[str]], Awaitable[None]], workers: int = 4) -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(work)
        running = asyncio.create_task(queue.run(workers))
        try:
            await test(queue)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_a_key_that_waits_is_worked_on_once() -> None:
    done: Counter[str] = Counter()

    async def work(key: str) -> None:
        done[key] += 1

    async def test(queue: WorkQueue[str]) -> None:
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        assert len(queue) == 2 and not queue.idle
        await until(lambda: queue.idle)
        assert done == {"a": 1, "b": 1}

    run(work, test)


def test_no_key_is_worked_on_twice_at_a_time_and_none_is_forgotten() -> None:
    """What is added while its key is worked on comes after it: it may have been too late to be seen."""
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done: Counter[str] = Counter()
    release = asyncio.Event()

    async def work(key: str) -> None:
        running[key] += 1
        most[key] = max(most[key], running[key])
        await release.wait()
        running[key] -= 1
        done[key] += 1

    async def test(queue: WorkQueue[str]) -> None:
        queue.add("a")
        await until(lambda: running["a"] == 1)
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        await until(lambda: running["b"] == 1)
        release.set()
        await until(lambda: queue.idle)
        assert done == {"a": 2, "b": 1} and most == {"a": 1, "b": 1}

    run(work, test)


class Delays(WorkQueue[str]):
    """Notes after how long keys are to come back, and brings them back at once."""

    def __init__(self, work: Callable[[str], Awaitable[float | None]]) -> None:
        super().__init__(work)
        self.delays: list[float] = []

    def add_after(self, key: str, seconds: float) -> None:
        self.delays.append(seconds)
        if len(self.delays) < 12:
            self.add(key)


def test_failures_come_back_later_and_later_until_they_succeed() -> None:
    outcomes = iter([RuntimeError("no")] * 9 + [None, RuntimeError("again")])

    async def work(key: str) -> float | None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return 15.0

    async def main() -> None:
        queue = Delays(work)
        running = asyncio.create_task(queue.run(1))
        queue.add("a")
        await until(lambda: len(queue.delays) >= 11)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        failures, settled, new = queue.delays[:9], queue.delays[9], queue.delays[10]
        assert failures[0] == FIRST_BACKOFF_S and failures == sorted(failures) and failures[-1] == MAX_BACKOFF_S
        assert settled == 15.0
        assert new == FIRST_BACKOFF_S, "a success forgets the failures before it"

    asyncio.run(main())


def test_a_failing_key_stops_no_other() -> None:
    done: Counter[str] = Counter()

    async def work(key: str) -> None:
        done[key] += 1
        if key == "bad":
            raise RuntimeError("no")

    async def test(queue: WorkQueue[str]) -> None:
        queue.add("bad")
        queue.add("good")
        await until(lambda: done["good"] == 1)

    run(work, test, workers=1)


def test_the_earlier_of_two_times_counts() -> None:
    done: Counter[str] = Counter()

    async def work(key: str) -> None:
        done[key] += 1

    async def test(queue: WorkQueue[str]) -> None:
        queue.add_after("a", 3600)
        queue.add_after("a", 0.001)
        queue.add_after("a", 3600)
        await until(lambda: done["a"] == 1)
        queue.add_after("b", 3600)
        queue.add("b")
        await until(lambda: done["b"] == 1)

    run(work, test)


def test_added_now_leaves_no_timer_behind() -> None:
    """Else it would come back at the old time too, and again, and again."""

    async def work(key: str) -> float | None:
        return 3600.0

    async def test(queue: WorkQueue[str]) -> None:
        for _ in range(10):
            queue.add("a")
            await until(lambda: queue.idle)
        assert len(queue._timers) == 1

    run(work, test)


def test_nothing_runs_on_after_the_end() -> None:
    done: Counter[str] = Counter()

    async def work(key: str) -> float | None:
        done[key] += 1
        return 0.001

    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(work)
        running = asyncio.create_task(queue.run(2))
        queue.add("a")
        await until(lambda: done["a"] >= 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not queue._timers

    asyncio.run(main())

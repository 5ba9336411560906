"""What the sidecar's sums say of the engine behind it is what the engine does."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.dataplane.sidecar.sidecar_world import Front, a_class, a_document, a_front, a_world, run
from tests.engines.engine_harness import a_simulator

from forebay.adapters.scrape import Reading, parse, steps_of
from forebay.dataplane.sidecar.sse import Usage
from forebay.dataplane.sidecar.steps import Steps
from forebay.engines.sim.stepping import Profile
from forebay.planning.fit import fit
from forebay.planning.profiles import sums_of
from forebay.planning.series import STEP_MOMENTS

TIMES = (0.012, 0.0002, 0.000004)


def fitted(reading: Reading, declared: tuple[float, ...]) -> tuple[float, ...]:
    """The times that a pool which declares these would learn from a sidecar's exposition."""
    moments = steps_of(reading.counters)[""]
    return fit(sums_of(moments, len(declared)), declared, declared).times_s


def step_s(times: tuple[float, ...], tokens: float, context: float) -> float:
    return times[0] + times[1] * tokens + times[2] * context


def test_streams_through_the_sidecar_show_the_profile_of_the_simulator(tmp_path: Path) -> None:
    """Learned from a declaration three times too fast, over real sockets; a busy machine may make the engine slower, not faster."""

    async def main() -> None:
        chance = random.Random(4)
        async with (
            a_simulator(Profile(*TIMES, 16)) as engine,
            a_front(a_document(a_class(maxBatchSize=16)), tmp_path, engine.port) as front,
        ):

            async def caller(requests: int) -> None:
                for _ in range(requests):
                    words = "word " * chance.choice((20, 200, 600))
                    await front.stream(
                        {"model": "sim", "messages": [{"role": "user", "content": words}], "max_tokens": chance.randint(5, 40)}
                    )

            for callers in (1, 4, 10):
                await asyncio.gather(*(caller(4) for _ in range(callers)))
            reading = parse((await front.get("/metrics"))[1].decode())
            assert reading.counters[STEP_MOMENTS, "", "count"] >= 8
            learned = fitted(reading, tuple(t / 3 for t in TIMES))
            for tokens, context in ((1.0, 100.0), (8.0, 1600.0), (60.0, 3000.0)):
                assert step_s(learned, tokens, context) == pytest.approx(step_s(TIMES, tokens, context), rel=0.2)

    run(main)


def test_batches_of_inputs_show_it_too(tmp_path: Path) -> None:
    async def main() -> None:
        chance = random.Random(4)
        document = a_document(a_class(maxBatchSize=32), task="Embeddings")
        async with a_simulator(Profile(0.04, 0.0004, 0.0, 16)) as engine, a_front(document, tmp_path, engine.port) as front:

            async def caller() -> None:
                for _ in range(6):
                    body = {"model": "sim", "input": ["text " * chance.choice((2, 40, 160))] * chance.randint(1, 4)}
                    assert (await front.answer("/v1/embeddings", body))[0] == 200

            await asyncio.gather(*(caller() for _ in range(4)))
            learned = fitted(parse((await front.get("/metrics"))[1].decode()), (0.12, 0.0012))
            for tokens in (100.0, 400.0):
                assert step_s((*learned, 0.0), tokens, 0.0) == pytest.approx(0.04 + 0.0004 * tokens, rel=0.25)

    run(main)


def test_clients_that_go_away_leave_nothing_behind(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.token_s = lambda running: 0.01
            steps = world.sidecar.metrics.steps

            async def gives_up(stream: bool) -> None:
                reply = await world.post("/v1/chat/completions", {"stream": stream, "max_tokens": 500})
                async for _ in reply:
                    break
                reply.close()

            await asyncio.gather(*(asyncio.wait_for(gives_up(i % 2 == 0), 2) for i in range(6)), return_exceptions=True)
            await idle(world)
            assert (steps.in_engine, steps.running, steps.streams, steps.prompts, steps.joined) == (0, 0, 0, 0.0, 0.0)

    run(main)


async def idle(front: Front) -> None:
    while (await front.load())["inFlight"]:
        await asyncio.sleep(0.01)


# the sums, on a clock of the test's own


def driven(n: int, *, tokens: int, prompt: int, times: tuple[float, float, float] = TIMES, events: int = 1) -> Steps:
    """Streams that begin together and whose every event is read just when a step ends."""
    steps, now = Steps(), 0.0
    parts = [steps.part(4 * prompt) for _ in range(n)]
    for part in parts:
        part.sent(now)
    now += step_s(times, n * prompt, n * prompt)
    for made in range(1, tokens + 1):
        for part in parts:
            part.tokens(events, now)
        now += step_s(times, n, n * (prompt + made))
    for part in parts:
        part.ended(Usage(prompt, tokens))
    return steps


def test_steps_are_counted_once_however_many_streams_show_them() -> None:
    one, many = driven(1, tokens=400, prompt=100), driven(8, tokens=400, prompt=100)
    for steps, n in ((one, 1), (many, 8)):
        count, tokens, context, seconds = steps.sums[0], steps.sums[1], steps.sums[2], steps.sums[6]
        assert seconds / count == pytest.approx(step_s(TIMES, tokens / count, context / count), rel=0.02)
        assert tokens / count == pytest.approx(n, rel=0.35 if n == 1 else 0.02)


def test_a_prompt_that_meets_an_idle_engine_is_one_step() -> None:
    steps, now = Steps(), 0.0
    for _ in range(6):
        part = steps.part(8000)
        part.sent(now)
        now += step_s(TIMES, 2000, 2000)
        part.tokens(1, now)
        part.ended(Usage(2000, 1))
    count = steps.sums[0]
    assert count >= 1 and steps.sums[6] / count == pytest.approx(step_s(TIMES, 2000, 2000)) and steps.sums[1] / count == pytest.approx(2000)


def test_lengths_are_learned_from_usage() -> None:
    steps = Steps()
    for _ in range(500):
        steps.measured(1000, 20, Usage(100, 40))
    assert steps.prompt_of(5000) == pytest.approx(500, rel=0.02)
    steps.measured(1000, 20, Usage(10**9, 40))
    assert steps.prompt_of(5000) == pytest.approx(500, rel=0.02)


def test_an_engine_that_hangs_is_no_step() -> None:
    steps = Steps()
    part = steps.part(400)
    part.sent(0.0)
    for i in range(6):
        part.tokens(1, 1000.0 * i)
    assert steps.sums[0] == 0.0
    steps.batch(0.0, 500.0, 10)
    assert steps.sums[0] == 0.0

"""What the sidecar's sums say of the engine behind it is what the engine does."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.sidecar.sidecar_world import Front, a_class, a_document, a_front, a_world, run
from tests.engines.engine_harness import a_simulator

from forebay.adapters.scrape import Reading, parse
from forebay.adapters.sums import steps_of
from forebay.api.step_moments import TERMS
from forebay.dataplane.sidecar.sse import Usage
from forebay.dataplane.sidecar.steps import Part, Steps
from forebay.engines.sim.stepping import Profile
from forebay.planning.fit import fit
from forebay.planning.measured import StepMoments
from forebay.planning.profiles import sums_of
from forebay.planning.series import STEP_MOMENTS

TIMES = (0.012, 0.0002, 0.000004)


def fitted(reading: Reading, declared: tuple[float, ...]) -> tuple[float, ...]:
    """The times that a pool which declares these would learn from a sidecar's exposition."""
    moments = steps_of(reading.counters)[""]
    return fit(sums_of(moments, len(declared)), declared, declared).times_s


def step_s(times: tuple[float, ...], tokens: float, context: float) -> float:
    return times[0] + times[1] * tokens + times[2] * context


def the_profile_is_shown(
    folder: Path, ask: Callable[[Front, dict[str, Any]], Awaitable[None]], *, requests: int, tokens: tuple[int, int], rel: float
) -> None:
    """Learned from a declaration three times too fast, over real sockets; a busy machine may make the engine slower, not faster."""

    async def main() -> None:
        chance = random.Random(4)
        async with (
            a_simulator(Profile(*TIMES, 16)) as engine,
            a_front(a_document(a_class(maxBatchSize=16)), folder, engine.port) as front,
        ):

            async def caller() -> None:
                for _ in range(requests):
                    words = "word " * chance.choice((20, 200, 600))
                    await ask(
                        front, {"model": "sim", "messages": [{"role": "user", "content": words}], "max_tokens": chance.randint(*tokens)}
                    )

            for callers in (1, 4, 10):
                await asyncio.gather(*(caller() for _ in range(callers)))
            reading = parse((await front.get("/metrics"))[1].decode())
            assert reading.counters[STEP_MOMENTS, "", "count"] >= 8
            learned = fitted(reading, tuple(t / 3 for t in TIMES))
            for computed, context in ((1.0, 100.0), (8.0, 1600.0), (60.0, 3000.0)):
                assert step_s(learned, computed, context) == pytest.approx(step_s(TIMES, computed, context), rel=rel)

    run(main)


def test_streams_through_the_sidecar_show_the_profile_of_the_simulator(tmp_path: Path) -> None:
    async def ask(front: Front, body: dict[str, Any]) -> None:
        await front.stream(body)

    the_profile_is_shown(tmp_path, ask, requests=4, tokens=(5, 40), rel=0.2)


def test_whole_answers_show_it_where_there_are_no_streams(tmp_path: Path) -> None:
    async def ask(front: Front, body: dict[str, Any]) -> None:
        assert (await front.answer("/v1/chat/completions", body))[0] == 200

    the_profile_is_shown(tmp_path, ask, requests=6, tokens=(16, 60), rel=0.25)


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
        part.ended(Usage(prompt, tokens), now)
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
        part.ended(Usage(2000, 1), now)
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


@dataclass
class Served:
    """A request that an engine on the test's clock has."""

    part: Part
    prompt: int
    tokens: int
    made: int = 0


def answered_whole(arrivals: list[tuple[float, int, int]]) -> Steps:
    """What is seen of an engine that takes everybody into its next step and shows nobody a token before the last; (at, prompt, tokens)."""
    steps, now, running, waiting = Steps(), 0.0, list[Served](), deque(arrivals)
    while waiting or running:
        now = now if running else max(now, waiting[0][0])
        joined = []
        while waiting and waiting[0][0] <= now:
            joined.append(sent_whole(steps, *waiting.popleft()))
        computed = len(running) + sum(one.prompt for one in joined)
        running += joined
        now += step_s(TIMES, computed, sum(one.prompt + one.made for one in running))
        for one in running:
            one.made += 1
        for one in [one for one in running if one.made == one.tokens]:
            running.remove(one)
            one.part.ended(Usage(one.prompt, one.tokens), now)
    return steps


def sent_whole(steps: Steps, at: float, prompt: int, tokens: int) -> Served:
    part = steps.part(4 * prompt)
    part.sent(max(at, steps.company.at))
    part.unseen()
    return Served(part, prompt, tokens)


def means(steps: Steps) -> tuple[float, float, float]:
    """Of seconds, tokens and context of the steps that were seen."""
    return steps.sums[6] / steps.sums[0], steps.sums[1] / steps.sums[0], steps.sums[2] / steps.sums[0]


@pytest.mark.parametrize("rate", [0.2, 0.6, 1.0])
def test_whole_answers_tell_what_ran_beside_them(rate: float) -> None:
    chance, at, arrivals = random.Random(3), 0.0, []
    while at < 600.0:
        at += chance.expovariate(rate)
        arrivals.append((at, chance.choice((50, 300, 1500)), 1 + int(chance.expovariate(1 / 150))))
    steps = answered_whole(arrivals)
    seconds, tokens, context = means(steps)
    assert steps.sums[0] > 50
    assert seconds == pytest.approx(step_s(TIMES, tokens, context), rel=0.02)
    moments = StepMoments.model_validate(dict(zip(TERMS, steps.sums, strict=True)))
    learned = fit(sums_of(moments, 3), TIMES, TIMES).times_s
    assert step_s(learned, 1.0, 200.0) == pytest.approx(step_s(TIMES, 1.0, 200.0), rel=0.05)


def test_a_short_answer_counts_only_where_it_did_not_wait_for_a_step() -> None:
    alone = answered_whole([(10.0 * i, 4000, 2) for i in range(60)])
    assert alone.sums[0] > 0 and means(alone)[0] == pytest.approx(step_s(TIMES, *means(alone)[1:]), rel=0.02)
    steps = Steps()
    held = steps.part(400)
    held.sent(0.0)
    held.unseen()
    for i in range(60):
        short = steps.part(400)
        short.sent(float(i))
        short.unseen()
        short.ended(Usage(100, 2), i + 1.0)
    assert steps.sums[0] == 0.0


def test_answers_that_overlap_count_once() -> None:
    steps = Steps()
    parts: dict[str, Part] = {}
    for now, name, ends in (
        (0.0, "a", False),
        (5.0, "b", False),
        (9.0, "a", True),
        (9.0, "c", False),
        (14.0, "b", True),
        (18.0, "c", True),
    ):
        if ends:
            parts[name].ended(Usage(100, 90), now)
        else:
            parts[name] = sent_whole(steps, now, 100, 90).part
    assert steps.sums[0] == 2.0


def test_what_the_engine_works_on_at_once_comes_with_the_configuration(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(maxConcurrency=3), tmp_path) as world:
            assert world.sidecar.metrics.steps.most == 3

    run(main)


def test_while_some_wait_in_the_engine_whole_answers_tell_nothing() -> None:
    counts = []
    for most in (None, 2, 1):
        steps = Steps()
        steps.most = most
        for at in (0.0, 10.0, 20.0):
            parts = [sent_whole(steps, at, 100, 100).part for _ in range(2)]
            for part in parts:
                part.ended(Usage(100, 100), at + 9.0)
        counts.append(steps.sums[0])
    assert counts == [3.0, 3.0, 0.0]


@pytest.mark.parametrize(("choices", "sent", "shown"), [(2, None, None), (1, -2.0, -1.0), (1, 1.0, 5.0), (1, 1.0, None)])
def test_beside_streams_and_of_several_choices_whole_answers_tell_nothing(choices: int, sent: float | None, shown: float | None) -> None:
    """A stream that shows no token yet has its prompt computed all the same."""
    steps = Steps()
    for began in (10.0, 20.0, 30.0, 40.0):
        beside = steps.part(400)
        events: list[tuple[float, Callable[[float], None]]] = []
        one = steps.part(400)
        events.append((0.0, partial(whole, one)))
        events.append((9.0, partial(one.ended, Usage(100, 100, choices))))
        if sent is not None:
            events.append((sent, beside.sent))
            events.append((6.0, partial(beside.ended, None)))
        if shown is not None:
            events.append((shown, partial(beside.tokens, 1)))
        for after_s, happens in sorted(events, key=lambda event: event[0]):
            happens(began + after_s)
    assert steps.sums[0] == 0.0


def whole(part: Part, now: float) -> None:
    part.sent(now)
    part.unseen()

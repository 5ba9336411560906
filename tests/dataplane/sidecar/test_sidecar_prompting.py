"""Streams that find another one whose first token has not come: what the sidecar counts of them, and what it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.dataplane.sidecar.sidecar_world import World, a_class, a_document, a_world, run
from tests.dataplane.wires import until

from forebay.adapters.scrape import parse
from forebay.adapters.sums import prompting_of
from forebay.dataplane.http.server import Request, Response

CHAT = "/v1/chat/completions"


def counted(world: World, term: str) -> float:
    found = world.metric("forebay_sidecar_prompting_total", term=term)
    assert found is not None
    return found


def test_a_stream_that_comes_before_another_one_has_begun_meets_its_prompt(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.release.clear()
            first = asyncio.create_task(world.stream({"max_tokens": 2}))
            await until(lambda: counted(world, "arrivals") == 1)
            second = asyncio.create_task(world.stream({"max_tokens": 2}))
            await until(lambda: counted(world, "arrivals") == 2)
            assert counted(world, "met") == 1
            waited_s = counted(world, "open_seconds")
            await until(lambda: counted(world, "open_seconds") > waited_s)
            world.engine.release.set()
            await asyncio.gather(first, second)
            over_s = counted(world, "open_seconds")
            await world.stream({"max_tokens": 2})
            assert (counted(world, "arrivals"), counted(world, "met")) == (3, 1)
            assert over_s <= counted(world, "open_seconds") <= counted(world, "seconds")

    run(main)


def test_an_answer_that_decodes_is_no_prompt_any_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.token_s = lambda running: 0.05
            first = asyncio.create_task(world.stream({"max_tokens": 20}))
            own = {"batch_class": "interactive"}
            await until(lambda: world.metric("gen_ai_server_time_to_first_token_seconds_count", **own) == 1)
            await world.stream({"max_tokens": 1})
            assert not first.done()
            assert (counted(world, "arrivals"), counted(world, "met")) == (2, 0)
            await first

    run(main)


def test_answers_in_one_piece_and_failures_leave_nothing_open(tmp_path: Path) -> None:
    """Nobody sees when the prompt of an answer in one piece has been computed."""

    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.release.clear()
            whole = asyncio.create_task(world.answer(CHAT, {"max_tokens": 2}))
            await until(lambda: world.engine.running == 1)
            assert (counted(world, "arrivals"), counted(world, "open_seconds")) == (0, 0)
            reply = await world.post(CHAT, b"{")
            assert reply.status == 400
            await reply.read()
            world.engine.release.set()
            await whole

            async def fails(request: Request, response: Response) -> None:
                response.send(500, b"{}")

            world.engine.answer = fails
            reply = await world.post(CHAT, {"stream": True})
            assert reply.status == 500
            await reply.read()
            assert counted(world, "arrivals") == 1
            over_s = counted(world, "open_seconds")
            await asyncio.sleep(0.02)
            assert counted(world, "open_seconds") == over_s

    run(main)


def test_what_is_told_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            await world.stream({"max_tokens": 2})
            found = prompting_of(parse((await world.get("/metrics"))[1].decode()).counters)
            assert found is not None
            assert (found.arrivals, found.met) == (1, 0) and 0 < found.open_seconds < found.seconds

    run(main)


def test_who_waits_in_vain_leaves_nothing_open(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(a_class(maxBatchSize=1, maxWaitSeconds=0.05)), tmp_path) as world:
            world.engine.release.clear()
            first = asyncio.create_task(world.stream({"max_tokens": 2}))
            await until(lambda: world.engine.running == 1)
            reply = await world.post(CHAT, {"stream": True})
            assert reply.status == 429
            await reply.read()
            assert (counted(world, "arrivals"), counted(world, "met")) == (2, 1)
            world.engine.release.set()
            await first
            over_s = counted(world, "open_seconds")
            await asyncio.sleep(0.02)
            assert counted(world, "open_seconds") == over_s

    run(main)

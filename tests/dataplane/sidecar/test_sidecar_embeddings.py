"""Embedding requests in batches: merged, answered each with its own, and none failing for another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.sidecar.sidecar_world import World, a_class, a_document, a_world, p95, run, vector
from tests.dataplane.wires import soon, until

from forebay.dataplane.http.server import Request, Response
from forebay.dataplane.sidecar.embeddings import BadAnswer, read, share, split
from forebay.dataplane.sidecar.generate import BadRequest

EMBED = "/v1/embeddings"


async def until_queued(world: World, count: int) -> None:
    await until(lambda: world.sidecar._jobs.queued == count)


def a_batching(**overrides: Any) -> dict[str, Any]:
    return a_document(a_class(**{"maxBatchSize": 16, "windowSeconds": 0.05, **overrides}), task="Embeddings")


async def ask(world: World, given: Any, **fields: Any) -> tuple[int, Any]:
    return await world.answer(EMBED, {"input": given, "model": "m", **fields})


def held(world: World) -> list[Any]:
    """The inputs of each call, in the order of the calls."""
    return [body["input"] for body in world.engine.bodies()]


async def together(world: World, *inputs: Any) -> list[tuple[int, Any]]:
    """Requests that all arrive while two others keep the engine busy, so that they wait together. Only their calls stay in `seen`."""
    world.engine.release.clear()
    busy = [asyncio.ensure_future(world.answer(EMBED, {"input": "busy", "model": f"other {n}"})) for n in range(2)]
    await until(lambda: world.engine.running == 2)
    tasks = []
    for one in inputs:
        tasks.append(asyncio.ensure_future(ask(world, one)))
        await until(lambda: world.sidecar._jobs.queued == len(tasks))
    world.engine.release.set()
    answers = await soon(asyncio.gather(*tasks))
    await soon(asyncio.gather(*busy))
    del world.engine.seen[:2]
    return list(answers)


def vectors(answer: Any) -> list[Any]:
    items = sorted(answer["data"], key=lambda item: int(item["index"]))
    assert [item["index"] for item in items] == list(range(len(items)))
    return [item["embedding"] for item in items]


def test_requests_that_wait_together_are_one_call_and_each_gets_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(), tmp_path) as world:
            inputs = ["one", ["two words", "and three more"], ["four"]]
            answers = await together(world, *inputs)
            assert held(world) == [["one", "two words", "and three more", "four"]]
            for (status, answer), given in zip(answers, inputs, strict=True):
                texts = [given] if isinstance(given, str) else given
                assert status == 200 and answer["model"] == "m" and answer["object"] == "list"
                assert vectors(answer) == [vector(text) for text in texts]
            assert sum(answer["usage"]["prompt_tokens"] for _, answer in answers) == 7
            await until(lambda: world.sidecar._jobs.in_flight == 0)
            assert world.metric("forebay_sidecar_tokens_total", batch_class="interactive", token_type="input") == 7 + 2
            assert world.outcome("ok") == 5
            assert world.metric("gen_ai_server_time_to_first_token_seconds_count", batch_class="interactive") == 5

    run(main)


def test_a_window_that_is_over_at_once_fails_nobody_on_uvloop(tmp_path: Path) -> None:
    """For a time that is less than half a millisecond away uvloop gives a handle that does not know its own time."""

    async def main() -> None:
        async with a_world(a_batching(windowSeconds=0.0004), tmp_path) as world:
            for _ in range(20):
                answers = await soon(asyncio.gather(*(ask(world, f"text {n}") for n in range(8))))
                assert [status for status, _ in answers] == [200] * 8

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_a_lone_request_does_not_wait_and_is_not_rewritten(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(mode="Adaptive", windowSeconds=10.0), tmp_path) as world:
            raw = b'{"input": "alone",  "model": "m", "user": "u"}'
            status, answer = await soon(world.answer(EMBED, raw))
            assert status == 200 and vectors(answer) == [vector("alone")]
            assert world.engine.seen[0].body == raw

    run(main)


def test_a_window_gathers_what_arrives_in_it_though_the_engine_is_idle(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(windowSeconds=0.2), tmp_path) as world:
            first = asyncio.ensure_future(ask(world, "a"))
            await until(lambda: world.sidecar._jobs.queued == 1)
            await asyncio.gather(first, ask(world, "b"))
            assert held(world) == [["a", "b"]]

    run(main)


def test_a_full_batch_does_not_wait_for_its_window(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(windowSeconds=10.0, maxBatchSize=2), tmp_path) as world:
            await soon(asyncio.gather(ask(world, "a"), ask(world, "b")))
            assert len(held(world)) == 1

    run(main)


@pytest.mark.parametrize("fields", [{"model": "other"}, {"encoding_format": "base64"}, {"dimensions": 3}, {"unknown": [1]}])
def test_what_asks_for_something_else_is_not_merged(tmp_path: Path, fields: dict[str, Any]) -> None:
    async def main() -> None:
        async with a_world(a_batching(windowSeconds=0.2), tmp_path) as world:
            await soon(asyncio.gather(ask(world, "a"), ask(world, "b", **fields), ask(world, "c", user="someone")))
            calls = held(world)
            assert sorted(map(len, calls)) == [1, 2]
            assert ["a", "c"] in calls

    run(main)


def test_who_shows_another_key_is_not_merged(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(windowSeconds=0.1), tmp_path) as world:
            bodies = [world.answer(EMBED, {"input": "a"}, (b"authorization", b"Bearer %d" % n)) for n in range(2)]
            await soon(asyncio.gather(*bodies))
            assert {seen.header(b"authorization") for seen in world.engine.seen} == {b"Bearer 0", b"Bearer 1"}

    run(main)


@pytest.mark.parametrize("word", ["bad", "die"])
def test_one_bad_input_fails_alone(tmp_path: Path, word: str) -> None:
    async def main() -> None:
        async with a_world(a_batching(), tmp_path) as world:
            answers = await together(world, "a", "b", f"{word} one", ["c", "d"])
            assert [status for status, _ in answers] == [200, 200, 400 if word == "bad" else 502, 200]
            assert answers[2][1]["error"]["message"]
            assert vectors(answers[3][1]) == [vector("c"), vector("d")]

    run(main)


def test_an_answer_with_too_few_embeddings_fails_nobody_who_can_be_answered(tmp_path: Path) -> None:
    async def forgets(request: Request, response: Response) -> None:
        body = orjson.loads(request.body)
        if isinstance(body["input"], list) and len(body["input"]) > 1:
            response.send(200, orjson.dumps({"data": [{"embedding": [1.0]}]}))
        else:
            await world_embed(request, response)

    world_embed: Any = None

    async def main() -> None:
        nonlocal world_embed
        async with a_world(a_batching(windowSeconds=0.1), tmp_path) as world:
            world_embed, world.engine.answer = world.engine.embed, forgets
            answers = await soon(asyncio.gather(ask(world, "a"), ask(world, "b"), ask(world, ["c", "d"])))
            assert [status for status, _ in answers] == [200, 200, 502]

    run(main)


def test_a_long_list_is_answered_in_several_calls(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(maxBatchSize=4), tmp_path) as world:
            texts = [f"text {n}" for n in range(11)]
            status, answer = await soon(ask(world, texts))
            assert status == 200 and vectors(answer) == [vector(text) for text in texts]
            assert [len(call) for call in held(world)] == [4, 4, 3]
            assert answer["usage"]["prompt_tokens"] == 22
            assert world.outcome("ok") == 1

    run(main)


def test_a_batch_has_no_more_tokens_than_allowed(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(maxBatchTokens=50, windowSeconds=0.1), tmp_path) as world:
            texts = ["x" * 80, "y" * 80, "z" * 80, "w" * 4000]
            answers = await soon(asyncio.gather(*(ask(world, text) for text in texts)))
            assert [status for status, _ in answers] == [200] * 4
            assert all(sum(len(text) for text in call) <= 200 or len(call) == 1 for call in held(world) if isinstance(call, list))
            assert ["x" * 80, "y" * 80] in held(world)

    run(main)


def test_inputs_that_are_tokens_go_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(), tmp_path) as world:
            answers = await together(world, [1, 2, 3], [[1], [2]], "text")
            assert [status for status, _ in answers] == [200] * 3
            assert held(world) == [[1, 2, 3], [[1], [2]], "text"]

    run(main)


def test_one_who_leaves_takes_nobody_along(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(windowSeconds=0.05), tmp_path) as world:
            world.engine.release.clear()
            leaves, stays = asyncio.ensure_future(ask(world, "a")), asyncio.ensure_future(ask(world, "b"))
            await until(lambda: world.engine.running == 1)
            leaves.cancel()
            await until(lambda: world.outcome("cancelled") == 1)
            assert world.engine.running == 1
            stays.cancel()
            # Now nobody wants the call.
            await soon(world.engine.gone.acquire())
            await until(lambda: world.sidecar._jobs.in_flight == 0)
            world.engine.release.set()
            assert (await soon(ask(world, "c")))[0] == 200

    run(main)


def test_the_queue_is_bounded_in_length_and_time(tmp_path: Path) -> None:
    async def main() -> None:
        document = a_batching(maxBatchSize=1, maxDepth=2, maxWaitSeconds=0.3, windowSeconds=0.0)
        async with a_world(document, tmp_path) as world:
            world.engine.release.clear()
            busy = [asyncio.ensure_future(ask(world, "a")) for _ in range(2)]
            await until(lambda: world.engine.running == 2)
            waiting = [asyncio.ensure_future(ask(world, "b")) for _ in range(2)]
            await until(lambda: world.sidecar._jobs.queued == 2)
            assert (await world.load())["inFlight"] == 2
            assert (await ask(world, "c"))[0] == 429
            assert [status for status, _ in await soon(asyncio.gather(*waiting))] == [429, 429]
            world.engine.release.set()
            assert [status for status, _ in await soon(asyncio.gather(*busy))] == [200, 200]
            assert (world.outcome("rejected_full"), world.outcome("rejected_wait")) == (1, 2)

    run(main)


def test_the_class_with_the_higher_priority_fills_the_batch_first(tmp_path: Path) -> None:
    async def main() -> None:
        classes = [a_class("low", maxBatchSize=1, windowSeconds=0.0), a_class("high", priority=9, maxBatchSize=1, windowSeconds=0.0)]
        async with a_world(a_document(*classes, task="Embeddings"), tmp_path) as world:
            world.engine.release.clear()
            tasks = [asyncio.ensure_future(ask(world, "busy")) for _ in range(2)]
            await until(lambda: world.engine.running == 2)
            for n, name in enumerate([b"low", b"high"]):
                tasks.append(asyncio.ensure_future(world.answer(EMBED, {"input": name.decode()}, (b"x-forebay-class", name))))
                await until_queued(world, n + 1)
            world.engine.release.set()
            await soon(asyncio.gather(*tasks))
            assert held(world)[2:] == ["high", "low"]

    run(main)


def test_without_batching_requests_pass_as_they_are(tmp_path: Path) -> None:
    async def main() -> None:
        document = a_batching(mode="Disabled", objectives={"timeToFirstToken": p95(5)})
        async with a_world(document, tmp_path) as world:
            answers = await soon(asyncio.gather(*(ask(world, text) for text in "abc")))
            assert [vectors(answer) for _, answer in answers] == [[vector(text)] for text in "abc"]
            assert sorted(held(world)) == ["a", "b", "c"]
            own = {"batch_class": "interactive"}
            assert world.metric("gen_ai_server_time_to_first_token_seconds_count", **own) == 3
            assert world.metric("forebay_sidecar_objective_total", objective="timeToFirstToken", met="true", **own) == 3

    run(main)


DEEP = b'{"input": "a", "x": ' + b"[" * 500 + b"]" * 500 + b"}"


@pytest.mark.parametrize(
    "body", [DEEP, b"{", b"[]", b"{}", b'{"input": []}', b'{"input": 3}', b'{"input": null}', b'{"input": ["\\ud800"]}']
)
def test_what_is_no_request_is_refused_here(tmp_path: Path, body: bytes) -> None:
    async def main() -> None:
        async with a_world(a_batching(), tmp_path) as world:
            status, answer = await world.answer(EMBED, body)
            assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
            assert not world.engine.seen and world.outcome("client_error") == 1

    run(main)


def test_too_many_inputs_are_refused() -> None:
    with pytest.raises(BadRequest, match="at most 2048"):
        read(orjson.dumps({"input": ["x"] * 2049}), b"")


def test_an_engine_that_is_overloaded_says_when_to_come_back(tmp_path: Path) -> None:
    """text-embeddings-inference answers 429 without a Retry-After."""

    async def overloaded(request: Request, response: Response) -> None:
        response.send(429, b"{}")

    async def main() -> None:
        async with a_world(a_batching(), tmp_path) as world:
            world.engine.answer = overloaded
            reply = await world.post(EMBED, {"input": "a"})
            assert (reply.status, reply.header(b"retry-after")) == (429, b"1")
            reply.close()

    run(main)


def test_an_engine_that_is_gone_is_a_502_for_all(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_batching(), tmp_path) as world:
            await world.engine_server.close(0)
            answers = await soon(asyncio.gather(*(ask(world, text) for text in "abc")))
            assert [status for status, _ in answers] == [502] * 3
            assert world.outcome("engine_error") == 3

    run(main)


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_shares_add_up_and_are_fair(total: int, weights: list[int]) -> None:
    shares = share(total, weights)
    assert sum(shares) == total and min(shares) >= 0
    whole = sum(weights)
    if whole:
        assert all(abs(part - total * weight / whole) <= 1.001 for part, weight in zip(shares, weights, strict=True))


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=6), st.randoms())
def test_an_answer_in_any_order_is_split_by_its_indexes(sizes: list[list[int]], random: Any) -> None:
    count = sum(map(len, sizes))
    data = [{"index": n, "embedding": [n]} for n in range(count)]
    random.shuffle(data)
    parts = split(orjson.dumps({"data": data, "usage": {"prompt_tokens": 100}}), sizes)
    assert [item["embedding"] for part in parts for item in part.items] == [[n] for n in range(count)]
    assert sum(part.tokens for part in parts) == 100


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"data": 3}', b'{"data": [{}]}', b'{"data": []}'])
def test_an_answer_that_does_not_fit_is_said_so(raw: bytes) -> None:
    with pytest.raises(BadAnswer):
        split(raw, [[1]])

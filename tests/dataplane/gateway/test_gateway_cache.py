"""The exact cache and single flight, seen from outside: who shares what, for how long, and never across tenants."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule
from tests.dataplane.gateway.gateway_fakes import DONE, answers, chat_event, speaks
from tests.dataplane.gateway.gateway_world import CHAT, HELLO, KEY, World, counted, metric, run, until

from forebay.dataplane.gateway.answer import error_event
from forebay.dataplane.http.message import Request, Response

CHAT_BODY = {"model": "support-chat", "messages": HELLO, "temperature": 0}


def test_the_same_question_is_computed_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            with counted("forebay_gateway_cache_total", 1, result="stored"), counted("forebay_gateway_cache_total", 1, result="hit"):
                first = await world.chat(temperature=0)
                second = await world.call(CHAT, dict(reversed(CHAT_BODY.items())))
            assert first.header("cache-status") == "forebay; fwd=miss; stored"
            assert (second.header("cache-status"), second.header("age")) == ("forebay; hit", "0")
            assert second.body == first.body
            assert second.header("x-model-served") == "engine-model"
            assert second.header("x-request-id") != first.header("x-request-id")
            assert world.seen() == 1
            record = (await world.decisions(2))[1]
            assert (record["cache"], record["endpoint"], record["attempts"], record["outputTokens"]) == ("hit", "", 0, 3)

    run(test)


def test_only_deterministic_requests_are_kept_unless_the_rule_says_always(tmp_path: Path) -> None:
    async def test() -> None:
        rules = [a_rule("never", match={"class": ["nightly"]}, mode="Disabled"), a_rule("some")]
        async with World(tmp_path, a_document(a_policy(rules=rules))) as world:
            for fields in (
                {},
                {"temperature": 0.1},
                {"temperature": False},
                {"temperature": "0"},
                {"temperature": 0, "service_tier": "flex"},
            ):
                for _ in range(2):
                    assert (await world.chat(**fields)).header("cache-status") == "forebay; fwd=bypass", fields
            await world.take_document(a_document(a_policy(rules=[a_rule(mode="Always")])))
            await world.chat(temperature=1)
            assert (await world.chat(temperature=1)).header("cache-status") == "forebay; hit"

    run(test)


def test_tenants_never_share_an_answer(tmp_path: Path) -> None:
    async def test() -> None:
        tenants = [{"name": "acme", "keys": "support/acme"}, {"name": "globex", "keys": "support/globex"}]
        async with World(tmp_path, a_document(a_policy(tenants=tenants))) as world:
            world.write_key("support/globex", "globex-key")
            await until(lambda: world.role.keys.folders_of(b"globex-key"))
            for key in (KEY, "globex-key"):
                assert (await world.chat(key=key, temperature=0)).header("cache-status") == "forebay; fwd=miss; stored"
            world.sidecar.hold = asyncio.Event()
            asked = [asyncio.create_task(world.chat(key=key, temperature=0, seed=1)) for key in (KEY, "globex-key")]
            await until(lambda: world.seen() == 4)
            world.sidecar.hold.set()
            assert [(await got).status for got in asked] == [200, 200]

    run(test)


def test_answers_expire(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, a_document(a_policy(rules=[a_rule(ttlSeconds=0.05)]))) as world:
            await world.chat(temperature=0)
            await asyncio.sleep(0.06)
            assert (await world.chat(temperature=0)).header("cache-status") == "forebay; fwd=miss; stored"

    run(test)


def test_a_changed_policy_or_another_question_begins_anew(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            for fields in ({}, {"seed": 1}, {"seed": 2}, {"stream": True}, {"messages": [{"role": "user", "content": "Hello"}]}):
                assert "miss" in ((await world.chat(temperature=0, **fields)).header("cache-status") or "")
            assert (await world.chat(temperature=0)).header("cache-status") == "forebay; hit"
            await world.take_document(a_document(a_policy(retryBudget=0.2)))
            assert (await world.chat(temperature=0)).header("cache-status") == "forebay; fwd=miss; stored"

    run(test)


def test_clients_may_refuse_the_cache(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            for _ in range(2):
                got = await world.chat(temperature=0, headers={"cache_control": "No-Store"})
                assert got.header("cache-status") == "forebay; fwd=request"
            await world.chat(temperature=0)
            got = await world.chat(temperature=0, headers={"cache_control": "no-cache"})
            assert got.header("cache-status") == "forebay; fwd=request; stored"
            assert (await world.chat(temperature=0)).header("cache-status") == "forebay; hit"
            assert world.seen() == 4

    run(test)


def test_a_whole_stream_is_replayed_as_a_stream(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            first = await world.chat(temperature=0, stream=True)
            second = await world.chat(temperature=0, stream=True)
            assert second.header("cache-status") == "forebay; hit"
            assert second.header("content-type") == "text/event-stream"
            assert second.body == first.body
            assert (await world.decisions(2))[1]["ttftMs"] is not None

    run(test)


def test_what_failed_is_never_kept(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            for failing, stream in (
                (answers(400), False),
                (answers(429), False),
                (answers(502), False),
                (speaks(chat_event("m", "x")), True),
                (speaks(chat_event("m", "x"), error_event("out of memory"), DONE), True),
            ):
                world.sidecar.answer = failing
                before = world.seen()
                for _ in range(2):
                    try:
                        await world.chat(temperature=0, stream=stream)
                    except Exception as error:
                        assert "broke off" in str(error)
                assert world.seen() >= before + 2

    run(test)


def test_hits_are_served_while_no_replica_is_there(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            await world.chat(temperature=0)
            world.api.put("chat-forebay", [])
            await until(lambda: not world.role.fleet.endpoints())
            assert (await world.chat(temperature=0)).header("cache-status") == "forebay; hit"
            assert (await world.chat(temperature=0, seed=1)).status == 503

    run(test)


def test_identical_requests_share_one_call(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            world.sidecar.hold = asyncio.Event()
            asked = [asyncio.create_task(world.chat(temperature=0)) for _ in range(8)]
            await until(lambda: in_flight() == 8)
            world.sidecar.hold.set()
            got = [await one for one in asked]
            assert {one.status for one in got} == {200}
            assert world.seen() == 1
            assert sorted(one.header("cache-status") or "" for one in got) == ["forebay; fwd=miss; collapsed"] * 7 + [
                "forebay; fwd=miss; stored"
            ]

    run(test)


def in_flight() -> float:
    return metric("forebay_gateway_in_flight")


def test_a_late_joiner_gets_what_was_there_and_follows(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            world.sidecar.hold = asyncio.Event()
            async with world.streaming(temperature=0) as first, world.streaming(temperature=0) as second:
                assert second.header(b"cache-status") == b"forebay; fwd=miss; collapsed"
                assert await anext(first) == await anext(second) == chat_event("engine-model", "hel")
                world.sidecar.hold.set()
                rest = await first.read()
                assert rest == await second.read()
                assert rest.endswith(b"data: [DONE]\n\n")
            assert world.seen() == 1

    run(test)


def test_the_call_outlives_its_first_client_while_others_follow(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            world.sidecar.hold = asyncio.Event()
            async with world.streaming(temperature=0) as second:
                pass
            await until(lambda: world.sidecar.cancelled == 1)
            async with world.streaming(temperature=0) as first, world.streaming(temperature=0) as second:
                await anext(first)
                first.close()
                await world.decisions(2)
                world.sidecar.hold.set()
                assert (await second.read()).endswith(b"data: [DONE]\n\n")
            assert (world.seen(), world.sidecar.cancelled) == (2, 1)

    run(test)


def test_followers_get_the_failure_of_the_call_they_share(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            held = asyncio.Event()

            async def fails(request: Request, response: Response) -> None:
                await held.wait()
                await answers(400)(request, response)

            world.sidecar.answer = fails
            asked = [asyncio.create_task(world.chat(temperature=0)) for _ in range(3)]
            await until(lambda: in_flight() == 3)
            held.set()
            assert [(await one).status for one in asked] == [400, 400, 400]
            assert world.seen() == 1

    run(test)


def test_embeddings_are_deterministic(tmp_path: Path) -> None:
    async def test() -> None:
        document = a_document(a_policy(models=["embed"]), pools=[a_pool("chat", task="Embeddings")])
        async with World(tmp_path, document) as world:
            for status in ("forebay; fwd=miss; stored", "forebay; hit"):
                assert (await world.call("/v1/embeddings", {"model": "embed", "input": "a"})).header("cache-status") == status

    run(test)


def test_a_cache_of_no_bytes_keeps_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, cache_bytes=0) as world:
            for _ in range(2):
                assert (await world.chat(temperature=0)).header("cache-status") == "forebay; fwd=miss"
            assert world.seen() == 2

    run(test)

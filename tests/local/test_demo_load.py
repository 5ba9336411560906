"""The demo's clients against real servers, good and bad ones; and whom they may ask."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.dataplane.wires import serving
from tests.local.test_up import RESOURCES, a_folder

from forebay.api.inference_pool import Task
from forebay.dataplane.http.client import Client
from forebay.dataplane.http.server import Handler, Request, Response
from forebay.dataplane.outcome import Outcome
from forebay.local.demo import load as module
from forebay.local.demo.doors import Door, find_doors
from forebay.local.demo.load import Answered, Due, Load, chat_body, embeddings_body, schedule
from forebay.local.demo.shape import Shape
from forebay.local.folder import read_folder
from forebay.runtime.errors import ForebayError

CHAT = Door(Task.CHAT, "m", "the-key", "default/gateway", "default/chat", "interactive")
SEARCH = Door(Task.EMBEDDINGS, "e", "the-key", "default/gateway", "default/search", "lookup")
TOKEN, END = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', b"data: [DONE]\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'


def asked(handler: Handler, due: Due) -> tuple[Answered, Load]:
    """What one client sees of a server."""

    async def run() -> tuple[Answered, Load]:
        client = Client()
        async with serving(handler) as server:
            load = Load(client, {"default/gateway": f"http://127.0.0.1:{server.port}"})
            seen = await load.ask(due)
            await client.close()
        return seen, load

    return asyncio.run(run())


def stream(*chunks: bytes, whole: bool = True, cache: bytes = b"") -> Handler:
    async def handler(request: Request, response: Response) -> None:
        response.start(200, [(b"cache-status", cache)] if cache else [])
        for chunk in chunks:
            await response.write(chunk)
        if whole:
            response.end()
        else:
            response.break_off()

    return handler


def status(code: int) -> Handler:
    async def handler(request: Request, response: Response) -> None:
        response.send(code, b"{}")

    return handler


async def abort(request: Request, response: Response) -> None:
    response.abort()


@pytest.mark.parametrize(
    ("handler", "outcome", "code"),
    [
        (stream(TOKEN, TOKEN, USAGE, END), Outcome.FINISHED, 200),
        (stream(TOKEN, TOKEN), Outcome.LOST, 200),
        (stream(TOKEN, END, whole=False), Outcome.LOST, 200),
        (stream(TOKEN, b'data: {"error": {}}\n\n', whole=False), Outcome.LOST, 200),
        (status(429), Outcome.REFUSED, 429),
        (status(503), Outcome.REFUSED, 503),
        (status(401), Outcome.REFUSED, 401),
        (status(502), Outcome.LOST, 502),
        (abort, Outcome.LOST, 0),
    ],
)
def test_a_stream_is_finished_refused_or_lost(handler: Handler, outcome: Outcome, code: int) -> None:
    seen, _ = asked(handler, Due(2.5, CHAT, chat_body(CHAT, "hello", 2)))
    assert (seen.outcome, seen.status, seen.batch_class, seen.at_s) == (outcome, code, "interactive", 2.5)


def test_a_finished_stream_says_when_it_began_and_how_long_it_is() -> None:
    seen, _ = asked(stream(TOKEN, TOKEN, USAGE, END, cache=b"forebay; fwd=bypass"), Due(0, CHAT, chat_body(CHAT, "hello", 2)))
    assert seen.first_s is not None
    assert 0 < seen.first_s <= seen.total_s
    assert (seen.output_tokens, seen.cache) == (2, "bypass")


@pytest.mark.parametrize(
    ("header", "cache"),
    [
        (b"forebay; hit", "hit"),
        (b"forebay; fwd=miss; stored", "miss"),
        (b"forebay; fwd=miss; collapsed", "collapsed"),
        (b"forebay; fwd=miss; collapsed; stored", "collapsed"),
        (b"forebay; fwd=request", "request"),
        (b"other; hit", ""),
    ],
)
def test_the_cache_is_known_by_its_header(header: bytes, cache: str) -> None:
    assert asked(stream(TOKEN, END, cache=header), Due(0, CHAT, chat_body(CHAT, "hello", 1)))[0].cache == cache


def test_embeddings_are_asked_with_the_key_and_their_vectors_kept() -> None:
    requests: list[tuple[str, bytes | None, Any]] = []

    async def handler(request: Request, response: Response) -> None:
        requests.append((request.path, request.header(b"authorization"), orjson.loads(request.body)))
        response.send(200, orjson.dumps({"data": [{"embedding": [0.5, 0.25]}]}))

    seen, load = asked(handler, Due(0, SEARCH, embeddings_body(SEARCH, "some text"), "some text"))
    assert seen.outcome is Outcome.FINISHED
    assert requests == [("/v1/embeddings", b"Bearer the-key", {"model": "e", "input": "some text"})]
    assert load.vectors == {"some text": [0.5, 0.25]}


@pytest.mark.parametrize("body", [b"not json", b"{}", b'{"data": []}'])
def test_an_embedding_that_cannot_be_read_is_no_answer(body: bytes) -> None:
    async def handler(request: Request, response: Response) -> None:
        response.send(200, body)

    assert asked(handler, Due(0, SEARCH, embeddings_body(SEARCH, "t"), "t"))[0].outcome is Outcome.LOST


def with_load(handler: Handler, test: Callable[[Load], Coroutine[Any, Any, None]]) -> Load:
    async def run() -> Load:
        client = Client()
        async with serving(handler) as server:
            load = Load(client, {"default/gateway": f"http://127.0.0.1:{server.port}"})
            await test(load)
            await client.close()
        return load

    return asyncio.run(run())


def test_an_open_loop_sends_though_nobody_answers_and_holds_back_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IN_FLIGHT", 3)
    answer, arrived = asyncio.Event(), asyncio.Event()
    waiting = 0

    async def handler(request: Request, response: Response) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 3:
            arrived.set()
        await answer.wait()
        await stream(TOKEN, END)(request, response)

    async def test(load: Load) -> None:
        running = asyncio.create_task(load.run([Due(0.0, CHAT, chat_body(CHAT, "hello", 1))] * 5, asyncio.get_running_loop().time()))
        async with asyncio.timeout(5):
            await arrived.wait()
            while load.held_back < 2:
                await asyncio.sleep(0.01)
        assert (load.sent, load.in_flight) == (3, 3)
        answer.set()
        await running

    load = with_load(handler, test)
    assert (load.sent, load.held_back, load.in_flight) == (3, 2, 0)
    assert [one.outcome for one in load.answered] == [Outcome.FINISHED] * 3


def test_a_schedule_is_in_order_and_the_same_for_the_same_seed() -> None:
    shapes = {Task.CHAT: Shape(((0, 5), (10, 5))), Task.EMBEDDINGS: Shape(((0, 5), (10, 5)))}
    found = schedule({Task.CHAT: CHAT, Task.EMBEDDINGS: SEARCH}, shapes, 1)
    assert found == schedule({Task.CHAT: CHAT, Task.EMBEDDINGS: SEARCH}, shapes, 1)
    assert [due.at_s for due in found] == sorted(due.at_s for due in found)
    texts = [due.text for due in found if due.door is SEARCH]
    assert len(set(texts)) < len(texts)
    assert {due.door for due in schedule({Task.CHAT: CHAT}, shapes, 1)} == {CHAT}


# whom to ask


def test_a_folder_says_which_models_can_be_asked(tmp_path: Path) -> None:
    assert find_doors(read_folder(a_folder(tmp_path / "in"))) == {
        Task.CHAT: Door(Task.CHAT, "support-chat", "the-key", "default/forebay-gateway-default", "default/chat", "interactive")
    }


def test_a_key_may_be_given_as_data(tmp_path: Path) -> None:
    encoded = RESOURCES.replace("stringData: {key: the-key}", f"data: {{key: {base64.b64encode(b'other').decode()}}}")
    assert find_doors(read_folder(a_folder(tmp_path / "in", resources=encoded)))[Task.CHAT].key == "other"


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("stringData: {key: the-key}", "stringData: {}", "needs a RoutingPolicy with a tenant whose Secret"),
        ("stringData: {key: the-key}", "data: {key: '*'}", "needs a RoutingPolicy with a tenant whose Secret"),
        ("{secretRef: keys}", "{secretRef: other}", "needs a RoutingPolicy with a tenant whose Secret"),
        ("route: [{pool: chat}]", "route: [{pool: other}]", "needs a RoutingPolicy with a tenant whose Secret"),
        ("model: {name: sim-chat}", "model: {name: sim-chat, task: Embeddings}", "asks a chat model"),
        ("classes: [interactive]", "classes: [fast]", "need BatchClass fast"),
        ("defaultClass: interactive", "defaultClass: slow", "need BatchClass slow"),
    ],
)
def test_a_folder_that_nobody_may_ask_is_refused_with_what_it_lacks(tmp_path: Path, before: str, after: str, problem: str) -> None:
    assert before in RESOURCES
    with pytest.raises(ForebayError, match=problem):
        find_doors(read_folder(a_folder(tmp_path / "in", resources=RESOURCES.replace(before, after))))

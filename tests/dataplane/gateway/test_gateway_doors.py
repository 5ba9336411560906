"""Bad input at every door: a clear error in OpenAI's shape, with the parameter that is wrong, and nothing reaches a replica."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule
from tests.dataplane.gateway.gateway_world import CHAT, HELLO, World, run

MODEL = {"model": "support-chat"}

BAD: list[tuple[str, Any, str | None]] = [
    (CHAT, b"", None),
    (CHAT, b"{", None),
    (CHAT, b'{"model": "support-chat", "messages": [{}], "x": NaN}', None),
    (CHAT, b"\xff\xfe", None),
    (CHAT, b"[" * 100_000, None),
    # As deep as can be read, and deeper than can be written: for the cache's key, and for a model's name that is not plain to replace.
    (CHAT, b'{"model": "support-chat", "messages": [{}], "temperature": 0, "x": ' + b"[" * 500 + b"]" * 500 + b"}", None),
    (CHAT, b'{"model": "support-chat", "messages": [{"\\u0061": 1}], "x": ' + b"[" * 500 + b"]" * 500 + b"}", None),
    (CHAT, b'{"model": "support-chat", "messages": [{"content": "\\ud800"}]}', None),
    (CHAT, b'{"model": "support-chat", "messages": [{}], "x": 1e999}', None),
    (CHAT, [], None),
    (CHAT, "text", None),
    (CHAT, None, None),
    (CHAT, {"messages": HELLO}, "model"),
    (CHAT, {"model": "", "messages": HELLO}, "model"),
    (CHAT, {"model": 3, "messages": HELLO}, "model"),
    (CHAT, MODEL, "messages"),
    (CHAT, {**MODEL, "messages": []}, "messages"),
    (CHAT, {**MODEL, "messages": "hello"}, "messages"),
    (CHAT, {**MODEL, "messages": ["hello"]}, "messages"),
    (CHAT, {**MODEL, "messages": HELLO, "stream": "yes"}, "stream"),
    (CHAT, {**MODEL, "messages": HELLO, "stream": 1}, "stream"),
    (CHAT, {**MODEL, "messages": HELLO, "service_tier": "gold"}, "service_tier"),
    (CHAT, {**MODEL, "messages": HELLO, "service_tier": ["flex"]}, "service_tier"),
    ("/v1/completions", MODEL, "prompt"),
    ("/v1/completions", {**MODEL, "prompt": {}}, "prompt"),
    ("/v1/completions", {**MODEL, "prompt": ["a", 1]}, "prompt"),
    ("/v1/embeddings", MODEL, "input"),
    ("/v1/embeddings", {**MODEL, "input": ""}, "input"),
    ("/v1/embeddings", {**MODEL, "input": []}, "input"),
    ("/v1/embeddings", {**MODEL, "input": [None]}, "input"),
    ("/v1/embeddings", {**MODEL, "input": "of a chat model"}, "model"),
]


def test_every_bad_body_is_400_and_names_its_parameter(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            for path, body, param in BAD:
                got = await world.call(path, b"null" if body is None else body)
                assert (got.status, got.error["type"], got.error["param"]) == (400, "invalid_request_error", param), body
                assert got.error["message"]
                assert got.header("x-request-id")
            assert world.seen() == 0
            assert (await world.chat()).status == 200
            records = await world.decisions(len(BAD) + 1)
            assert all(record["status"] == 400 and record["reasons"][-1] == "refused" and not record["accepted"] for record in records[:-2])

    run(test)


def test_unknown_paths_and_wrong_methods(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            for path in (
                "/",
                "/v1",
                "/v1/chat",
                "/v1/models/",
                "/v1/responses",
                "/v1/chat/completions/",
                "/load",
                "/metrics",
                "/" + "x" * 3000,
            ):
                got = await world.call(path, {})
                assert (got.status, got.error["code"]) == (404, "unknown_url"), path
            for path, method, allowed in (
                (CHAT, "GET", "POST"),
                ("/v1/embeddings", "DELETE", "POST"),
                ("/v1/models", "POST", "GET"),
                ("/v1/models/support-chat", "DELETE", "GET"),
            ):
                got = await world.call(path, method=method)
                assert (got.status, got.header("allow")) == (405, allowed)

    run(test)


def test_bad_keys_are_all_401(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            for value in ("acme-key", "Basic acme-key", "Bearer", "Bearer ", "Bearer acme-key2", "Bearer \x80\xff", "Bearer " + "k" * 5000):
                assert (await world.call(key=None, authorization=value)).status == 401, value
            assert (await world.call(CHAT, {**MODEL, "messages": HELLO}, key=None, authorization="bearer  acme-key ")).status == 200

    run(test)


def test_strange_request_ids_and_traces_are_replaced(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            for given in ("", "has space", "x" * 129):
                got = await world.chat(headers={"x_request_id": given, "traceparent": f"00-{'0' * 32}-{'b' * 16}-01"})
                assert got.header("x-request-id") not in (given, None)
            assert all((request.header(b"traceparent") or b"").endswith(b"-00") for request in world.sidecar.seen)

    run(test)


def test_embeddings_and_completions_go_to_pools_of_their_task(tmp_path: Path) -> None:
    async def test() -> None:
        document = a_document(
            a_policy(models=["all"], rules=[a_rule("chat"), a_rule("embed", pools={"default/embed": 1})]),
            pools=[a_pool("chat"), a_pool("embed", task="Embeddings", model="minilm")],
        )
        async with World(tmp_path, document, {"chat": 1, "embed": 1}) as world:
            for given in ("text", ["a", "b"], [1, 2], [[1], [2]]):
                got = await world.call("/v1/embeddings", {"model": "all", "input": given, "no": len(str(given))})
                assert (got.status, got.header("x-forebay-policy")) == (200, "support/embed")
            for prompt in ("text", ["a", "b"], [1, 2]):
                assert (await world.call("/v1/completions", {"model": "all", "prompt": prompt})).status == 200
            assert (world.seen("chat"), world.seen("embed")) == (3, 4)

    run(test)

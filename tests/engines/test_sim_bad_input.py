"""What the simulator must refuse, with words that help and without being hurt."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.engines.engine_harness import a_simulator, ask

CHAT, TEXT, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
MESSAGES = [{"role": "user", "content": "x"}]

REFUSED: list[tuple[str, Any, int, str]] = [
    (CHAT, b"{", 400, "not valid JSON"),
    (CHAT, b"", 400, "not valid JSON"),
    (CHAT, b"\xff\xfe", 400, "not valid JSON"),
    (CHAT, b"[" * 100_000, 400, "not valid JSON"),
    (CHAT, [], 400, "must be a JSON object"),
    (CHAT, {"messages": MESSAGES}, 400, "model is required"),
    (CHAT, {"model": 7, "messages": MESSAGES}, 400, "model is required"),
    (CHAT, {"model": "gpt-4", "messages": MESSAGES}, 404, "does not exist"),
    (CHAT, {"model": "sim"}, 400, "messages is required"),
    (CHAT, {"model": "sim", "messages": "hello"}, 400, "messages is required"),
    (CHAT, {"model": "sim", "messages": ["hello"]}, 400, "messages[0] must be an object"),
    (CHAT, {"model": "sim", "messages": [{"role": "user", "content": 7}]}, 400, "messages[0].content must be"),
    (CHAT, {"model": "sim", "messages": [{"role": "user", "content": [{"text": 7}]}]}, 400, "messages[0].content must be"),
    (CHAT, {"model": "sim", "messages": MESSAGES, "max_tokens": -1}, 400, "max_tokens must be between"),
    (CHAT, {"model": "sim", "messages": MESSAGES, "max_tokens": 0}, 400, "max_tokens must be between"),
    (CHAT, {"model": "sim", "messages": MESSAGES, "max_tokens": 1.5}, 400, "max_tokens must be a whole number"),
    (CHAT, {"model": "sim", "messages": MESSAGES, "max_completion_tokens": "9"}, 400, "max_completion_tokens must be a whole number"),
    (CHAT, {"model": "sim", "messages": MESSAGES, "max_tokens": 10**9}, 400, "longest context"),
    (CHAT, {"model": "sim", "messages": MESSAGES, "n": 2}, 400, "n must be 1"),
    (CHAT, {"model": "sim", "messages": MESSAGES, "stream": "yes"}, 400, "stream must be true or false"),
    (CHAT, {"model": "sim", "messages": MESSAGES, "stream_options": {"include_usage": True}}, 400, "only allowed when stream"),
    (CHAT, {"model": "sim", "messages": MESSAGES, "stream": True, "stream_options": 1}, 400, "stream_options must be an object"),
    (TEXT, {"model": "sim"}, 400, "prompt is required"),
    (TEXT, {"model": "sim", "prompt": ["a", "b"]}, 400, "prompt is required"),
    (TEXT, {"model": "sim", "prompt": [1, "b"]}, 400, "prompt is required"),
    (TEXT, {"model": "sim", "prompt": "x" * 1_000_000}, 400, "longest context"),
    (EMBEDDINGS, {"model": "sim"}, 400, "input is required"),
    (EMBEDDINGS, {"model": "sim", "input": []}, 400, "input is required"),
    (EMBEDDINGS, {"model": "sim", "input": [[1, 2]]}, 400, "token ids are not supported"),
    (EMBEDDINGS, {"model": "sim", "input": ["a", None]}, 400, "every entry of input"),
    (EMBEDDINGS, {"model": "sim", "input": ["x"] * 2049}, 400, "at most 2048"),
    (EMBEDDINGS, {"model": "sim", "input": "x", "encoding_format": "hex"}, 400, "float or base64"),
    (EMBEDDINGS, {"model": "sim", "input": "x", "encoding_format": ["float"]}, 400, "float or base64"),
    (EMBEDDINGS, {"model": "sim", "input": "x", "dimensions": 0}, 400, "dimensions must be between"),
]


def test_requests_that_cannot_be_served_are_refused_with_reasons() -> None:
    async def main() -> None:
        async with a_simulator() as sim:
            for path, body, status, message in REFUSED:
                got, _, answer = await ask(sim.port, "POST", path, body)
                error = json.loads(answer)["error"]
                assert (got, message in error["message"]) == (status, True), (path, body, answer)
                assert error["type"] == "invalid_request_error"
            assert not sim.engine.batch
            assert (await ask(sim.port, "POST", TEXT, {"model": "sim", "prompt": "x"}))[0] == 200

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/sim/profile", {"base": "fast"}, "not a duration"),
        ("/sim/profile", {"base": -1}, "between 0s and 1h"),
        ("/sim/profile", {"base": True}, "must be a duration"),
        ("/sim/profile", {"perToken": "2h"}, "between 0s and 1h"),
        ("/sim/profile", {"maxConcurrency": 0}, "between 1 and 4096"),
        ("/sim/profile", {"perTokens": "1ms"}, "unknown field 'perTokens'"),
        ("/sim/faults", {"dieAfterTokens": 0}, "between 1 and"),
        ("/sim/faults", {"refuse": 1}, "true or false"),
        ("/sim/faults", {"explode": True}, "unknown field"),
    ],
)
def test_bad_profiles_and_faults_change_nothing(path: str, body: Any, message: str) -> None:
    async def main() -> None:
        async with a_simulator() as sim:
            before = sim.engine.profile
            status, _, answer = await ask(sim.port, "PUT", path, body)
            assert status == 400 and message in json.loads(answer)["error"]["message"]
            assert sim.engine.profile is before

    asyncio.run(main())


def test_unknown_paths_methods_and_huge_bodies() -> None:
    async def main() -> None:
        async with a_simulator() as sim:
            assert (await ask(sim.port, "GET", "/v2/models"))[0] == 404
            status, headers, _ = await ask(sim.port, "GET", CHAT)
            assert (status, headers["allow"]) == (405, "POST")
            assert (await ask(sim.port, "POST", CHAT, b" " * (17 * 1024 * 1024)))[0] == 413
            assert (await ask(sim.port, "GET", "/v1/models"))[0] == 200

    asyncio.run(main())


def test_a_full_queue_refuses_and_says_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.engines.sim.engine.MAX_WAITING", 0)

    async def main() -> None:
        async with a_simulator() as sim:
            for path, body in ((TEXT, {"model": "sim", "prompt": "x"}), (EMBEDDINGS, {"model": "sim", "input": "x"})):
                status, headers, _ = await ask(sim.port, "POST", path, body)
                assert (status, headers["retry-after"]) == (503, "1")

    asyncio.run(main())

"""The sidecar before llama.cpp's own server: what it makes of an engine that nobody wrote to suit it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import orjson
import pytest
from e2e import llama_cpp
from prometheus_client.parser import text_string_to_metric_families
from tests.dataplane.sidecar.sidecar_world import Front, Object, a_class, a_document, a_front, run
from tests.dataplane.wires import soon

from forebay.dataplane.http.client import Reply
from forebay.dataplane.sidecar.vocabulary import RUNNING, WAITING

KIND = "LlamaCpp"
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "how do rivers get their water"}]
PAGES = {"model": llama_cpp.MODEL, "messages": HELLO, "max_tokens": llama_cpp.CONTEXT - 100}
"""An answer that takes seconds."""


@dataclass
class Llama:
    """A running server."""

    process: asyncio.subprocess.Process
    port: int

    async def metrics(self, front: Front) -> dict[str, float]:
        """What it says of itself, without the sidecar in between."""
        async with await front.client.send("127.0.0.1", self.port, "GET", "/metrics") as reply:
            families = text_string_to_metric_families((await reply.read()).decode())
            return {sample.name: sample.value for family in families for sample in family.samples}


@asynccontextmanager
async def a_llama() -> AsyncIterator[Llama]:
    quiet, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, llama_cpp.__file__, stdout=pipe, stderr=quiet)
    assert process.stdout
    try:
        async with asyncio.timeout(15):
            url = urlsplit((await process.stdout.readline()).decode().strip())
        assert url.port, "the server ended before it listened"
        yield Llama(process, url.port)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def a_replica(folder: Path, *classes: Object) -> AsyncIterator[tuple[Front, Llama]]:
    async with a_llama() as llama, a_front(a_document(*classes, engine=KIND), folder, llama.port, grace_s=15) as front:
        yield front, llama


def a_client(front: Front) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{front.sidecar.port}/v1", api_key="unused", max_retries=0)


async def begun(front: Front, **more: int) -> tuple[Reply, bytes]:
    """A long stream, and what was read of it so far."""
    reply = await front.post(CHAT, {**PAGES, "stream": True, **more})
    assert reply.status == 200
    return reply, await soon(anext(reply.__aiter__()))


async def engine_reports(front: Front, **expected: float) -> None:
    """Returns once the engine's own metrics, in our words, are these."""
    async with asyncio.timeout(15):
        while True:
            await front.sidecar.engine.scrape(KIND, front.sidecar.metrics.engine)
            if {name: front.metric(name) for name in expected} == expected:
                return
            await asyncio.sleep(0.02)


def test_tokens_are_those_that_llama_cpp_counts(tmp_path: Path) -> None:
    async def ask(client: openai.AsyncOpenAI, tokens: int, usage: bool | None) -> tuple[int, int]:
        """Tokens in and out as the client is told; 0 where it did not ask."""
        plain: dict[str, Any] = {"model": llama_cpp.MODEL, "messages": HELLO, "max_tokens": tokens}
        if usage is None:
            whole = await client.chat.completions.create(**plain)
            text = whole.choices[0].message.content
            assert text is not None and set(text.split()) <= set(llama_cpp.WORDS)
            assert whole.usage is not None
            return whole.usage.prompt_tokens, whole.usage.completion_tokens
        more: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
        chunks = [chunk async for chunk in await client.chat.completions.create(**plain, stream=True, **more)]
        assert chunks[-1].choices == [] if usage else chunks[-1].choices[0].finish_reason == "length"
        assert usage or not any(chunk.usage for chunk in chunks)
        told = chunks[-1].usage
        return (told.prompt_tokens, told.completion_tokens) if told else (0, 0)

    async def main() -> None:
        async with a_replica(tmp_path) as (front, llama), a_client(front) as client:
            asked = [(tokens, usage) for tokens in (1, 7, 40) for usage in (None, True, False)]
            told = await asyncio.gather(*(ask(client, tokens, usage) for tokens, usage in asked))
            assert {out for _, out in told} == {1, 7, 40, 0}
            prompt = max(told)[0]
            counted = await llama.metrics(front)
            theirs = {
                "input": counted["llamacpp:prompt_tokens_total"] + counted["llamacpp:prompt_tokens_cached_total"],
                "output": counted["llamacpp:tokens_predicted_total"],
            }
            assert theirs == {"input": prompt * len(asked), "output": sum(tokens for tokens, _ in asked)}
            ours = "forebay_sidecar_tokens_total"
            assert theirs == {kind: front.metric(ours, batch_class="interactive", token_type=kind) for kind in theirs}
            assert front.outcome("ok") == len(asked)

    run(main)


def test_its_slots_and_its_queue_are_known_by_our_names(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_replica(tmp_path, a_class(mode="Disabled")) as (front, _):
            await engine_reports(front, **{RUNNING: 0.0, WAITING: 0.0})
            first = [await begun(front) for _ in range(llama_cpp.SLOTS)]
            more = [asyncio.ensure_future(front.post(CHAT, {**PAGES, "stream": True})) for _ in range(2)]
            await engine_reports(front, **{RUNNING: float(llama_cpp.SLOTS), WAITING: 2.0})
            # Clients that go away give their slots back at once: their answers would take a while yet.
            for waiting in more:
                waiting.cancel()
            for reply, _ in first:
                reply.close()
            await engine_reports(front, **{RUNNING: 0.0, WAITING: 0.0})

    run(main)


def test_a_drain_lets_it_finish_its_streams(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_replica(tmp_path) as (front, _):
            stream, text = await begun(front, max_tokens=2000)
            drained = asyncio.ensure_future(front.get("/drain?token=t0ken"))
            async with asyncio.timeout(5):
                while not (await front.load())["draining"]:
                    await asyncio.sleep(0.01)
            refused = await front.post(CHAT, PAGES)
            assert (refused.status, refused.header(b"x-forebay-draining")) == (503, b"1")
            assert not drained.done()
            text += await stream.read()
            assert text.endswith(b"data: [DONE]\n\n") and text.count(b'"content":" ') == 2000
            assert (await soon(drained))[0] == 200

    run(main)


WRONG: dict[str, tuple[dict[str, Any], bytes]] = {
    "messages that are no list": ({"messages": 1}, b"messages"),
    "a prompt beyond its context": ({"messages": [{"role": "user", "content": "x" * 2 * llama_cpp.CONTEXT}]}, b"exceed_context_size"),
    "a format that is none": ({"messages": HELLO, "response_format": {"type": "poem"}}, b"response_format"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_it_refuses_is_refused_in_its_own_words(name: str, tmp_path: Path) -> None:
    body, words = WRONG[name]

    async def main() -> None:
        async with a_replica(tmp_path) as (front, llama):
            for streamed in (False, True):
                sent = {"model": llama_cpp.MODEL, "stream": streamed, **body}
                status, answer = await front.answer(CHAT, sent)
                async with await front.client.send("127.0.0.1", llama.port, "POST", CHAT, [], orjson.dumps(sent)) as direct:
                    assert (status, answer) == (direct.status, orjson.loads(await direct.read()))
                assert status == 400 and words in orjson.dumps(answer)
            assert front.outcome("client_error") == 2
            # A refusal of the request is not taken for one of the usage that was asked for in its name.
            assert b'"usage"' not in await front.stream({"messages": HELLO, "max_tokens": 3})
            assert front.metric("forebay_sidecar_tokens_total", batch_class="interactive", token_type="output") == 3

    run(main)


def test_its_death_breaks_the_stream_and_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_replica(tmp_path) as (front, llama):
            stream, _ = await begun(front)
            llama.process.kill()
            end = (await soon(stream.read())).rsplit(b"\n\n", 2)[-2]
            assert b"stream_broken" in end and b"[DONE]" not in end
            assert front.outcome("broken_stream") == 1
            assert (await front.answer(CHAT, PAGES))[0] == 502

    run(main)

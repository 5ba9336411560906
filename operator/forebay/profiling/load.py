"""Load on one running engine, at one concurrency after another, and what is seen of it: the same estimator as a sidecar's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import orjson

from forebay.api.inference_pool import Task
from forebay.dataplane.http.client import Client, Reply, UpstreamError
from forebay.dataplane.http.errors import JSON
from forebay.dataplane.outcome import TAIL_BYTES, stream_is_whole
from forebay.dataplane.sidecar.sse import Stream, Usage, usage_of
from forebay.dataplane.sidecar.steps import Steps
from forebay.runtime.errors import ForebayError

LENGTHS = (0.25, 1.0, 1.75)
"""Prompts are so many times as long as was asked for, in turns: what a prompt costs shows in how steps differ."""
_WORDS = ("time", "year", "way", "day", "man", "thing", "life", "hand", "part", "eye", "place", "work", "week", "case", "point", "word")
_PATHS = {Task.CHAT: "/v1/chat/completions", Task.EMBEDDINGS: "/v1/embeddings"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the engine is, and what it is asked for."""

    host: str
    port: int
    prefix: str
    model: str
    task: Task
    headers: tuple[tuple[bytes, bytes], ...] = ()
    input_tokens: int = 512
    output_tokens: int = 128


@dataclass(slots=True)
class Level:
    """What was seen with so many requests in the engine, or inputs in a batch. Times in seconds, throughput in tokens/s."""

    concurrency: int
    span_s: float = 0.0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    first_token_s: list[float] = field(default_factory=list)
    per_token_s: list[float] = field(default_factory=list)
    refused: int = 0

    def throughput(self, task: Task) -> float:
        tokens = self.output_tokens if task is Task.CHAT else self.input_tokens
        return tokens / self.span_s if self.span_s > 0.0 else 0.0


class Loader:
    """Loads one engine. `steps` are what was seen of it in all."""

    def __init__(self, endpoint: Endpoint, client: Client, seed: int = 1) -> None:
        self.endpoint, self._client = endpoint, client
        self._chance = random.Random(seed)  # noqa: S311
        self._turn = 0
        self.steps = Steps()

    async def at(self, concurrency: int, seconds: float, tell: Callable[[float], None] = lambda share: None) -> Level:
        """So many callers, each asking again as soon as it is answered, for so long; what is in flight then is still answered.

        Raises:
            ForebayError: the engine is not what it must be; says what is wrong.
        """
        level, began = Level(concurrency), monotonic()
        until = began + seconds
        callers = concurrency if self.endpoint.task is Task.CHAT else 1
        tasks = [asyncio.create_task(self._caller(level, until)) for _ in range(callers)]
        try:
            while not all(task.done() for task in tasks):
                await asyncio.wait(tasks, timeout=0.2, return_when=asyncio.FIRST_EXCEPTION)
                tell(min(1.0, (monotonic() - began) / seconds))
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            for task in tasks:
                task.cancel()
        level.span_s = monotonic() - began
        return level

    async def _caller(self, level: Level, until: float) -> None:
        ask = self._generate if self.endpoint.task is Task.CHAT else self._embed
        while True:
            await ask(level)
            if level.refused or monotonic() >= until:
                return

    def _texts(self, count: int) -> list[str]:
        """Prompts that no cache knows, all of the next one of three lengths.

        What goes into one batch is alike: engines that pad a batch to its longest input compute that padding, and its tokens are not
        counted in their usage.
        """
        self._turn += 1
        words = max(1, round(self.endpoint.input_tokens * LENGTHS[self._turn % len(LENGTHS)]))
        return [" ".join(self._chance.choice(_WORDS) for _ in range(words)) for _ in range(count)]

    async def _send(self, raw: bytes) -> Reply:
        endpoint = self.endpoint
        path = endpoint.prefix + _PATHS[endpoint.task]
        try:
            reply = await self._client.send(endpoint.host, endpoint.port, "POST", path, [JSON, *endpoint.headers], raw)
        except UpstreamError as error:
            raise ForebayError(f"{endpoint.host}:{endpoint.port} does not answer: {error}") from error
        if reply.status not in (200, 429, 503):
            raise ForebayError(refusal(reply.status, await reply.read(), path, endpoint))
        return reply

    async def _generate(self, level: Level) -> None:
        body = {
            "model": self.endpoint.model,
            "messages": [{"role": "user", "content": self._texts(1)[0]}],
            "max_tokens": self.endpoint.output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        raw, stream, tail, first, last = orjson.dumps(body), Stream(strip_usage=False), b"", 0.0, 0.0
        part, began = self.steps.part(len(raw)), monotonic()
        part.sent(began)
        try:
            async with await self._send(raw) as reply:
                if reply.status != 200:
                    level.refused += 1
                    return
                async for data in reply:
                    _, events = stream.feed(data)
                    tail = (tail + data)[-TAIL_BYTES:]
                    if events:
                        last = monotonic()
                        first = first or last
                        part.tokens(events, last)
        except UpstreamError as error:
            raise ForebayError(f"the engine broke off an answer: {error}") from error
        finally:
            part.ended(stream.usage, monotonic())
        if stream.failed:
            raise ForebayError("the engine broke off an answer: its stream has an error in place of tokens; its log may say why")
        if first and not stream_is_whole(tail):
            raise ForebayError("the engine broke off an answer: its stream ended without [DONE]; its log may say why")
        self._count(level, stream.usage, first - began)
        if stream.usage is not None and stream.usage.output_tokens > 1:
            level.per_token_s.append((last - first) / (stream.usage.output_tokens - 1))

    async def _embed(self, level: Level) -> None:
        inputs = self._texts(level.concurrency)
        began = monotonic()
        async with await self._send(orjson.dumps({"model": self.endpoint.model, "input": inputs})) as reply:
            if reply.status != 200:
                level.refused += 1
                return
            answer = await reply.read(256 << 20)
        # Before it is parsed: that is no time of the engine's.
        ended, usage = monotonic(), _usage(answer)
        self._count(level, usage, ended - began)
        if usage is not None:
            self.steps.batch(began, ended, usage.input_tokens)

    def _count(self, level: Level, usage: Usage | None, first_s: float) -> None:
        if usage is None:
            raise ForebayError("the engine reports no usage (for streams: stream_options.include_usage), so its tokens cannot be counted")
        level.requests += 1
        level.input_tokens += usage.input_tokens
        level.output_tokens += usage.output_tokens
        level.first_token_s.append(first_s)


def _usage(body: bytes) -> Usage | None:
    try:
        return usage_of(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None


def refusal(status: int, body: bytes, path: str, endpoint: Endpoint) -> str:
    """What is wrong where an engine refuses a request, and what would be right."""
    words = body[:300].decode("utf-8", "replace").strip()
    if status in (401, 403):
        if endpoint.headers:
            return f"the engine answers {status}: the key in the variable that --api-key-from-env names is not one that it takes"
        return f"the engine answers {status}: it wants a key, name the variable that holds it with --api-key-from-env"
    if status == 404:
        return (
            f"the engine answers 404 to {path} for model {endpoint.model!r}: correct the URL, which ends before /v1, or say --model"
            f" and --task as it serves them ({words})"
        )
    return f"the engine answers {status}: {words}"

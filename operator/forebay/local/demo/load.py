"""The demo's clients: each request is sent at its moment, whatever became of those before, and what its client saw is kept."""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from forebay.api.inference_pool import Task
from forebay.dataplane.gateway.answer import usage_in
from forebay.dataplane.http.client import Client, Reply, UpstreamError
from forebay.dataplane.outcome import TAIL_BYTES, Outcome, outcome, stream_is_whole
from forebay.local.demo.doors import Door
from forebay.local.demo.shape import Shape, arrivals
from forebay.local.demo.texts import QUESTIONS, SENTENCES

MAX_IN_FLIGHT = 96
"""Requests beyond it are not sent but counted: this client must stay small whatever the machine does."""

_OUTPUT_TOKENS = (60, 80, 100)
_PATHS = {Task.CHAT: "/v1/chat/completions", Task.EMBEDDINGS: "/v1/embeddings"}
_KEPT_BYTES = 1024
_CACHE = re.compile(rb"forebay; (hit|.*collapsed|fwd=(\w+))")

Vector = list[float]


@dataclass(slots=True)
class Answered:
    """What one client saw. `at_s` since the load began; times in seconds; `cache` is hit, collapsed, miss, bypass, request or nothing."""

    batch_class: str
    at_s: float
    status: int = 0
    outcome: Outcome = Outcome.LOST
    first_s: float | None = None
    total_s: float = 0.0
    cache: str = ""
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """A request and its moment, in seconds since the load begins. `text` is what an embeddings model is asked for."""

    at_s: float
    door: Door
    body: bytes
    text: str = ""


def schedule(doors: dict[Task, Door], shapes: dict[Task, Shape], seed: int) -> list[Due]:
    """All requests in order of their moments; the same seed gives the same ones."""
    chance = random.Random(seed)  # noqa: S311
    found: list[Due] = []
    for task, shape in shapes.items():
        if (door := doors.get(task)) is None:
            continue
        for number, at_s in enumerate(arrivals(shape, seed + len(found))):
            if task == Task.CHAT:
                found.append(Due(at_s, door, chat_body(door, QUESTIONS[number % len(QUESTIONS)], chance.choice(_OUTPUT_TOKENS))))
            else:
                text = chance.choice(SENTENCES)
                found.append(Due(at_s, door, embeddings_body(door, text), text))
    return sorted(found, key=lambda due: due.at_s)


def chat_body(door: Door, text: str, output_tokens: int) -> bytes:
    asked: dict[str, Any] = {"model": door.model, "messages": [{"role": "user", "content": text}], "max_tokens": output_tokens}
    return orjson.dumps({**asked, "stream": True, "stream_options": {"include_usage": True}})


def embeddings_body(door: Door, text: str) -> bytes:
    return orjson.dumps({"model": door.model, "input": text})


@dataclass
class Load:
    """Sends requests to gateways. `urls` are their base URLs by name."""

    client: Client
    urls: dict[str, str]
    answered: list[Answered] = field(default_factory=list)
    vectors: dict[str, Vector] = field(default_factory=dict)
    in_flight: int = 0
    sent: int = 0
    held_back: int = 0

    async def run(self, due: list[Due], began: float) -> None:
        """Sends all of them, `began` being moment 0 of the loop's clock, and waits for the last answer."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for one in due:
                await asyncio.sleep(max(0.0, began + one.at_s - loop.time()))
                if self.in_flight >= MAX_IN_FLIGHT:
                    self.held_back += 1
                    continue
                self.sent += 1
                self.in_flight += 1
                group.create_task(self._count(one))

    async def _count(self, due: Due) -> None:
        try:
            self.answered.append(await self.ask(due))
        finally:
            self.in_flight -= 1

    async def ask(self, due: Due) -> Answered:
        """Sends one request and reads its answer to the end."""
        url, clock = urlsplit(self.urls[due.door.gateway]), asyncio.get_running_loop().time
        seen, began, whole = Answered(due.door.batch_class, due.at_s), clock(), False
        headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {due.door.key}".encode())]
        try:
            reply = await self.client.send(str(url.hostname), url.port or 80, "POST", _PATHS[due.door.task], headers, due.body)
            async with reply:
                seen.status, seen.cache = reply.status, _cache_of(reply)
                whole = await self._read(reply, due, seen, began)
        except (UpstreamError, orjson.JSONDecodeError, LookupError):
            pass  # the outcome says it: there is no answer, or it is not all of one
        seen.total_s = clock() - began
        seen.outcome = outcome(seen.status, whole=whole)
        return seen

    async def _read(self, reply: Reply, due: Due, seen: Answered, began: float) -> bool:
        """Reads the body; whether it is whole."""
        clock, tail = asyncio.get_running_loop().time, b""
        if due.door.task == Task.EMBEDDINGS:
            body = await reply.read()
            seen.first_s = clock() - began
            if reply.status == 200 and due.text not in self.vectors:
                self.vectors[due.text] = orjson.loads(body)["data"][0]["embedding"]
            return True
        async for chunk in reply:
            if seen.first_s is None:
                seen.first_s = clock() - began
            tail = (tail + chunk)[-_KEPT_BYTES:]
        seen.output_tokens = usage_in(tail)[1] or 0
        return stream_is_whole(tail[-TAIL_BYTES:])


def _cache_of(reply: Reply) -> str:
    found = _CACHE.match(reply.header(b"cache-status") or b"")
    if found is None:
        return ""
    return "collapsed" if b"collapsed" in found[1] else (found[2] or found[1]).decode()

"""One call to the engine for several requests, and what becomes of each when it fails.

A merged call that the engine refuses is asked again in halves, down to single requests: one bad input must not fail its neighbours, and
the one who sent it gets the engine's own words.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic

import orjson

from forebay.dataplane.http.client import UpstreamError
from forebay.dataplane.http.errors import JSON, error_body
from forebay.dataplane.sidecar.config import E2E, TTFT
from forebay.dataplane.sidecar.embeddings import Ask, BadAnswer, Part, answer, merged, split
from forebay.dataplane.sidecar.engine import Engine
from forebay.dataplane.sidecar.limit import Limiter
from forebay.dataplane.sidecar.measure import Measure
from forebay.dataplane.sidecar.queues import Lane, Waiting
from forebay.dataplane.sidecar.sse import usage_of
from forebay.dataplane.sidecar.steps import Steps

_MOST_ANSWER_BYTES = 256 * 1024 * 1024
# What the engine refuses whatever the input: asking again in halves would only ask more often.
_REFUSED_ALL = frozenset((401, 403, 404, 405, 429, 503))

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets."""

    status: int
    body: bytes
    headers: Headers
    tokens: int | None = None


def failure(status: int, message: str) -> Answer:
    """An answer of our own that says what failed."""
    return Answer(status, error_body(message, "server_error"), [JSON])


class Job(Waiting):
    """One request: which of its inputs are given out, and the parts of its answer that are back."""

    __slots__ = ("ask", "batches", "done", "headers", "measure", "missing", "parts", "taken")

    def __init__(self, lane: Lane, loop: asyncio.AbstractEventLoop, ask: Ask, headers: Headers, measure: Measure) -> None:
        super().__init__(lane, loop)
        self.ask = ask
        self.headers = headers
        self.measure = measure
        self.taken = 0
        self.missing = len(ask.sizes)
        self.parts: dict[int, Part] = {}
        self.batches: list[Batch] = []
        self.done: asyncio.Future[Answer] = loop.create_future()

    def receive(self, start: int, part: Part) -> None:
        """Takes a part of the answer, and answers when it was the last one."""
        self.parts[start] = part
        self.missing -= len(part.items)
        if not self.missing and not self.done.done():
            whole = [self.parts[index] for index in sorted(self.parts)]
            self.finish(Answer(200, answer(whole), [JSON], sum(part.tokens for part in whole)))

    def finish(self, result: Answer) -> None:
        """Answers, unless that has happened."""
        if not self.done.done():
            self.done.set_result(result)


@dataclass(frozen=True, slots=True)
class Piece:
    """Some inputs in a row of one request."""

    job: Job
    start: int
    end: int

    @property
    def sizes(self) -> list[int]:
        return self.job.ask.sizes[self.start : self.end]

    @property
    def texts(self) -> list[str]:
        return (self.job.ask.texts or [])[self.start : self.end]

    @property
    def whole(self) -> bool:
        return self.end - self.start == len(self.job.ask.sizes)


class Batch:
    """Pieces that go out together."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces
        self.wanted = len(pieces)
        self.task: asyncio.Task[None] | None = None


class Caller:
    """Calls the engine with pieces that may share a call, and gives each its answer."""

    def __init__(self, engine: Engine, limiter: Limiter, steps: Steps) -> None:
        self._engine = engine
        self._limiter = limiter
        self._steps = steps

    async def call(self, pieces: list[Piece]) -> None:
        """Answers every piece, one way or another."""
        pieces = [piece for piece in pieces if not piece.job.done.done()]
        if not pieces:
            return
        job, alone = pieces[0].job, len(pieces) == 1
        untouched = alone and pieces[0].whole
        body = job.ask.body if untouched else merged(job.ask.fields, [text for piece in pieces for text in piece.texts])
        began = monotonic()
        try:
            async with await self._engine.send("POST", "/v1/embeddings", job.headers, body) as reply:
                data = await reply.read(_MOST_ANSWER_BYTES)
        except UpstreamError as error:
            if not alone and error.kind in ("closed", "protocol"):
                await self._call_halves(pieces)
            else:
                _fail(pieces, failure(504 if error.kind == "timeout" else 502, f"the model server failed: {error}"))
            return
        if reply.status == 200:
            ended = monotonic()
            self._observe(pieces, began, ended)
            self._steps.batch(began, ended, await self._take(pieces, data, untouched))
            return
        if reply.status in (429, 503):
            self._limiter.overloaded()
        if alone or reply.status in _REFUSED_ALL:
            headers = [(name, value) for name, value in reply.headers if name in (b"content-type", b"retry-after")]
            _fail(pieces, Answer(reply.status, data, headers))
        else:
            await self._call_halves(pieces)

    async def _call_halves(self, pieces: list[Piece]) -> None:
        middle = len(pieces) // 2
        await self.call(pieces[:middle])
        await self.call(pieces[middle:])

    def _observe(self, pieces: list[Piece], began: float, ended: float) -> None:
        seconds = ended - began
        for name in {piece.job.lane.config.name for piece in pieces}:
            self._limiter.observe(name, TTFT, seconds, began)
            self._limiter.observe(name, E2E, seconds, began)

    async def _take(self, pieces: list[Piece], data: bytes, untouched: bool) -> int:
        """Gives each its answer, and returns how many tokens the engine counted; 0 where it did not say."""
        job = pieces[0].job
        if job.ask.texts is None:
            tokens = _input_tokens(data)
            job.finish(Answer(200, data, [JSON], tokens))
            return tokens or 0
        try:
            parts = split(data, [piece.sizes for piece in pieces])
        except BadAnswer as error:
            if len(pieces) > 1:
                await self._call_halves(pieces)
            else:
                _fail(pieces, failure(502, f"the model server failed: {error}"))
            return 0
        if untouched:
            job.finish(Answer(200, data, [JSON], parts[0].tokens))
        else:
            for piece, part in zip(pieces, parts, strict=True):
                piece.job.receive(piece.start, part)
        return sum(part.tokens for part in parts)


def _fail(pieces: list[Piece], result: Answer) -> None:
    for piece in pieces:
        piece.job.finish(result)


def _input_tokens(data: bytes) -> int | None:
    try:
        usage = usage_of(orjson.loads(data))
    except orjson.JSONDecodeError:
        return None
    return usage.input_tokens if usage else None

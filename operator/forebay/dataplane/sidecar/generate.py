"""A request on its way through the gate to an engine that batches itself, and its answer on the way back."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import monotonic
from typing import Any

import orjson

from forebay.dataplane.http.client import Reply, UpstreamError
from forebay.dataplane.http.errors import error_body, send_error
from forebay.dataplane.http.headers import end_to_end
from forebay.dataplane.http.message import Request, Response
from forebay.dataplane.sidecar.engine import Engine
from forebay.dataplane.sidecar.gate import Gate
from forebay.dataplane.sidecar.limit import Limiter
from forebay.dataplane.sidecar.measure import Measure
from forebay.dataplane.sidecar.metrics import Outcome
from forebay.dataplane.sidecar.prompting import PromptCounts
from forebay.dataplane.sidecar.queues import TurnedAway
from forebay.dataplane.sidecar.sse import Stream, Usage, usage_of

log = logging.getLogger(__name__)

GENERATION_PATHS = frozenset(("/v1/chat/completions", "/v1/completions"))
_INJECTED = b'{"stream_options":{"include_usage":true},'
_RETRY_AFTER_S = 1.0


class BadRequest(Exception):
    """A body that cannot be what the path asks for; `param` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the engine is sent: `injected` asks for usage where the client did not, else it is the body as it came.

    `streams` says whether the answer is to come token by token.
    """

    original: bytes
    injected: bytes
    streams: bool = True

    @property
    def asks_more(self) -> bool:
        return self.injected is not self.original


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        BadRequest: there is none.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise BadRequest("the body must be a JSON object")
    return parsed


def written(value: Any, option: int | None = None) -> bytes:
    """What was read, as JSON again.

    Raises:
        BadRequest: it is nested more deeply than can be written, though it could be read.
    """
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:
        raise BadRequest("the body is nested too deeply") from None


def prepare(path: str, body: bytes) -> Prepared:
    """Asks for the usage of a stream, for tokens are only counted by the engine itself.

    Raises:
        BadRequest: the body of a generation is not a JSON object.
    """
    if path not in GENERATION_PATHS:
        return Prepared(body, body)
    parsed = parse_object(body)
    options = parsed.get("stream_options")
    if parsed.get("stream") is not True:
        return Prepared(body, body, streams=False)
    if options is not None and not isinstance(options, dict):
        return Prepared(body, body)
    if options is None and "stream_options" not in parsed:
        # Put in front, so that the rest of the body stays what the client wrote to the last digit.
        return Prepared(body, _INJECTED + body.lstrip()[1:])
    if options and options.get("include_usage") is True:
        return Prepared(body, body)
    return Prepared(body, written({**parsed, "stream_options": {**(options or {}), "include_usage": True}}))


def upstream_headers(request: Request) -> list[tuple[bytes, bytes]]:
    """What the engine is told: nothing of ours, and no encoding that would hide an answer's events."""
    return [(n, v) for n, v in end_to_end(request.headers) if not n.startswith(b"x-forebay-") and n != b"accept-encoding"]


def outcome_of(status: int) -> Outcome:
    """How a request ended that the engine answered with this status."""
    if status < 400:
        return Outcome.OK
    return Outcome.ENGINE_ERROR if status >= 500 or status == 429 else Outcome.CLIENT_ERROR


def with_retry_after(status: int, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, which say when to come back where the engine turned the request away and did not say."""
    if status in (429, 503) and not any(name == b"retry-after" for name, _ in headers):
        headers.append((b"retry-after", b"%d" % _RETRY_AFTER_S))
    return headers


def refuse(response: Response, turned: TurnedAway) -> None:
    """Answers one who was turned away."""
    send_error(response, 429, f"{turned}; try again later", retry_after_s=turned.retry_after_s)


def engine_failed(response: Response, error: UpstreamError) -> None:
    """Answers a request whose engine failed before the first byte."""
    send_error(response, 504 if error.kind == "timeout" else 502, f"the model server failed: {error}")


class Generator:
    """The way through the gate."""

    def __init__(self, engine: Engine, gate: Gate, limiter: Limiter, prompts: PromptCounts) -> None:
        self._engine = engine
        self._prompts = prompts
        self._gate = gate
        self._limiter = limiter
        # Set once the engine has refused to report usage and taken the same request without.
        self._no_usage = False

    async def serve(self, request: Request, response: Response, measure: Measure) -> tuple[Outcome, Usage | None]:
        """Answers one request and says how it ended, and with which usage."""
        try:
            prepared = prepare(request.path, request.body)
        except BadRequest as error:
            send_error(response, 400, str(error), param=error.param)
            return Outcome.CLIENT_ERROR, None
        if prepared.streams and request.path in GENERATION_PATHS:
            measure.streams(self._prompts.arrive())
        try:
            await self._gate.enter(measure.lane)
        except TurnedAway as turned:
            refuse(response, turned)
            return turned.outcome, None
        try:
            measure.sent(monotonic())
            if not prepared.streams:
                measure.unseen()
            return await self._exchange(request, response, measure, prepared)
        finally:
            self._gate.leave(measure.lane)

    async def _exchange(self, request: Request, response: Response, measure: Measure, prepared: Prepared) -> tuple[Outcome, Usage | None]:
        try:
            reply, strip = await self._ask(request, prepared)
        except UpstreamError as error:
            engine_failed(response, error)
            return Outcome.ENGINE_ERROR, None
        async with reply:
            if reply.status in (429, 503):
                self._limiter.overloaded()
            if (reply.header(b"content-type") or b"").startswith(b"text/event-stream") and reply.status == 200:
                return await self._stream(request, response, measure, reply, strip)
            return await self._whole(response, measure, reply)

    async def _ask(self, request: Request, prepared: Prepared) -> tuple[Reply, bool]:
        """The engine's reply, and whether its usage is to be taken out again."""
        headers = upstream_headers(request)
        target = f"{request.path}?{request.query}" if request.query else request.path
        if not prepared.asks_more or self._no_usage:
            return await self._engine.send(request.method, target, headers, prepared.original), False
        reply = await self._engine.send(request.method, target, headers, prepared.injected)
        if reply.status not in (400, 422):
            return reply, True
        # Either the request is wrong, or the engine does not know the option that was added: only sending it as it came can tell.
        reply.close()
        plain = await self._engine.send(request.method, target, headers, prepared.original)
        if plain.status == 200:
            self._no_usage = True
            log.warning("the engine does not report the usage of streams; their tokens are not counted")
        return plain, False

    async def _whole(self, response: Response, measure: Measure, reply: Reply) -> tuple[Outcome, Usage | None]:
        try:
            body = await reply.read()
        except UpstreamError as error:
            engine_failed(response, error)
            return Outcome.ENGINE_ERROR, None
        response.send(reply.status, body, with_retry_after(reply.status, _reply_headers(reply, measure)))
        if reply.status != 200 or b'"usage"' not in body:
            return outcome_of(reply.status), None
        try:
            return Outcome.OK, usage_of(orjson.loads(body))
        except orjson.JSONDecodeError:
            return Outcome.OK, None

    async def _stream(
        self, request: Request, response: Response, measure: Measure, reply: Reply, strip: bool
    ) -> tuple[Outcome, Usage | None]:
        response.start(reply.status, _reply_headers(reply, measure))
        stream = Stream(strip_usage=strip)
        broken = ""
        try:
            async for data in reply:
                out, tokens = stream.feed(data)
                if tokens:
                    measure.tokens(tokens, monotonic())
                await response.write(out)
        except UpstreamError as error:
            broken = str(error)
        if not broken and not stream.done and not stream.failed and request.path in GENERATION_PATHS:
            # An engine that dies may close its connection as politely as one that is done.
            broken = "the stream ended before its last event"
        if broken:
            await response.write(b"data: " + error_body(f"the model server failed: {broken}", "server_error", "stream_broken") + b"\n\n")
        else:
            await response.write(stream.rest())
        response.end()
        return Outcome.BROKEN_STREAM if broken or stream.failed else Outcome.OK, stream.usage


def _reply_headers(reply: Reply, measure: Measure) -> list[tuple[bytes, bytes]]:
    queued_ms = (measure.dispatched - measure.arrived) * 1000
    return [*end_to_end(reply.headers), (b"x-forebay-queue-ms", b"%.1f" % queued_ms)]

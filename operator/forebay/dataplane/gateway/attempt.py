"""One try of one request at one replica."""

from __future__ import annotations

import time
from dataclasses import dataclass

from forebay.dataplane.gateway import reasons
from forebay.dataplane.gateway.answer import EVENT_STREAM, Answer
from forebay.dataplane.gateway.config import Pool
from forebay.dataplane.gateway.doors import Ask
from forebay.dataplane.gateway.fleet import Endpoint
from forebay.dataplane.gateway.rewrite import body_for
from forebay.dataplane.gateway.routing import Route
from forebay.dataplane.http.client import Client, Reply, UpstreamError
from forebay.dataplane.http.errors import error_body
from forebay.dataplane.http.headers import DRAINING_HEADER

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of an answer that is not a stream. The largest is a list of 2,048 embeddings."""

_CONNECT_TIMEOUT_S = 5.0
_FAILURES = {
    "connect": (502, reasons.RETRY_CONNECT, "The model server could not be reached."),
    "closed": (502, reasons.RETRY_CLOSED, "The model server hung up before its answer."),
    "protocol": (502, "", "The model server's answer could not be understood."),
    "timeout": (504, "", "The model server did not answer in time."),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way: `pool` is the one whose turn it is, `headers` those that a replica gets."""

    ask: Ask
    route: Route
    pool: Pool | None
    headers: list[tuple[bytes, bytes]]


class Stream:
    """A replica's stream, its first piece already here. The replica counts as busy until it is closed."""

    __slots__ = ("_endpoint", "_first", "_reply")

    def __init__(self, first: bytes, reply: Reply, endpoint: Endpoint) -> None:
        self._first, self._reply = first, reply
        self._endpoint: Endpoint | None = endpoint

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        first = self._first
        if first:
            self._first = b""
            return first
        return await self._reply.__anext__()

    def close(self) -> None:
        self._reply.close()
        if self._endpoint is not None:
            self._endpoint.ended()
            self._endpoint = None


async def attempt(client: Client, call: Call, pool: Pool, endpoint: Endpoint) -> tuple[Answer, str]:
    """The replica's answer, and the reason code where another replica should be tried instead of giving it to the client."""
    policy = call.route.policy
    stream: Stream | None = None
    body = body_for(call.ask, pool.model)
    # Where an answer comes in one piece it cannot be seen when its prompt has been computed.
    prompt_bytes = len(body) if call.ask.stream else 0
    endpoint.since += 1
    endpoint.unbegun_bytes += prompt_bytes
    try:
        due = time.perf_counter() + policy.first_byte_s
        reply = await client.send(
            endpoint.host,
            endpoint.port,
            "POST",
            call.ask.door.path,
            call.headers,
            body,
            connect_timeout_s=_CONNECT_TIMEOUT_S,
            first_byte_timeout_s=policy.first_byte_s,
        )
        answer = _head(reply, pool, endpoint)
        if reply.status == 200 and call.ask.stream and answer.content_type.startswith(EVENT_STREAM):
            # Engines send the head before they have begun; the first byte that counts is the stream's own.
            reply.idle_timeout_s = max(0.001, due - time.perf_counter())
            first = await anext(reply, b"")
            if not first:
                raise UpstreamError("closed", "the stream was empty")
            reply.idle_timeout_s = policy.idle_s
            answer.chunks = stream = Stream(first, reply, endpoint)
        else:
            reply.idle_timeout_s = policy.idle_s
            answer.body = await reply.read(MAX_ANSWER_BYTES)
    except UpstreamError as error:
        return _failed(error, pool, endpoint)
    finally:
        endpoint.unbegun_bytes -= prompt_bytes
        if stream is None:
            endpoint.ended()
    return answer, _retry_for(answer, endpoint)


def _head(reply: Reply, pool: Pool, endpoint: Endpoint) -> Answer:
    retry_after = reply.header(b"retry-after")
    if retry_after is None and reply.status in (429, 503):
        retry_after = b"1"
    return Answer(
        reply.status,
        content_type=reply.header(b"content-type") or b"application/json",
        retry_after=retry_after,
        pool=pool,
        endpoint=endpoint.name,
        queue_ms=_milliseconds(reply.header(b"x-forebay-queue-ms")),
        turned_away=reply.status == 503 and reply.header(DRAINING_HEADER) is not None,
    )


def _retry_for(answer: Answer, endpoint: Endpoint) -> str:
    if answer.status == 503:
        # Not another request until the next poll has asked how it is.
        endpoint.draining = True
    elif answer.status != 502 and not (answer.status == 429 and endpoint.draining):
        return ""
    return reasons.RETRY_DRAINING if answer.turned_away else reasons.RETRY_STATUS


def _failed(error: UpstreamError, pool: Pool, endpoint: Endpoint) -> tuple[Answer, str]:
    status, retry, message = _FAILURES[error.kind]
    if error.kind == "connect":
        endpoint.healthy = False
    body = error_body(message, "server_error", "bad_gateway" if status == 502 else "gateway_timeout")
    reason = reasons.UPSTREAM_TIMEOUT if error.kind == "timeout" else reasons.UPSTREAM_FAILED
    return Answer(status, body=body, pool=pool, endpoint=endpoint.name, reasons=[reason]), retry


def _milliseconds(value: bytes | None) -> float | None:
    try:
        return float(value) if value is not None and len(value) <= 32 else None
    except ValueError:
        return None

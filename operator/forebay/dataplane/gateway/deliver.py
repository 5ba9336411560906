"""Gives an answer to a client: whole, or piece by piece, with the headers that say how it came about."""

from __future__ import annotations

import time

from forebay.dataplane.gateway import reasons
from forebay.dataplane.gateway.answer import Answer, Chunks, Tail, error_event, usage_in
from forebay.dataplane.gateway.record import Record
from forebay.dataplane.http.client import UpstreamError
from forebay.dataplane.http.message import Response

Headers = list[tuple[bytes, bytes]]

_CACHE_STATUS = {
    "hit": b"forebay; hit",
    "miss": b"forebay; fwd=miss",
    "collapsed": b"forebay; fwd=miss; collapsed",
    "bypass": b"forebay; fwd=bypass",
    "request": b"forebay; fwd=request",
}


async def deliver(answer: Answer, response: Response, record: Record, *, age_s: int | None = None) -> None:
    """Answers, and notes in the record what was seen on the way."""
    record.answer = answer
    record.reasons += answer.reasons
    headers = _headers(answer, record)
    if age_s is not None:
        headers.append((b"age", b"%d" % age_s))
    record.status = answer.status
    if answer.chunks is not None:
        record.first = time.perf_counter()
        response.start(answer.status, headers)
        await _relay(answer.chunks, response, record)
        return
    if answer.status == 200:
        record.usage = usage_in(answer.body)
    response.send(answer.status, answer.body, headers)


def _headers(answer: Answer, record: Record) -> Headers:
    status = _CACHE_STATUS[record.cache]
    headers = [
        (b"content-type", answer.content_type),
        (b"x-request-id", record.request_id),
        (b"x-forebay-policy", f"{record.policy}/{record.rule}".encode()),
        (b"x-decision", ",".join(record.reasons).encode()),
        (b"cache-status", status + b"; stored" if answer.stored and record.cache in ("miss", "request") else status),
    ]
    if answer.pool is not None:
        headers.append((b"x-model-served", answer.pool.model.encode()))
    if answer.retry_after is not None:
        headers.append((b"retry-after", answer.retry_after))
    return headers


async def _relay(chunks: Chunks, response: Response, record: Record) -> None:
    tail = Tail()
    try:
        async for chunk in chunks:
            tail.add(chunk)
            await response.write(chunk)
    except UpstreamError:
        pass  # what is missing then is missing in the tail too
    record.usage = tail.usage()
    if tail.complete:
        response.end()
        return
    record.broken = True
    record.reasons.append(reasons.STREAM_BROKEN)
    if not tail.failed:
        await response.write(
            (b"\n\n" if tail.open_event else b"") + error_event("The model server broke off before the end of the answer.")
        )
    response.break_off()

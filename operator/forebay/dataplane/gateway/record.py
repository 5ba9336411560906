"""What is remembered of one request while it is answered, and what is told of it afterwards: its decision record and its metrics."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import orjson

from forebay.dataplane.gateway import metrics
from forebay.dataplane.gateway.answer import Answer
from forebay.dataplane.outcome import Outcome, is_accepted, outcome

_requests = metrics.Children(metrics.REQUESTS)
_lost = metrics.Children(metrics.LOST)
_duration = metrics.Children(metrics.DURATION)
_first_chunk = metrics.Children(metrics.FIRST_CHUNK)

CLIENT_GONE = 499
"""Status of a request whose client hung up before it was answered."""


class Record:
    """One request. Times are of `time.perf_counter`, in seconds; None is not known."""

    __slots__ = (
        "answer",
        "batch_class",
        "begun",
        "broken",
        "cache",
        "continues",
        "first",
        "model",
        "operation",
        "policy",
        "reasons",
        "request_id",
        "rule",
        "status",
        "stream",
        "tenant",
        "traceparent",
        "usage",
    )

    def __init__(self, request_id: bytes, traceparent: bytes, continues: bool) -> None:
        self.begun = time.perf_counter()
        self.request_id, self.traceparent, self.continues = request_id, traceparent, continues
        self.operation = self.tenant = self.policy = self.rule = self.batch_class = self.model = self.cache = ""
        self.stream = self.broken = False
        self.status = 0
        self.first: float | None = None
        self.usage: tuple[int | None, int | None] = (None, None)
        self.answer: Answer | None = None
        self.reasons: list[str] = []

    @property
    def accepted(self) -> bool:
        return is_accepted(self.status)

    @property
    def lost(self) -> bool:
        return outcome(self.status, whole=not self.broken) is Outcome.LOST

    @property
    def pool(self) -> str:
        return self.answer.pool.key if self.answer is not None and self.answer.pool is not None else ""

    def count(self) -> None:
        """Puts the request into the metrics, once it has ended."""
        pool = self.pool
        _requests.of(self.tenant, self.batch_class, pool, str(self.status)).inc()
        if self.lost:
            _lost.of(self.tenant, self.batch_class, pool).inc()
        if not self.rule or not self.accepted:
            return
        _duration.of(self.operation, self.model, self.batch_class).observe(time.perf_counter() - self.begun)
        if self.first is not None:
            _first_chunk.of(self.operation, self.model, self.batch_class).observe(self.first - self.begun)

    def line(self) -> bytes:
        """The decision record as JSON."""
        answer = self.answer
        return orjson.dumps(
            {
                "time": datetime.now(UTC),
                "requestId": self.request_id.decode("ascii"),
                "traceId": self.traceparent[3:35].decode("ascii"),
                "operation": self.operation,
                "tenant": self.tenant,
                "policy": self.policy,
                "rule": self.rule,
                "class": self.batch_class,
                "model": self.model,
                "pool": self.pool,
                "modelServed": answer.pool.model if answer is not None and answer.pool is not None else "",
                "endpoint": answer.endpoint if answer is not None else "",
                "attempts": answer.attempts if answer is not None else 0,
                "cache": self.cache,
                "status": self.status,
                "accepted": self.accepted,
                "lost": self.lost,
                "stream": self.stream,
                "heldMs": answer.held_ms if answer is not None else None,
                "queueMs": answer.queue_ms if answer is not None else None,
                "ttftMs": None if self.first is None else round((self.first - self.begun) * 1000, 3),
                "totalMs": round((time.perf_counter() - self.begun) * 1000, 3),
                "inputTokens": self.usage[0],
                "outputTokens": self.usage[1],
                "reasons": self.reasons,
            },
            option=orjson.OPT_UTC_Z,
        )

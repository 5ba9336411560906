"""What comes back for a request, and what can be read off its end without parsing it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from forebay.dataplane.gateway.config import Pool
from forebay.dataplane.outcome import TAIL_BYTES, stream_is_whole

EVENT_STREAM = b"text/event-stream"

_TAIL_BYTES = 4096
# Some engines put [DONE] after an error all the same.
_ERROR_EVENT = re.compile(rb'(?:\A|\n)data: ?\{\s*"error"\s*:\s*\{[^\n]*\s*(?:data: ?\[DONE\]\s*)?\Z')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_PROMPT = re.compile(rb'"prompt_tokens"\s*:\s*(\d{1,15})')
_COMPLETION = re.compile(rb'"completion_tokens"\s*:\s*(\d{1,15})')


class Chunks(Protocol):
    """A stream's bytes as they come. `close` gives up what is left; iterating raises UpstreamError where the stream breaks."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Answer:
    """A whole answer, or a stream in `chunks`. `reasons` are the codes of what happened on the way.

    `turned_away` says that the replica is going and did nothing with the request.
    """

    status: int
    content_type: bytes = b"application/json"
    body: bytes = b""
    chunks: Chunks | None = None
    retry_after: bytes | None = None
    pool: Pool | None = None
    endpoint: str = ""
    attempts: int = 0
    queue_ms: float | None = None
    held_ms: float | None = None
    reasons: list[str] = field(default_factory=list)
    stored: bool = False
    turned_away: bool = False


class Tail:
    """The last part of a stream: tells whether it is whole, and what the model counted."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    def add(self, chunk: bytes) -> None:
        self._tail = chunk[-_TAIL_BYTES:] if len(chunk) >= _TAIL_BYTES else (self._tail + chunk)[-_TAIL_BYTES:]

    @property
    def complete(self) -> bool:
        return stream_is_whole(self._tail[-TAIL_BYTES:]) and not self.failed

    @property
    def failed(self) -> bool:
        """Whether the stream says itself that it broke."""
        return _ERROR_EVENT.search(self._tail) is not None

    @property
    def open_event(self) -> bool:
        """Whether the stream ends in the middle of an event."""
        return bool(self._tail) and not self._tail.endswith(b"\n\n")

    def usage(self) -> tuple[int | None, int | None]:
        return usage_in(self._tail)


def usage_in(body: bytes) -> tuple[int | None, int | None]:
    """Input and output tokens of the last `usage` object in an answer's JSON, None where it does not say.

    Inside a JSON text every quote is escaped, so `"usage"` is always a key; finding it is much cheaper than parsing embeddings.
    """
    at = len(body)
    while (at := body.rfind(b'"usage"', 0, at)) >= 0:
        if _USAGE.match(body, at):
            prompt, completion = _PROMPT.search(body, at), _COMPLETION.search(body, at)
            return int(prompt[1]) if prompt else None, int(completion[1]) if completion else None
    return None, None


def error_event(message: str) -> bytes:
    """The last event of a stream that broke."""
    error = {"message": message, "type": "server_error", "param": None, "code": "stream_broken"}
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"

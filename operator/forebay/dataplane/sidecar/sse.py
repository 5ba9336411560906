"""Server-sent events of a streamed answer, cut where they end, without touching a byte of what is passed on.

Reads cut events anywhere, also between the two line ends that finish one. Only what is needed is looked into: until the first token, and
wherever usage is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

_EVENT_END = re.compile(rb"\n\n|\r\n\r\n|\r\r|\n\r\n")
_LONGEST_END = 4
# Inside a JSON text the quotes would be escaped, so what a model writes cannot look like this.
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_ERROR = re.compile(rb'^data:\s*\{\s*"error"\s*:\s*\{', re.MULTILINE)
# Of one answer, far beyond any context: one absurd figure would stay in the counters, and size the pool, for as long as the sidecar runs.
_MOST_TOKENS = 10**9
# An event longer than this is passed on as it comes, unread: nothing holds back more of a stream.
_MOST_HELD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counted them, and of how many answers to one prompt those of the output are."""

    input_tokens: int
    output_tokens: int
    choices: int = 1


def usage_of(answer: Any) -> Usage | None:
    """The usage in a parsed answer, where it has one that makes sense."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if not isinstance(prompt, int) or not isinstance(completion, int | None):
        return None
    if not 0 <= prompt <= _MOST_TOKENS or not 0 <= (completion or 0) <= _MOST_TOKENS:
        return None
    choices = answer.get("choices")
    return Usage(prompt, completion or 0, max(1, len(choices)) if isinstance(choices, list) else 1)


def data_of(event: bytes) -> bytes:
    """The data of one event, its lines joined."""
    return b"\n".join(line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:"))


class Stream:
    """One streamed answer. `usage`, `done` and `failed` say what was in it so far."""

    def __init__(self, *, strip_usage: bool) -> None:
        self._strip_usage = strip_usage
        self._held = b""
        self._started = False
        self.usage: Usage | None = None
        self.done = False
        self.failed = False

    def feed(self, data: bytes) -> tuple[bytes, int]:
        """Takes what was read; returns what to pass on, and how many events with tokens are in it."""
        # What was held has no end in it, but may have the beginning of one: looking at all of it again, read after read, adds up.
        unseen = max(0, len(self._held) - _LONGEST_END + 1)
        data = self._held + data if self._held else data
        out: list[bytes] = []
        tokens = start = 0
        for end in _EVENT_END.finditer(data, unseen):
            event = data[start : end.end()]
            start = end.end()
            kept, token = self._look(event)
            if kept:
                out.append(event)
            tokens += token
        self._held = data[start:]
        if len(self._held) > _MOST_HELD_BYTES:
            out.append(self.rest())
        return b"".join(out), tokens

    def rest(self) -> bytes:
        """What is left of an event that never ended."""
        rest, self._held = self._held, b""
        return rest

    def _look(self, event: bytes) -> tuple[bool, bool]:
        """Whether to pass an event on, and whether it carries tokens."""
        if b"data:" not in event:
            return True, False
        if b"[DONE]" in event and data_of(event) == b"[DONE]":
            self.done = True
            return True, False
        if _ERROR.search(event):
            self.failed = True
            return True, False
        if _USAGE.search(event):
            parsed = _json(data_of(event))
            self.usage = usage_of(parsed) or self.usage
            if isinstance(parsed, dict) and parsed.get("choices") == []:
                return not self._strip_usage, False
        if not self._started:
            self._started = _has_token(_json(data_of(event)))
        return True, self._started


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _has_token(chunk: Any) -> bool:
    """Whether a chunk brings more than the role that opens an answer. What cannot be read counts: it is an answer of some kind."""
    if not isinstance(chunk, dict) or not isinstance(chunk.get("choices"), list):
        return True
    for choice in chunk["choices"]:
        if not isinstance(choice, dict) or choice.get("text"):
            return True
        delta = choice.get("delta")
        if isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role"):
            return True
    return False

"""The bytes of the simulator's answers, whole and in events. Chat and text completions differ in their names and in where the text is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from forebay.engines.sim.requests import Asked
from forebay.engines.sim.words import word

FINGERPRINT = "forebay-simulator"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Shape:
    """One of the two kinds of answer."""

    id_prefix: str
    object: str
    chunk_object: str
    chat: bool


CHAT = Shape("chatcmpl-", "chat.completion", "chat.completion.chunk", chat=True)
TEXT = Shape("cmpl-", "text_completion", "text_completion", chat=False)


def usage(asked: Asked, generated: int) -> dict[str, int]:
    return {"prompt_tokens": asked.prompt_tokens, "completion_tokens": generated, "total_tokens": asked.prompt_tokens + generated}


def whole(shape: Shape, asked: Asked, head: dict[str, Any]) -> dict[str, Any]:
    """The whole answer. `head` has its id, time and model."""
    text = "".join(word(asked.opening, index) for index in range(asked.output_tokens))
    content: dict[str, Any] = {"message": {"role": "assistant", "content": text, "refusal": None}} if shape.chat else {"text": text}
    choice = {"index": 0, **content, "logprobs": None, "finish_reason": asked.finish_reason}
    return {**head, "object": shape.object, "choices": [choice], "usage": usage(asked, asked.output_tokens)}


class Events:
    """The events of one stream. All but the word in them is the same for every token and is written once."""

    def __init__(self, shape: Shape, asked: Asked, head: dict[str, Any]) -> None:
        self._asked = asked
        self._shape = shape
        self._head = {**head, "object": shape.chunk_object}
        self._before, self._after = self._event({"content": "\0"}, None).split(b"\\u0000")

    def opening(self) -> bytes:
        """What goes before the first token: a chat says who speaks."""
        return self._event({"role": "assistant", "content": ""}, None) if self._shape.chat else b""

    def tokens(self, start: int, end: int) -> bytes:
        """The events of the tokens from index `start` up to `end`."""
        opening, before, after = self._asked.opening, self._before, self._after
        return b"".join(before + word(opening, index).encode() + after for index in range(start, end))

    def closing(self) -> bytes:
        """Why it ended, the usage where it was asked for, and the end of the stream."""
        events = self._event({}, self._asked.finish_reason)
        if self._asked.include_usage:
            events += _data({**self._head, "choices": [], "usage": usage(self._asked, self._asked.output_tokens)})
        return events + DONE

    def _event(self, delta: dict[str, str], finish_reason: str | None) -> bytes:
        content: dict[str, Any] = {"delta": delta} if self._shape.chat else {"text": delta.get("content", "")}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}
        # OpenAI's chunks have a usage of null where the usage is going to come, and none where it is not.
        return _data({**self._head, "choices": [choice], **({"usage": None} if self._asked.include_usage else {})})


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"

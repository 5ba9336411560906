"""What a client may ask of the simulator, read strictly: what is malformed is refused, what only changes the text is left unread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forebay.engines.openai import Refused, boolean, check_model, json_object, whole_number
from forebay.engines.sim.words import opening, tokens_in

MAX_CONTEXT = 131_072
"""Tokens of prompt and answer together."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for text. Lengths in tokens; `finish_reason` is what the answer will end with."""

    prompt_tokens: int
    output_tokens: int
    finish_reason: str
    stream: bool
    include_usage: bool
    opening: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reading depends on besides the request."""

    model: str
    default_output_tokens: int
    seed: int


def read_chat(body: bytes, reading: Reading) -> Asked:
    """A chat completion. Raises Refused."""
    document = json_object(body)
    check_model(document, reading.model)
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages is required: a list of at least one message", "messages")
    texts = [_message_text(message, index) for index, message in enumerate(messages)]
    return _asked(document, sum(map(tokens_in, texts)), "\n".join(texts), reading)


def read_completion(body: bytes, reading: Reading) -> Asked:
    """A text completion of one prompt, as text or as token ids. Raises Refused."""
    document = json_object(body)
    check_model(document, reading.model)
    prompt = document.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return _asked(document, tokens_in(prompt), prompt, reading)
    if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        return _asked(document, len(prompt), ",".join(map(str, prompt)), reading)
    raise Refused("prompt is required: one text, or one list of token ids", "prompt")


def _message_text(message: Any, index: int) -> str:
    param = f"messages[{index}]"
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise Refused(f"{param} must be an object with a role", param)
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        texts = [part.get("text", "") for part in content]
        if all(isinstance(text, str) for text in texts):
            return " ".join(texts)
    raise Refused(f"{param}.content must be a text or a list of content parts", f"{param}.content")


def _asked(document: dict[str, Any], prompt_tokens: int, prompt: str, reading: Reading) -> Asked:
    stream = boolean(document, "stream")
    if whole_number(document, "n", 1, 128) not in (None, 1):
        raise Refused("this simulator answers with one choice: n must be 1", "n")
    wanted = [whole_number(document, name, 1, 2**31) for name in ("max_completion_tokens", "max_tokens")]
    limit = wanted[0] or wanted[1]
    output = limit or reading.default_output_tokens
    if prompt_tokens + output > MAX_CONTEXT:
        raise Refused(
            f"the longest context is {MAX_CONTEXT} tokens; {prompt_tokens} of prompt and {output} of answer were asked for",
            "messages" if "messages" in document else "prompt",
            code="context_length_exceeded",
        )
    return Asked(
        prompt_tokens=prompt_tokens,
        output_tokens=output,
        finish_reason="length" if limit else "stop",
        stream=stream,
        include_usage=_include_usage(document, stream),
        opening=opening(prompt, reading.seed),
    )


def _include_usage(document: dict[str, Any], stream: bool) -> bool:
    options = document.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise Refused("stream_options is only allowed when stream is true", "stream_options")
    if not isinstance(options, dict):
        raise Refused("stream_options must be an object", "stream_options")
    return boolean(options, "include_usage")

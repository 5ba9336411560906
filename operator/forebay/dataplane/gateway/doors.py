"""The doors of the OpenAI API: which paths there are, and what a request must say before anything is done for it.

Only what the gateway itself needs is checked: the model, the prompt's presence and shape, whether a stream is wanted, the tier. The rest
is the model server's to judge, which knows more and changes faster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson

from forebay.dataplane.http.message import Request

TIER_OF = {"priority": "Interactive", "default": "NearRealTime", "flex": "Deferred", "auto": None}
"""Tier of each `service_tier`; None is the policy's default class."""

MODELS = "/v1/models"


class Refusal(Exception):
    """A request that is answered with an error right away."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param


@dataclass(frozen=True, slots=True)
class Door:
    """One operation. `name` is OpenTelemetry's `gen_ai.operation.name`; `check` says what is wrong with the prompt, or None."""

    path: str
    name: str
    task: str
    prompt: str
    check: Callable[[Any], str | None]
    streams: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that may be answered. `tier` is None where the policy decides."""

    door: Door
    model: str
    stream: bool
    tier: str | None
    parsed: dict[str, Any]
    raw: bytes


def _messages(value: Any) -> str | None:
    if isinstance(value, list) and value and all(isinstance(message, dict) for message in value):
        return None
    return "must be a list of message objects that is not empty"


def _texts_or_tokens(value: Any) -> str | None:
    if isinstance(value, str) and value:
        return None
    if isinstance(value, list) and value:
        first = type(value[0])
        if first in (str, int, list) and all(type(part) is first for part in value):
            return None
    return "must be a text, a list of texts, or a list of tokens, and not empty"


_DOORS = (
    Door("/v1/chat/completions", "chat", "Chat", "messages", _messages, streams=True),
    Door("/v1/completions", "text_completion", "Chat", "prompt", _texts_or_tokens, streams=True),
    Door("/v1/embeddings", "embeddings", "Embeddings", "input", _texts_or_tokens, streams=False),
)
DOORS = {door.path: door for door in _DOORS}


def asked_model(path: str) -> str | None:
    """The id in `/v1/models/{id}`, None for any other path. Ids may contain slashes, plain or escaped."""
    return unquote(path[len(MODELS) + 1 :]) if path.startswith(MODELS + "/") and len(path) > len(MODELS) + 1 else None


def allowed_method(path: str) -> str:
    """The method of a path.

    Raises:
        Refusal: 404, there is no such path.
    """
    if path in DOORS:
        return "POST"
    if path == MODELS or asked_model(path) is not None:
        return "GET"
    raise Refusal(404, f"Unknown path {path[:200]}; there are {', '.join(DOORS)} and {MODELS}.", code="unknown_url")


def read(door: Door, request: Request) -> Ask:
    """The request's body, checked.

    Raises:
        Refusal: 400, with the parameter that is wrong.
    """
    try:
        parsed = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(parsed, dict):
        raise Refusal(400, "The body must be a JSON object.", code="invalid_json")
    model = parsed.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "must be the name of a model", parsed)
    problem = door.check(parsed.get(door.prompt))
    if problem:
        raise _wrong(door.prompt, problem, parsed)
    stream = parsed.get("stream") if door.streams else None
    if stream is not None and not isinstance(stream, bool):
        raise _wrong("stream", "must be true or false", parsed)
    return Ask(door, model, bool(stream), _tier(parsed), parsed, request.body)


def written(value: Any, option: int | None = None) -> bytes:
    """What was read, as JSON again.

    Raises:
        Refusal: 400, it is nested more deeply than can be written, though it could be read.
    """
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:
        raise Refusal(400, "The body is nested too deeply.", code="invalid_json") from None


def _tier(parsed: dict[str, Any]) -> str | None:
    asked = parsed.get("service_tier")
    if asked is None:
        return None
    if not isinstance(asked, str) or asked not in TIER_OF:
        raise _wrong("service_tier", f"must be one of {', '.join(TIER_OF)}", parsed)
    return TIER_OF[asked]


def _wrong(param: str, problem: str, parsed: dict[str, Any]) -> Refusal:
    if param not in parsed:
        return Refusal(400, f"Missing required parameter: '{param}' {problem}.", code="missing_required_parameter", param=param)
    return Refusal(400, f"Invalid parameter: '{param}' {problem}.", code="invalid_value", param=param)

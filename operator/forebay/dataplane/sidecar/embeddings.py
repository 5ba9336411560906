"""Embedding requests merged into one call, and its answer given back to each. No socket, no clock.

Only requests that ask for the same in every field but the input are merged; what differs in a field nobody here knows is not merged
either. Inputs that are tokens instead of text go alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from forebay.dataplane.sidecar.generate import BadRequest, parse_object, written

# As many as OpenAI takes in one request.
MOST_INPUTS = 2048
_BYTES_PER_TOKEN = 4


class BadAnswer(Exception):
    """An answer of the engine that does not fit what it was asked."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `texts` is None where its inputs are not texts; `key` is equal for those that may share a call."""

    body: bytes
    fields: dict[str, Any]
    texts: list[str] | None
    sizes: list[int]
    key: bytes


@dataclass(frozen=True, slots=True)
class Part:
    """The answer to some inputs in a row of one request."""

    items: list[dict[str, Any]]
    tokens: int
    model: Any


def read(body: bytes, authorization: bytes) -> Ask:
    """Reads a request's body.

    Raises:
        BadRequest: it is not JSON, is nested too deeply, has no input, or more inputs than MOST_INPUTS.
    """
    parsed = parse_object(body)
    if "input" not in parsed:
        raise BadRequest("input is missing", "input")
    given = parsed["input"]
    fields = {name: value for name, value in parsed.items() if name not in ("input", "user")}
    key = written(fields, orjson.OPT_SORT_KEYS) + b"\n" + authorization
    if isinstance(given, str):
        return Ask(body, fields, [given], [estimate(given)], key)
    if not isinstance(given, list) or not given:
        raise BadRequest("input must be a text, or a list of at least one", "input")
    if len(given) > MOST_INPUTS:
        raise BadRequest(f"input has {len(given)} entries, at most {MOST_INPUTS} are taken", "input")
    if all(isinstance(text, str) for text in given):
        return Ask(body, fields, given, [estimate(text) for text in given], key)
    return Ask(body, fields, None, [_token_count(given)], key)


def estimate(text: str) -> int:
    """About how many tokens a text has; close enough to fill a batch and to share out a sum."""
    return len(text.encode()) // _BYTES_PER_TOKEN + 1


def _token_count(given: list[Any]) -> int:
    return sum(len(entry) if isinstance(entry, list) else 1 for entry in given)


def merged(fields: dict[str, Any], texts: Sequence[str]) -> bytes:
    """The body of one call for all these texts."""
    return orjson.dumps({**fields, "input": texts})


def split(answer: bytes, sizes: Sequence[Sequence[int]]) -> list[Part]:
    """The engine's answer cut into parts, one for each group of estimated sizes; the usage is shared out in their proportion.

    Raises:
        BadAnswer: it is not JSON, or has not one embedding for each input.
    """
    try:
        parsed = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise BadAnswer(f"its answer is not JSON: {error}") from None
    data = parsed.get("data") if isinstance(parsed, dict) else None
    wanted = sum(len(group) for group in sizes)
    if not isinstance(data, list) or len(data) != wanted or not all(isinstance(item, dict) and "embedding" in item for item in data):
        raise BadAnswer(f"its answer has not {wanted} embeddings")
    data = _in_order(data)
    usage = parsed.get("usage")
    total = usage.get("prompt_tokens", 0) if isinstance(usage, dict) else 0
    shares = share(total if isinstance(total, int) and total > 0 else 0, [sum(group) for group in sizes])
    parts, start = [], 0
    for group, tokens in zip(sizes, shares, strict=True):
        parts.append(Part(data[start : start + len(group)], tokens, parsed.get("model")))
        start += len(group)
    return parts


def _in_order(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By index where the indexes are a permutation; else as they came."""
    if sorted(index if isinstance(index := item.get("index"), int) else -1 for item in data) != list(range(len(data))):
        return data
    return sorted(data, key=lambda item: int(item["index"]))


def share(total: int, weights: Sequence[int]) -> list[int]:
    """A whole number shared out in proportion to weights; the shares add up to it exactly."""
    whole = sum(weights)
    if whole <= 0:
        return [total, *([0] * (len(weights) - 1))]
    shares, passed, given = [], 0, 0
    for weight in weights:
        passed += weight
        upto = total * passed // whole
        shares.append(upto - given)
        given = upto
    return shares


def answer(parts: Sequence[Part]) -> bytes:
    """One request's answer out of its parts, numbered anew."""
    items = [item for part in parts for item in part.items]
    tokens = sum(part.tokens for part in parts)
    return orjson.dumps(
        {
            "object": "list",
            "data": [{**item, "index": index} for index, item in enumerate(items)],
            "model": parts[0].model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )

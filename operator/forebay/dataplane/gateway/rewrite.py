"""The request as the model server gets it: the client's bytes, with the model's own name in them."""

from __future__ import annotations

import re

import orjson

from forebay.dataplane.gateway.doors import Ask, written

_MODEL = re.compile(rb'"model"\s*:\s*("[^"\\]*")')


def body_for(ask: Ask, model: str) -> bytes:
    """The body to send on.

    Parsing and writing JSON anew changes what it does not understand (numbers beyond 64 bits, repeated keys, the way a float was
    written). So only the name is replaced in place, where it is plain which bytes they are: the body holds the key once, and no
    escapes that could spell it otherwise. Raises Refusal, as `written` does.
    """
    if ask.model == model:
        return ask.raw
    raw = ask.raw
    if raw.count(b'"model"') == 1 and b"\\u" not in raw:
        match = _MODEL.search(raw)
        if match and match[1] == orjson.dumps(ask.model):
            start, end = match.span(1)
            return raw[:start] + orjson.dumps(model) + raw[end:]
    return written({**ask.parsed, "model": model})

"""What both engines share of OpenAI's API: reading a request strictly, listing the model, writing embeddings."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import orjson

from forebay.dataplane.http.errors import JSON, send_error
from forebay.dataplane.http.message import Response

MAX_INPUTS = 2048
"""Most texts in one embeddings request; OpenAI's own bound."""


class Refused(Exception):
    """A request that is not served; the message goes to the client, with a Retry-After where it is worth trying again."""

    def __init__(self, message: str, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code

    def answer(self, response: Response) -> None:
        again_s = 1 if self.status in (429, 503) else None
        send_error(response, self.status, str(self), param=self.param, code=self.code, retry_after_s=again_s)


def send_json(response: Response, document: Any, status: int = 200) -> None:
    response.send(status, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), [JSON])


def json_object(body: bytes) -> dict[str, Any]:
    """The body as an object; Refused when it is anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"the body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise Refused("the body must be a JSON object")
    return document


def check_model(document: dict[str, Any], served: str) -> None:
    """Refused unless the request names the one model that is served."""
    model = document.get("model")
    if not isinstance(model, str) or not model:
        raise Refused("model is required: a string", "model")
    if model != served:
        raise Refused(f"the model {model[:200]!r} does not exist: this server has {served!r}", "model", 404, "model_not_found")


def boolean(document: dict[str, Any], name: str) -> bool:
    """A flag that is off when it is absent or null."""
    value = document.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Refused(f"{name} must be true or false", name)
    return value


def whole_number(document: dict[str, Any], name: str, least: int, most: int) -> int | None:
    """A number within bounds, or None where it is absent or null."""
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(f"{name} must be a whole number", name)
    if not least <= value <= most:
        raise Refused(f"{name} must be between {least} and {most}", name)
    return value


def embedding_texts(document: dict[str, Any]) -> list[str]:
    """The texts of `input`, which is one text or a list of them."""
    value = document.get("input")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise Refused("input is required: a text or a list of texts", "input")
    if len(texts) > MAX_INPUTS:
        raise Refused(f"input has {len(texts)} texts: at most {MAX_INPUTS} go into one request", "input")
    if isinstance(texts[0], int | list):
        raise Refused("input must be text: lists of token ids are not supported by this server", "input")
    if not all(isinstance(text, str) and text for text in texts):
        raise Refused("every entry of input must be a text that is not empty", "input")
    return texts


def encoded_as_base64(document: dict[str, Any]) -> bool:
    """Whether `encoding_format` asks for base64 rather than numbers."""
    value = document.get("encoding_format") or "float"
    if value not in ("float", "base64"):
        raise Refused("encoding_format must be float or base64", "encoding_format")
    return bool(value == "base64")


def embeddings_document(model: str, vectors: Iterable[Any], tokens: int) -> dict[str, Any]:
    """The answer to an embeddings request; each vector a sequence of numbers, or little-endian 32-bit floats, which go out as base64."""
    encoded = (base64.b64encode(vector).decode() if isinstance(vector, bytes) else vector for vector in vectors)
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(encoded)],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def models_document(model: str, owner: str, created: int) -> dict[str, Any]:
    """The answer to GET /v1/models; `created` in seconds since 1970."""
    return {"object": "list", "data": [{"id": model, "object": "model", "created": created, "owned_by": owner}]}

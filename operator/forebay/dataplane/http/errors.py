"""Errors in the shape that OpenAI's clients understand."""

from __future__ import annotations

import math

import orjson

from forebay.dataplane.http.message import Headers, Response

JSON = (b"content-type", b"application/json")

_TYPES: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("invalid_request_error", None),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("invalid_request_error", "request_timeout"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("requests", "rate_limit_exceeded"),
    431: ("invalid_request_error", "headers_too_large"),
    502: ("server_error", "bad_gateway"),
    503: ("server_error", "server_is_overloaded"),
    504: ("server_error", "gateway_timeout"),
}


def error_body(message: str, type: str, code: str | None = None, param: str | None = None) -> bytes:
    """The JSON of one error."""
    return orjson.dumps({"error": {"message": message, "type": type, "param": param, "code": code}})


def send_error(
    response: Response,
    status: int,
    message: str,
    *,
    type: str | None = None,
    code: str | None = None,
    param: str | None = None,
    retry_after_s: float | None = None,
    headers: Headers = (),
) -> None:
    """Answers with an error; type and code are the usual ones of the status where they are not given.

    `retry_after_s` is rounded up to whole seconds, at least 1.
    """
    usual_type, usual_code = _TYPES.get(status, ("server_error", None))
    extra = [JSON, *headers]
    if retry_after_s is not None:
        extra.append((b"retry-after", b"%d" % max(1, math.ceil(retry_after_s))))
    response.send(status, error_body(message, type or usual_type, code or usual_code, param), extra)

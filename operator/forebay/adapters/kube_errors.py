"""What an API server's refusals mean here."""

from __future__ import annotations

from typing import Any

import orjson

from forebay.adapters.cluster import ClusterError, Conflict, Forbidden, Invalid, NotFound, Unavailable

_CLASSES: dict[int, type[ClusterError]] = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict, 429: Unavailable}
_PERMANENT = ("failed to create typed patch object", "resourceVersion should not be set on objects to be created")
"""Mistakes of the caller that the server answers with 500."""


class Gone(Unavailable):
    """410: the resourceVersion is too old; list again."""


class BudgetExhausted(Unavailable):
    """429 to an eviction: a disruption budget does not allow it now."""


def error_for(status: int, body: bytes) -> ClusterError:
    """The error for an HTTP answer, with the server's own message."""
    return error_of(_parsed(status, body))


def error_of(answer: dict[str, Any]) -> ClusterError:
    """The error for a `Status` object."""
    status = int(answer.get("code") or 0)
    message = str(answer.get("message") or answer.get("reason") or f"HTTP {status}")
    causes = (answer.get("details") or {}).get("causes") or []
    if status == 410:
        return Gone(message, status)
    if status == 429 and any(cause.get("reason") == "DisruptionBudget" for cause in causes):
        return BudgetExhausted(message, status)
    if status in _CLASSES:
        return _CLASSES[status](message, status)
    if 400 <= status < 500 or (status == 500 and any(part in message for part in _PERMANENT)):
        return Invalid(message, status)
    return (Unavailable if status >= 500 else ClusterError)(message, status)


def is_budget(error: ClusterError) -> bool:
    """Whether an eviction was refused by a disruption budget."""
    return isinstance(error, BudgetExhausted)


def _parsed(status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        answer = {"message": body[:500].decode(errors="replace").strip()}
    return {**answer, "code": status}

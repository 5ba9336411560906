"""Questions to a Prometheus, or to what speaks like one (Thanos, Mimir, VictoriaMetrics). An answer that is not whole is no answer."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from typing import Any

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import RequestException, Response, Session
from urllib3.util.retry import Retry

Row = dict[str, Any]
TIMEOUT_S = 5.0
LONG_TIMEOUT_S = 30.0
"""Of a query over weeks."""
MAX_WORDS = 300

FAILURES = (
    PrometheusApiClientException,
    RequestException,
    TimeoutError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)
"""What an answer may be in the way of: a server that is away or says no, and one that is none."""


class Partial(RequestException):
    """Some of the stores behind the server did not answer."""


def quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def selector(namespace: str, pool: str, matchers: Mapping[str, str]) -> str:
    """What stands behind a metric's name to mean this pool alone, without the closing brace."""
    labels = {"namespace": namespace, "forebay_pool": pool, **matchers}
    return "{" + ",".join(f"{name}={quoted(value)}" for name, value in labels.items())


class PromQL:
    """One server. Its client blocks, so it is asked in a thread."""

    def __init__(self, url: str) -> None:
        session = Session()
        session.hooks["response"].append(_whole)
        self._client = PrometheusConnect(url=url, retry=Retry(total=0), session=session)

    def instant(self, query: str, until: float) -> list[Row]:
        """Rows of an instant query; `until` is the time.monotonic() at which nobody waits any longer."""
        timeout_s = _left(until, TIMEOUT_S)
        rows: list[Row] = self._client.custom_query(query, params=_no_longer_than(timeout_s), timeout=timeout_s)
        return rows

    def steps(self, query: str, start: float, end: float, step_s: float, until: float) -> list[Row]:
        """Rows of a range query with a value at `start`, at `end` and every step between."""
        timeout_s = _left(until, LONG_TIMEOUT_S)
        first, last = (datetime.datetime.fromtimestamp(at, datetime.UTC) for at in (start, end))
        rows: list[Row] = self._client.custom_query_range(
            query, first, last, f"{step_s:.0f}s", params=_no_longer_than(timeout_s), timeout=timeout_s
        )
        return rows


def _no_longer_than(seconds: float) -> dict[str, str]:
    return {"timeout": f"{seconds * 1000:.0f}ms"}


def _left(until: float, most_s: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("it answers too slowly")
    return min(left_s, most_s)


def _whole(response: Response, *_: Any, **__: Any) -> None:
    """Refuses an answer that stands for only a part of what there is. What PromQL itself remarks on a query is no such thing."""
    if response.status_code != 200:
        return
    body = response.json()
    if not isinstance(body, dict) or body.get("status") != "success":
        raise Partial(f"no answer: {str(body)[:MAX_WORDS]}")
    warnings = [w for w in body.get("warnings") or () if not str(w).startswith("PromQL")]
    if warnings or body.get("isPartial"):
        raise Partial(f"only a part was answered: {'; '.join(map(str, warnings))[:MAX_WORDS] or 'isPartial'}")

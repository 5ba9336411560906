"""Questions to a Prometheus, or to what speaks like one (Thanos, Mimir, VictoriaMetrics). An answer that is not whole is no answer."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import PreparedRequest, RequestException, Response, Session
from requests.exceptions import JSONDecodeError, SSLError, Timeout, TooManyRedirects
from urllib3.exceptions import MaxRetryError, ReadTimeoutError
from urllib3.util.retry import Retry

Row = dict[str, Any]
TIMEOUT_S = 5.0
LONG_TIMEOUT_S = 30.0
"""Of a query over weeks."""
MAX_WORDS = 300
_SLOW = "it answers too slowly"

FAILURES = (
    PrometheusApiClientException,
    OSError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)
"""What an answer may be in the way of: a server that is away or says no, and one that is none."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the server is shown, and what its certificate is checked by; without `ca` the system's certificates.

    The token is read anew for each question, for tokens are replaced while an operator runs. It is in no message.
    """

    token_file: Path | None = None
    ca: Path | None = None


class Partial(RequestException):
    """Some of the stores behind the server did not answer."""


class Refused(RequestException):
    """The server, or what stands before it, says no; or there is nothing to show it."""


def trouble(error: BaseException) -> str:
    """Why there is no answer, in words that stay the same while it does."""
    match error:
        case Partial() | Refused():
            return str(error)
        case SSLError():
            unknown = "CERTIFICATE_VERIFY_FAILED" in str(error)
            return (
                "its certificate is not trusted, see --prometheus-ca"
                if unknown
                else "it does not speak TLS as it should: is its URL http://?"
            )
        case TooManyRedirects():
            return "it redirects without end"
        case Timeout() | TimeoutError():
            return _SLOW
        case RequestException(args=[MaxRetryError(reason=ReadTimeoutError())]):
            return _SLOW  # the client's library takes it for a connection that failed
        case OSError() if not isinstance(error, ValueError):
            return "it cannot be reached"
    return "what it says is no answer"


def told(error: BaseException) -> str:
    """The whole of it, for a log: with what the server said."""
    refused = error.response if isinstance(error, Refused) else None
    words = " ".join(refused.text[:MAX_WORDS].split()) if refused is not None else ""
    return f"{error}: {words}" if words else str(error)


def quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def selector(namespace: str, pool: str, matchers: Mapping[str, str]) -> str:
    """What stands behind a metric's name to mean this pool alone, without the closing brace."""
    labels = {"namespace": namespace, "forebay_pool": pool, **matchers}
    return "{" + ",".join(f"{name}={quoted(value)}" for name, value in labels.items())


OPEN = Access()
_HINTS = {
    401: " (no token, or a wrong one: see --prometheus-token-file)",
    403: " (its token does not allow it)",
    404: " (is its URL whole, with the path that it serves under, such as http://host/prometheus?)",
}


class _Bearer:
    """Puts the token of a file into a request."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        try:
            token = self._file.read_bytes().strip()
        except OSError as error:
            raise Refused(f"the token in {self._file} cannot be read: {error.strerror}") from None
        if not token or not all(0x21 <= byte <= 0x7E for byte in token):
            raise Refused(f"in {self._file} is no token, which is one word")
        request.headers["Authorization"] = f"Bearer {token.decode()}"
        return request


class PromQL:
    """One server. Its client blocks, so it is asked in a thread."""

    def __init__(self, url: str, access: Access = OPEN) -> None:
        session = Session()
        session.hooks["response"].append(_whole)
        if access.token_file is not None:
            session.auth = _Bearer(access.token_file)
        if access.ca is not None:
            session.verify = str(access.ca)
        self._client = PrometheusConnect(url=url.rstrip("/"), retry=Retry(total=0), session=session)

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
        raise TimeoutError(_SLOW)
    return min(left_s, most_s)


def _whole(response: Response, *_: Any, **__: Any) -> None:
    """Refuses an answer that stands for only a part of what there is. What PromQL itself remarks on a query is no such thing."""
    if response.is_redirect:
        return
    if response.status_code != 200:
        raise Refused(f"it answers {response.status_code}{_HINTS.get(response.status_code, '')}", response=response)
    try:
        body = response.json()
    except JSONDecodeError:
        raise Refused("what it says is no answer", response=response) from None
    if not isinstance(body, dict) or body.get("status") != "success":
        raise Partial(f"no answer: {str(body)[:MAX_WORDS]}")
    warnings = [w for w in body.get("warnings") or () if not str(w).startswith("PromQL")]
    if warnings or body.get("isPartial"):
        raise Partial(f"only a part was answered: {'; '.join(map(str, warnings))[:MAX_WORDS] or 'isPartial'}")

"""Health and metrics, the same for gateway, sidecar and engines."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from forebay.dataplane.http.errors import send_error
from forebay.dataplane.http.message import Handler, Request, Response

ADMIN_PATHS = frozenset(("/healthz", "/readyz", "/metrics"))

_TEXT = [(b"content-type", b"text/plain; charset=utf-8")]


def admin(registry: CollectorRegistry, not_ready: Callable[[], str]) -> Handler:
    """A handler for /healthz, /readyz and /metrics; everything else is 404.

    `not_ready` gives the reason why this process should get no requests now; empty when it should.
    """

    async def answer(request: Request, response: Response) -> None:
        if request.path not in ADMIN_PATHS:
            send_error(response, 404, f"there is nothing at {request.path}", code="not_found")
        elif request.method not in ("GET", "HEAD"):
            send_error(response, 405, f"{request.path} answers GET", headers=[(b"allow", b"GET, HEAD")])
        elif request.path == "/metrics":
            response.send(200, generate_latest(registry), [(b"content-type", CONTENT_TYPE_LATEST.encode())])
        elif request.path == "/healthz":
            response.send(200, b"ok\n", _TEXT)
        else:
            reason = not_ready()
            response.send(503 if reason else 200, (reason or "ok").encode() + b"\n", _TEXT)

    return answer

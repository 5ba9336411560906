"""How both engines run: serve until told to stop, then let what is under way end."""

from __future__ import annotations

import asyncio
import logging

from forebay.dataplane.http.message import Handler
from forebay.dataplane.http.server import serve

GRACE_S = 25.0
"""How long requests under way may still take after the signal to stop: less than the 30 s that Kubernetes gives a pod."""

_log = logging.getLogger(__name__)


async def serve_until(stop: asyncio.Event, handler: Handler, host: str, port: int, **about: str) -> None:
    """Serves until `stop` is set. What `about` says is logged with the address.

    Raises:
        ForebayError: the address cannot be had.
    """
    server = await serve(handler, host, port)
    _log.info("listening", extra={"host": host, "port": server.port, **about})
    await stop.wait()
    await server.close(GRACE_S)

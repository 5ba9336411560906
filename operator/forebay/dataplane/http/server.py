"""An HTTP/1.1 server for one handler.

`await serve(handler, host, port)` listens; `stop_accepting` and `close` end it without losing a request. A handler's task is cancelled
when its client goes away before the answer is complete, a half-closed connection included.
"""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate

from forebay.dataplane.http.connection import Connection
from forebay.dataplane.http.message import Handler, Headers, Limits, Request, Response
from forebay.dataplane.http.reader import Room
from forebay.runtime.errors import ForebayError

__all__ = ["Handler", "Headers", "Limits", "Request", "Response", "Server", "serve"]

log = logging.getLogger(__name__)

# How long cancelled handlers have to end before their connections are left behind.
_CANCEL_S = 5.0


class Server:
    """A listening server and its connections."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.handler = handler
        self.limits = limits
        self.room = Room(limits.max_bodies_bytes)
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self.port = 0
        self.date = b""
        self._connections: set[Connection] = set()
        self._emptied = asyncio.Event()
        self._listeners: list[asyncio.Server] = []
        shortest = min(limits.header_timeout_s, limits.body_timeout_s, limits.keep_alive_s, limits.write_timeout_s)
        self._sweep_s = min(1.0, shortest / 4)
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int, beside: str) -> None:
        """Binds and accepts. Raises OSError when the address cannot be had; `beside` may fail."""
        self._sweep()
        await self._accept(host, port)
        self.port = self._listeners[0].sockets[0].getsockname()[1]
        if beside:
            try:
                await self._accept(beside, self.port)
            except OSError as error:
                reason = error.strerror or str(error)
                log.info("one address cannot be listened on as well", extra={"host": beside, "port": self.port, "reason": reason})

    async def _accept(self, host: str, port: int) -> None:
        self._listeners.append(await self.loop.create_server(lambda: Connection(self), host, port, backlog=4096))

    def joined(self, connection: Connection) -> bool:
        """Counts a new connection; False when there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= self.limits.max_connections

    def left(self, connection: Connection) -> None:
        """Forgets a connection that is closed and has nothing running."""
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    def stop_accepting(self) -> None:
        """Takes no new connection. Those there are end with their next answer, or at once when nothing is under way."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self.draining = True
        for connection in tuple(self._connections):
            connection.hang_up()

    async def close(self, grace_s: float) -> None:
        """Stops accepting, waits up to `grace_s` seconds for requests under way, then cancels them."""
        self.stop_accepting()
        await self._wait_empty(grace_s)
        for connection in tuple(self._connections):
            connection.cancel()
        await self._wait_empty(_CANCEL_S)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _wait_empty(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._connections:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            return

    def _sweep(self) -> None:
        self.date = b"date: %b\r\n" % formatdate(time.time(), usegmt=True).encode()
        now = self.loop.time()
        for connection in tuple(self._connections):
            connection.expire(now)
        self._sweeper = self.loop.call_later(self._sweep_s, self._sweep)


async def serve(handler: Handler, host: str, port: int, limits: Limits = Limits(), beside: str = "") -> Server:  # noqa: B008 - frozen
    """Listens on an address; port 0 takes a free one, which `Server.port` tells.

    On the address `beside`, where one is given, it listens on the same port too, if that can be had; if not, the log says so.

    Raises:
        ForebayError: the address cannot be had.
    """
    server = Server(handler, limits)
    try:
        await server.listen(host, port, beside)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ForebayError(f"cannot listen on {host}:{port}: {reason}: choose another address or port") from error
    return server

"""An HTTP/1.1 server for one handler.

`await serve(handler, host, port)` listens; `stop_accepting` and `close` end it without losing a request. A handler's task is cancelled
when its client goes away before the answer is complete, a half-closed connection included.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

from forebay.dataplane.http.connection import Connection
from forebay.dataplane.http.message import Handler, Headers, Limits, Request, Response
from forebay.dataplane.http.reader import Room
from forebay.runtime.errors import ForebayError

__all__ = ["Handler", "Headers", "Limits", "Request", "Response", "Server", "serve"]

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
        self._listener: asyncio.Server | None = None
        shortest = min(limits.header_timeout_s, limits.body_timeout_s, limits.keep_alive_s, limits.write_timeout_s)
        self._sweep_s = min(1.0, shortest / 4)
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> None:
        """Binds and accepts. Raises OSError when the address cannot be had."""
        self._sweep()
        self._listener = await self.loop.create_server(lambda: Connection(self), host, port, backlog=4096)
        self.port = self._listener.sockets[0].getsockname()[1]

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
        if self._listener is not None:
            self._listener.close()
            self._listener = None
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


async def serve(handler: Handler, host: str, port: int, limits: Limits = Limits()) -> Server:  # noqa: B008 - frozen
    """Listens on an address; port 0 takes a free one, which `Server.port` tells.

    Raises:
        ForebayError: the address cannot be had.
    """
    server = Server(handler, limits)
    try:
        await server.listen(host, port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ForebayError(f"cannot listen on {host}:{port}: {reason}: choose another address or port") from error
    return server

"""One client's connection: requests go to the handler one at a time, answers come in their order.

Requests are read whole before a handler sees them, since every handler here needs the body to decide anything. While one is being
answered, what the client sends ahead stays unparsed, and reading stops when that becomes much.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

from forebay.dataplane.http.errors import send_error
from forebay.dataplane.http.message import Handler, Limits, Request, Response
from forebay.dataplane.http.reader import Phase, Refusal, RequestReader, Room

log = logging.getLogger(__name__)

# How much a client may send ahead of the answer it waits for.
_AHEAD_BYTES = 64 * 1024
# How long a connection is still read after its last answer, so that the answer is not lost to a reset.
_LINGER_S = 2.0


class Host(Protocol):
    """What a connection needs of its server."""

    handler: Handler
    limits: Limits
    room: Room
    loop: asyncio.AbstractEventLoop
    draining: bool
    date: bytes

    def joined(self, connection: Connection) -> bool: ...
    def left(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """asyncio's callbacks, the handler's task, and the deadlines of each phase."""

    def __init__(self, host: Host) -> None:
        limits = host.limits
        self._host = host
        self._timeouts_s = {Phase.BETWEEN: limits.keep_alive_s, Phase.HEADERS: limits.header_timeout_s, Phase.BODY: limits.body_timeout_s}
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._reader: RequestReader = cast(RequestReader, None)
        self._ahead = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._response: Response | None = None
        self._lingering = False
        self._linger_until = 0.0
        self._unread: asyncio.Future[None] | None = None
        self._unread_until = 0.0
        self._deadline = 0.0
        self.closed = False

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._reader = RequestReader(self._host.limits, peer[0] if isinstance(peer, tuple) else str(peer or ""), self._host.room)
        self._arm(self._host.limits.header_timeout_s)
        if not self._host.joined(self):
            self._reader.refuse(503, "too many connections; try again shortly")
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.resume_writing()
        if self._task is None:
            self._leave()
        elif self._response is not None and not self._response.finished:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._task is None:
            self._feed(data)
            return
        self._ahead += data
        if len(self._ahead) > _AHEAD_BYTES:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        if self._unread is None and not self.closed:
            self._unread = self._host.loop.create_future()
            self._unread_until = self._host.loop.time() + self._host.limits.write_timeout_s

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.set_result(None)
            self._unread = None
            self._unread_until = 0.0

    # the wire of Response

    def put(self, data: bytes) -> None:
        if not self.closed:
            self._transport.write(data)

    async def drained(self) -> None:
        if self._unread is not None:
            # Shielded: cancelling one writer must not cancel what the transport is going to resolve.
            await asyncio.shield(self._unread)

    def abort(self) -> None:
        self._transport.abort()

    def closing(self) -> bool:
        return self._host.draining

    def date_line(self) -> bytes:
        return self._host.date

    # answering

    def _feed(self, data: bytes) -> None:
        turns = self._reader.turns
        self._reader.feed(data)
        if turns != self._reader.turns:
            self._arm(self._timeouts_s[self._reader.phase])
        self._advance()

    def _advance(self) -> None:
        """Starts the next request's answer."""
        if self._task is not None or self.closed:
            return
        if not self._reader.ready:
            if self._reader.wants_continue:
                self._reader.wants_continue = False
                self.put(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        following = self._reader.ready.popleft()
        self._deadline = 0.0
        if isinstance(following, Refusal):
            response = Response(self, Request("GET", "/", "", [], b"", "", keep_alive=False))
            send_error(response, following.status, following.message, retry_after_s=1 if following.status == 503 else None)
            self._linger()
            return
        self._response = Response(self, following)
        self._task = self._host.loop.create_task(self._answer(following, self._response))

    async def _answer(self, request: Request, response: Response) -> None:
        try:
            await self._host.handler(request, response)
            if not response.finished:
                log.error("a handler left a request unanswered", extra={"method": request.method, "path": request.path})
                self._fail(response, 500, "the request was not answered")
        except asyncio.CancelledError:
            self._fail(response, 503, "the server is shutting down")
        except Exception:
            log.exception("a handler failed", extra={"method": request.method, "path": request.path})
            self._fail(response, 500, "internal error")
        finally:
            self._answered(request, response)

    def _fail(self, response: Response, status: int, message: str) -> None:
        if self.closed or response.finished:
            return
        if response.started:
            response.abort()
        else:
            send_error(response, status, message, retry_after_s=1 if status == 503 else None)

    def _answered(self, request: Request, response: Response) -> None:
        self._task = self._response = None
        self._reader.give_back(len(request.body))
        if self.closed:
            self._leave()
        elif not response.keep_alive:
            self._linger()
        elif self._reader.ready:
            self._advance()
        elif self._reader.ended:
            self._linger()
        else:
            self._await_next()
            if self._host.draining:
                # The answer's head was sent before the server was told to stop, and promised to keep the connection.
                self.hang_up()

    def _await_next(self) -> None:
        self._arm(self._timeouts_s[self._reader.phase])
        ahead = self._take_ahead()
        if ahead:
            self._feed(ahead)
        else:
            self._advance()

    def _take_ahead(self) -> bytes:
        ahead = bytes(self._ahead)
        self._ahead.clear()
        if len(ahead) > _AHEAD_BYTES:
            self._transport.resume_reading()
        return ahead

    # ending

    def _leave(self) -> None:
        self._reader.give_back(self._reader.held)
        self._host.left(self)

    def hang_up(self) -> None:
        """Closes the connection when nothing is under way on it."""
        if self._task is None and self._reader.phase is Phase.BETWEEN and not self._lingering:
            self._transport.close()

    def cancel(self) -> None:
        """Cancels what is under way, or closes."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._transport.abort()

    def expire(self, now: float) -> None:
        """Ends what has lasted too long: the server asks every connection, far more cheaply than a timer for each."""
        if self._unread_until and now > self._unread_until:
            self._transport.abort()
        elif self._deadline and now > self._deadline:
            if self._lingering and self._transport.get_write_buffer_size() and now < self._linger_until:
                self._arm(_LINGER_S)
            elif self._lingering or self._reader.phase is Phase.BETWEEN:
                self._transport.abort()
            else:
                self._reader.refuse(408, "the request took too long to arrive")
                self._advance()

    def _linger(self) -> None:
        """Closes our side and reads on for a moment: closing with unread bytes would reset the connection and lose the answer."""
        self._lingering = True
        self._take_ahead()
        self._linger_until = self._host.loop.time() + self._host.limits.write_timeout_s
        self._arm(_LINGER_S)
        if not self._transport.is_closing():
            self._transport.write_eof()

    def _arm(self, seconds: float) -> None:
        self._deadline = self._host.loop.time() + seconds

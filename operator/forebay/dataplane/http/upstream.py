"""One connection to an upstream, and the answer that is being received on it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal, Protocol, cast

import httptools

# Past the first of these reading stops until the consumer has taken the buffer below the second.
_HIGH_BYTES = 256 * 1024
_LOW_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024


class UpstreamError(Exception):
    """An exchange that did not succeed. `connect` and `closed` before the first byte left nothing with the client yet."""

    def __init__(self, kind: Literal["connect", "timeout", "protocol", "closed"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Received:
    """An answer as far as it has arrived. It outlives its connection, which goes back to the pool with the last byte."""

    __slots__ = (
        "_buffer",
        "_deadline_at",
        "_error",
        "_looks_at",
        "_loop",
        "_size",
        "_timer",
        "_upstream",
        "_waiter",
        "complete",
        "headers",
        "status",
    )

    def __init__(self, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self._buffer: deque[bytes] = deque()
        self._size = 0
        self._error: UpstreamError | None = None
        self._upstream = upstream
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.Handle | None = None
        # Kept here: for a time so near that it is now, uvloop's handle does not know it.
        self._looks_at = 0.0
        self._deadline_at = 0.0

    async def head(self, timeout_s: float) -> None:
        """Waits for the status and headers."""
        while not self.status:
            await self._wait(timeout_s, "no answer")

    async def chunk(self, timeout_s: float) -> bytes:
        """The next piece of the body; empty at its end. What arrived before a failure is given out before the failure is raised."""
        while not self._buffer:
            if self.complete:
                return b""
            await self._wait(timeout_s, "nothing more")
        data = self._buffer.popleft()
        self._size -= len(data)
        if self._size < _LOW_BYTES and not self.complete:
            self._upstream.resume()
        return data

    def feed(self, data: bytes) -> None:
        self._buffer.append(data)
        self._size += len(data)
        if self._size > _HIGH_BYTES:
            self._upstream.pause()
        self._wake()

    def begin(self, status: int) -> None:
        self.status = status
        self._wake()

    def finish(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, error: UpstreamError) -> None:
        if not self.complete and self._error is None:
            self._error = error
            self._wake()

    def abandon(self) -> None:
        """Closes the connection when the answer is not complete."""
        self._stop_timer()
        if not self.complete:
            self.fail(UpstreamError("closed", "the answer was closed by its reader"))
            self._upstream.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, timeout_s: float, what: str) -> None:
        if self._error is not None:
            raise self._error
        self._deadline_at = self._loop.time() + timeout_s
        # One timer that looks again when it fires, instead of one armed and cancelled for every chunk of a stream.
        if self._timer is None or self._looks_at > self._deadline_at:
            self._stop_timer()
            self._look_later(what, timeout_s)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self.complete or self._error is not None:
                self._stop_timer()

    def _look(self, what: str, timeout_s: float) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() >= self._deadline_at:
            self.fail(UpstreamError("timeout", f"{what} within {timeout_s:g} s"))
            self._upstream.abort()
        else:
            self._look_later(what, timeout_s)

    def _look_later(self, what: str, timeout_s: float) -> None:
        self._looks_at = self._deadline_at
        self._timer = self._loop.call_at(self._deadline_at, self._look, what, timeout_s)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Pool(Protocol):
    """Where a connection goes when its answer is complete, and who hears of its end."""

    def made(self, upstream: Upstream) -> None: ...
    def idle(self, upstream: Upstream) -> None: ...
    def lost(self, upstream: Upstream) -> None: ...


class Upstream(asyncio.Protocol):
    """A connection that carries one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: tuple[str, int], pool: Pool) -> None:
        self._loop = loop
        self._pool = pool
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parser = httptools.HttpResponseParser(self)
        self._received: Received | None = None
        self._head_request = False
        self._interim = False
        self._until_eof = False
        self._reusable = False
        self._paused = False
        self._silent_bytes = 0
        self._pieces = 0
        self.address = address
        self.silent = True
        self.idle_since = 0.0

    async def exchange(self, parts: tuple[bytes, ...], method: str, first_byte_timeout_s: float) -> Received:
        """Writes a request and waits for the head of its answer. Cancelling it closes the socket."""
        received = self._received = Received(self, self._loop)
        self._head_request = method == "HEAD"
        self._interim = self._until_eof = False
        self._silent_bytes = 0
        self.silent = True
        if self._transport.is_closing():
            raise UpstreamError("closed", "the connection was closed")
        for part in parts:
            self._transport.write(part)
        try:
            await received.head(first_byte_timeout_s)
        except BaseException:
            received.abandon()
            raise
        return received

    def abort(self) -> None:
        """Closes the socket at once. An answer that only the end of the connection would have ended is not whole then."""
        self._until_eof = False
        self._transport.abort()

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._pool.made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        received, self._received = self._received, None
        if received is not None:
            if self._until_eof and received.status and exc is None:
                received.finish()
            else:
                received.fail(UpstreamError("closed", "the connection broke off"))
        self._pool.lost(self)

    def data_received(self, data: bytes) -> None:
        if self._received is None:
            # Nobody asked: an answer that nothing waits for would be taken for the next request's.
            self.abort()
            return
        self.silent = False
        pieces = self._pieces
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(f"the answer is not valid HTTP/1.1: {error}")
            return
        # Heads before the one that counts, headers, and trailers: the parser keeps them, and nobody waits for their end.
        self._silent_bytes = self._silent_bytes + len(data) if pieces == self._pieces else 0
        if self._received is not None and self._silent_bytes > _MAX_HEAD_BYTES:
            self._break(f"the headers of the answer are longer than {_MAX_HEAD_BYTES} bytes")

    # httptools

    def on_message_begin(self) -> None:
        if self._received is None:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._received is not None and not self._received.status:
            self._received.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        received = self._received
        if received is None:
            return
        status = self._parser.get_status_code()
        self._interim = status < 200
        if self._interim:
            received.headers.clear()
            return
        self._reusable = self._parser.should_keep_alive()
        framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in received.headers)
        self._until_eof = not framed and status not in (204, 304)
        received.begin(status)
        if self._head_request:
            # The parser would wait for the body that the headers describe.
            self._reusable = self._until_eof = False
            self.on_message_complete()

    def on_body(self, data: bytes) -> None:
        self._pieces += 1
        if self._received is not None:
            self._received.feed(data)

    def on_message_complete(self) -> None:
        received = self._received
        if received is None or self._interim:
            return
        self._received = None
        received.finish()
        self.resume()
        # Bytes that are still unsent belong to a request that was answered early; the next one would be read as its rest.
        if self._reusable and not self._transport.is_closing() and not self._transport.get_write_buffer_size():
            self.idle_since = self._loop.time()
            self._pool.idle(self)
        else:
            self.abort()

    def _break(self, message: str) -> None:
        received, self._received = self._received, None
        if received is not None:
            received.fail(UpstreamError("protocol", message))
        self.abort()

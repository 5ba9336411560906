"""An HTTP/1.1 client with a pool of kept connections per host, streaming answers with backpressure.

Closing an unfinished answer closes its socket: that is how an engine learns that nobody wants its tokens any more.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections import deque
from types import TracebackType

from forebay.dataplane.http.message import Headers, encode_head
from forebay.dataplane.http.upstream import Received, Upstream, UpstreamError

__all__ = ["Client", "Reply", "UpstreamError"]

# Longer than any engine keeps an idle connection; what dies earlier is noticed when it closes.
_IDLE_S = 90.0
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
_ONE_WRITE_BYTES = 16 * 1024
_READ_BYTES = 64 * 1024 * 1024


class Reply:
    """The head of an answer, and its body to read once: whole with `read`, or in pieces with `async for`.

    `idle_timeout_s` bounds the wait for each piece; it may be changed between two.
    """

    def __init__(self, received: Received, idle_timeout_s: float) -> None:
        self._received = received
        self.idle_timeout_s = idle_timeout_s
        self.status = received.status
        self.headers = received.headers

    def header(self, name: bytes) -> bytes | None:
        """The first header of this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read(self, max_bytes: int = _READ_BYTES) -> bytes:
        """The whole body.

        Raises:
            UpstreamError: it broke off (closed), stalled (timeout), or is longer than `max_bytes` (protocol).
        """
        whole: bytes | bytearray = b""
        async for chunk in self:
            if len(whole) + len(chunk) > max_bytes:
                self.close()
                raise UpstreamError("protocol", f"the answer is longer than {max_bytes} bytes")
            if not whole:
                whole = chunk
                continue
            if isinstance(whole, bytes):
                whole = bytearray(whole)
            whole += chunk
        return bytes(whole)

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._received.chunk(self.idle_timeout_s)
        except BaseException:
            self.close()
            raise
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def close(self) -> None:
        """Closes the connection when the body is unfinished; a finished answer's connection is back in the pool already."""
        self._received.abandon()

    async def __aenter__(self) -> Reply:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Client:
    """Sends requests, and keeps idle connections for the next ones."""

    def __init__(self, *, max_idle_per_host: int = 64, ssl: tls.SSLContext | None = None) -> None:
        self._max_idle = max_idle_per_host
        self._ssl = ssl
        self._idle: dict[tuple[str, int], deque[Upstream]] = {}
        self._open: set[Upstream] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(
        self,
        host: str,
        port: int,
        method: str,
        path: str,
        headers: Headers = (),
        body: bytes = b"",
        *,
        connect_timeout_s: float = 5,
        first_byte_timeout_s: float = 120,
        idle_timeout_s: float = 60,
    ) -> Reply:
        """Sends one request and returns at the head of its answer.

        `headers` come without host, content-length and those of one connection (`headers.end_to_end`). A kept connection that dies
        before the first byte is tried again, once, on a fresh one.

        Raises:
            UpstreamError: connect (also when that takes too long), timeout (no head in time), closed (broke off), protocol (not HTTP).
            ValueError: a header contains a line break.
        """
        name = f"[{host}]" if ":" in host else host
        length = b"content-length: %d\r\n" % len(body) if body or method in _WITH_BODY else b""
        head = encode_head(f"{method} {path} HTTP/1.1\r\n".encode("latin-1"), headers, f"host: {name}:{port}\r\n".encode("latin-1"), length)
        parts = (head + body,) if len(body) <= _ONE_WRITE_BYTES else (head, body)
        kept = self._take(host, port)
        if kept is not None:
            try:
                return Reply(await kept.exchange(parts, method, first_byte_timeout_s), idle_timeout_s)
            except UpstreamError as error:
                if error.kind != "closed" or not kept.silent:
                    raise
        fresh = await self._connect(host, port, connect_timeout_s)
        return Reply(await fresh.exchange(parts, method, first_byte_timeout_s), idle_timeout_s)

    async def close(self) -> None:
        """Closes every connection, those in use included."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for upstream in tuple(self._open):
            upstream.abort()

    def _take(self, host: str, port: int) -> Upstream | None:
        idle = self._idle.get((host, port))
        # The most recently used one is the least likely to have been closed by the other side.
        return idle.pop() if idle else None

    async def _connect(self, host: str, port: int, timeout_s: float) -> Upstream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, upstream = await loop.create_connection(lambda: Upstream(loop, (host, port), self), host, port, ssl=self._ssl)
        except TimeoutError:
            raise UpstreamError("connect", f"no connection to {host}:{port} within {timeout_s:g} s") from None
        except (OSError, UnicodeError, OverflowError) as error:
            # A name or a port that none can have is an address that nobody has.
            reason = getattr(error, "strerror", None) or error
            raise UpstreamError("connect", f"no connection to {host}:{port}: {reason}") from error
        return upstream

    # what an Upstream tells its pool

    def made(self, upstream: Upstream) -> None:
        """Remembers a connection until it is lost, so that `close` reaches it."""
        self._open.add(upstream)

    def idle(self, upstream: Upstream) -> None:
        """Takes back a connection whose answer is complete."""
        kept = self._idle.setdefault(upstream.address, deque())
        if self._closed or len(kept) >= self._max_idle:
            upstream.abort()
            return
        kept.append(upstream)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_IDLE_S / 3, self._sweep)

    def lost(self, upstream: Upstream) -> None:
        """Forgets a connection that is closed."""
        self._open.discard(upstream)
        kept = self._idle.get(upstream.address)
        if kept is not None and upstream in kept:
            kept.remove(upstream)
        if not kept:
            self._idle.pop(upstream.address, None)

    def _sweep(self) -> None:
        """Closes what has been idle for long: a host that is gone for good never tells."""
        oldest = asyncio.get_running_loop().time() - _IDLE_S
        for kept in self._idle.values():
            for upstream in kept:
                if upstream.idle_since < oldest:
                    upstream.abort()
        self._sweeper = asyncio.get_running_loop().call_later(_IDLE_S / 3, self._sweep) if self._idle else None

"""A request, the answer to it, and what a client may take, as a handler sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

Headers = Iterable[tuple[bytes, bytes]]

STATUS_LINES: dict[int, bytes] = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One whole request. Header names are lower-case; `path` is as it was sent, percent signs included, without its query."""

    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    peer: str
    keep_alive: bool = True
    http10: bool = False

    def header(self, name: bytes) -> bytes | None:
        """The first header of this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them together, may take. Times in seconds, each from the start of its phase."""

    max_body_bytes: int = 16 * 1024 * 1024
    # Of all requests that are being read or answered. A pod of the gateway, or a sidecar, has 512 MiB for everything.
    max_bodies_bytes: int = 128 * 1024 * 1024
    max_header_bytes: int = 32 * 1024
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    keep_alive_s: float = 75.0
    # Longest time that a client may leave an answer unread.
    write_timeout_s: float = 60.0
    max_connections: int = 10_000


class Wire(Protocol):
    """What an answer needs of its connection."""

    closed: bool

    def put(self, data: bytes) -> None: ...
    async def drained(self) -> None: ...
    def abort(self) -> None: ...
    def closing(self) -> bool: ...
    def date_line(self) -> bytes: ...


def encode_head(first_line: bytes, headers: Headers, *more: bytes) -> bytes:
    """A message's head, its empty line included.

    Raises:
        ValueError: a header would break the head into more lines than it has.
    """
    parts = [first_line, *filter(None, more)]
    for name, value in headers:
        parts.append(b"%b: %b\r\n" % (name, value))
    head = b"".join(parts)
    # One count for the whole head: a line break inside any value would let its sender write headers of his own.
    if head.count(b"\n") != len(parts) or head.count(b"\r") != len(parts):
        raise ValueError("a header contains a line break")
    return head + b"\r\n"


class Response:
    """What a handler answers with: either `send` once, or `start`, any number of `write`, then `end`.

    Once the client has gone everything here does nothing; the handler's task is cancelled then.
    """

    __slots__ = ("_chunked", "_request", "_wire", "finished", "keep_alive", "started", "status")

    def __init__(self, wire: Wire, request: Request) -> None:
        self._wire = wire
        self._request = request
        self._chunked = False
        self.keep_alive = request.keep_alive
        self.started = False
        self.finished = False
        self.status = 0

    @property
    def gone(self) -> bool:
        """Whether the client has hung up."""
        return self._wire.closed

    def send(self, status: int, body: bytes = b"", headers: Headers = ()) -> None:
        """The whole answer, with its content-length."""
        length = b"" if status < 200 or status in (204, 304) else b"content-length: %d\r\n" % len(body)
        head = self._head(status, headers, length)
        self._wire.put(head if self._request.method == "HEAD" or not length else head + body)
        self.finished = True

    def start(self, status: int, headers: Headers = ()) -> None:
        """The head of an answer whose length is not known yet."""
        # HTTP/1.0 knows no chunks: there the end of the connection is the end of the answer.
        self.keep_alive = self.keep_alive and not self._request.http10
        self._chunked = not self._request.http10
        self._wire.put(self._head(status, headers, b"transfer-encoding: chunked\r\n" if self._chunked else b""))

    async def write(self, chunk: bytes) -> None:
        """A piece of the body. Waits while the client reads more slowly than it is written to."""
        if not self.started or self.finished:
            raise RuntimeError("write belongs between start and end")
        if not chunk or self._wire.closed or self._request.method == "HEAD":
            return
        self._wire.put(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)
        await self._wire.drained()

    def end(self) -> None:
        """Ends what `start` began."""
        if not self.started or self.finished:
            raise RuntimeError("end belongs after start, once")
        self.finished = True
        if self._chunked and self._request.method != "HEAD":
            self._wire.put(b"0\r\n\r\n")

    def abort(self) -> None:
        """Closes the connection at once, so that the client can tell that the answer is not whole."""
        self.finished = True
        self._wire.abort()

    def break_off(self) -> None:
        """Closes the connection once what was written is sent, without the answer's end: the client can tell, and misses nothing before."""
        self.finished, self.keep_alive = True, False

    def _head(self, status: int, headers: Headers, framing: bytes) -> bytes:
        if self.started:
            raise RuntimeError("an answer starts once")
        self.keep_alive = self.keep_alive and not self._wire.closing()
        connection = b"" if self.keep_alive else b"connection: close\r\n"
        if self.keep_alive and self._request.http10:
            connection = b"connection: keep-alive\r\n"
        line = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        head = encode_head(line, headers, self._wire.date_line(), framing, connection)
        self.started = True
        self.status = status
        return head


Handler = Callable[[Request, Response], Awaitable[None]]

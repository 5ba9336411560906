"""Bytes to whole requests, within limits. No socket, no clock: the connection has those."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

import httptools

from forebay.dataplane.http.message import Limits, Request


@dataclass(slots=True)
class Refusal:
    """A request that no handler sees; the connection ends with its answer."""

    status: int
    message: str


_INVALID = "the request is not valid HTTP/1.1"


class Phase(IntEnum):
    """What the next bytes belong to."""

    BETWEEN = 0
    HEADERS = 1
    BODY = 2


class Room:
    """How many more bytes of bodies all connections of a server may hold together."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size


class RequestReader:
    """httptools' callbacks for one connection.

    `ready` holds what was read, in order. Once `ended` nothing more is taken: the last entry is the last answer of the connection.
    `held` is what its bodies have taken of the room that it shares with others, until it is given back.
    """

    def __init__(self, limits: Limits, peer: str, room: Room | None = None) -> None:
        self._limits = limits
        self._peer = peer
        self._room = room or Room(limits.max_bodies_bytes)
        self._parser = httptools.HttpRequestParser(self)
        self.held = 0
        self._silent_bytes = 0
        self.ready: deque[Request | Refusal] = deque()
        self.phase = Phase.BETWEEN
        self.ended = False
        self.wants_continue = False
        # Counts changes of phase and pieces of a message; a caller sees by them that something happened.
        self.turns = 0
        self._pieces = 0
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._body: bytes | bytearray = b""
        self._has_body = False
        self._keep_alive = True

    def feed(self, data: bytes) -> None:
        """Takes what arrived. Does nothing once `ended`."""
        if self.ended:
            return
        pieces = self._pieces
        self._parse(data)
        # A header line or a trailer that never ends reaches no callback; only the bytes fed show it.
        self._silent_bytes = self._silent_bytes + len(data) if self.phase and pieces == self._pieces else 0
        if self._silent_bytes > self._limits.max_header_bytes:
            self._refuse_headers()

    def refuse(self, status: int, message: str) -> None:
        """Ends reading with an error, unless it has ended."""
        if not self.ended:
            self.ready.append(Refusal(status, message))
            self.ended = True
            self.give_back(len(self._body))
            self._body = b""

    def give_back(self, size: int) -> None:
        """So many bytes of bodies are held no longer."""
        self.held -= size
        self._room.left += size

    def on_message_begin(self) -> None:
        self._reset()
        self._turn(Phase.HEADERS)

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(len(name) + len(value) + 4)
        if self.phase is Phase.HEADERS:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._turn(Phase.BODY)
        self._keep_alive = self._parser.should_keep_alive()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self.refuse(400, _INVALID)
        for name, value in self._headers:
            if name == b"content-length":
                self._has_body = value != b"0"
                if int(value) > self._limits.max_body_bytes:
                    self._refuse_body()
            elif name == b"transfer-encoding":
                self._has_body = True
                if version == "1.0":
                    # HTTP/1.0 knows no chunks: whoever passed this on may have seen its end elsewhere (RFC 9112 6.1).
                    self.refuse(400, _INVALID)
            elif name == b"expect" and value.lower() == b"100-continue":
                self.wants_continue = True

    def on_body(self, data: bytes) -> None:
        self._pieces += 1
        if self.ended:
            return
        if len(self._body) + len(data) > self._limits.max_body_bytes:
            self._refuse_body()
        elif len(data) > self._room.left:
            self.refuse(503, "too many bytes of requests are under way; try again shortly")
        else:
            self.give_back(-len(data))
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        if not self._body:
            # Nearly always the only piece.
            self._body = data
            return
        if isinstance(self._body, bytes):
            # Not a list of pieces: one of two bytes takes fifty.
            self._body = bytearray(self._body)
        self._body += data

    def on_message_complete(self) -> None:
        self._turn(Phase.BETWEEN)
        self.wants_continue = False
        if self.ended or self._body_is_unread():
            return
        path, _, query = self._url.partition(b"?")
        if not path.startswith(b"/") and b"://" in path:
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        self.ready.append(
            Request(
                method=self._parser.get_method().decode("ascii"),
                path=path.decode("latin-1"),
                query=query.decode("latin-1"),
                headers=self._headers,
                body=bytes(self._body),
                peer=self._peer,
                keep_alive=self._keep_alive,
                http10=self._parser.get_http_version() == "1.0",
            )
        )
        self._body = b""
        self.ended = not self._keep_alive

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.refuse(400, _INVALID)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """No protocol is upgraded to: the request is answered as it stands."""
        if self.ended or not self._body_is_unread():
            self._end_after_last()
            return
        # The parser skips the body of a request that asks for an upgrade, as Java's client does with every first one.
        lines = [b"%b: %b\r\n" % pair for pair in self._headers if pair[0] != b"upgrade"]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (
            self._parser.get_method(),
            self._url,
            self._parser.get_http_version().encode(),
            b"".join(lines),
        )
        self._parser = httptools.HttpRequestParser(self)
        self._parse(head + rest)

    def _body_is_unread(self) -> bool:
        return self._has_body and self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"

    def _turn(self, phase: Phase) -> None:
        self.phase = phase
        self.turns += 1
        self._pieces += 1

    def _count_header(self, size: int) -> None:
        self._pieces += 1
        self._header_bytes += size
        if self._header_bytes > self._limits.max_header_bytes:
            self._refuse_headers()

    def _refuse_headers(self) -> None:
        self.refuse(431, f"the headers are longer than {self._limits.max_header_bytes} bytes")

    def _refuse_body(self) -> None:
        self.refuse(413, f"the body is longer than {self._limits.max_body_bytes} bytes")

    def _end_after_last(self) -> None:
        self.ended = True
        if self.ready and isinstance(self.ready[-1], Request):
            self.ready[-1].keep_alive = False

"""Passes TCP connections on to one of several addresses: what a Service's own address does in a cluster.

Bytes go through as they come, with the pace of the slower side. A target that does not answer is left out for this connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

Target = tuple[str, int]

_CONNECT_S = 2.0


class _Side(asyncio.Protocol):
    """One end of a connection; what it receives goes to the other end, and is kept until there is one."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.other: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def join(self, other: asyncio.Transport) -> None:
        """Begins to pass on to the other end."""
        self.other = other
        for data in self._early:
            other.write(data)
        self._early.clear()
        if self._ended:
            other.write_eof()
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.write(data)
            return
        self._early.append(data)
        self.transport.pause_reading()

    def eof_received(self) -> bool:
        self._ended = True
        if self.other is not None and not self.other.is_closing():
            self.other.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is None:
            return
        if exc is None:
            self.other.close()
        else:
            self.other.abort()


class _Client(_Side):
    """The accepted end; it looks for the other one."""

    def __init__(self, forwarder: Forwarder) -> None:
        super().__init__()
        self._forwarder = forwarder
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._forwarder.open.add(self.transport)
        self._task = asyncio.ensure_future(self._connect())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forwarder.open.discard(self.transport)
        if self._task is not None:
            self._task.cancel()

    async def _connect(self) -> None:
        for host, port in self._forwarder.in_turn():
            try:
                async with asyncio.timeout(_CONNECT_S):
                    transport, side = await asyncio.get_running_loop().create_connection(_Side, host, port)
            except (OSError, TimeoutError):
                continue
            side.join(self.transport)
            self.join(transport)
            return
        self.transport.abort()


class Forwarder:
    """Listens on one address. `targets` gives the addresses that may be connected to now."""

    def __init__(self, targets: Callable[[], Sequence[Target]]) -> None:
        self._targets = targets
        self._server: asyncio.Server | None = None
        self._turn = 0
        self.open: set[asyncio.Transport] = set()
        self.port = 0

    async def listen(self, host: str, port: int) -> None:
        """OSError where the address cannot be had; port 0 takes a free one."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Client(self), host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    def in_turn(self) -> list[Target]:
        """All targets, beginning with another one each time."""
        targets = list(self._targets())
        self._turn += 1
        start = self._turn % len(targets) if targets else 0
        return targets[start:] + targets[:start]

    async def close(self) -> None:
        """Ends the listening and every connection."""
        if self._server is not None:
            self._server.close()
        for transport in tuple(self.open):
            transport.abort()

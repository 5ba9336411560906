"""A sidecar as far as its metrics go: whatever a test has it say, over a real socket."""

from __future__ import annotations

import asyncio
from typing import Self


class Served:
    """Answers every request on a port of its own, and counts them."""

    def __init__(self, name: str) -> None:
        self.name, self.port, self.asked = name, 0, 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def text(self) -> str:
        """What it says at the moment."""
        raise NotImplementedError

    def reply(self) -> bytes:
        body = self.text().encode()
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(self.reply())
        await writer.drain()
        writer.close()

"""Raw sockets and small servers for tests of the data plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from forebay.dataplane.http.server import Handler, Limits, Request, Response, Server, serve

T = TypeVar("T")

PATIENCE_S = 5.0


async def soon(awaitable: Awaitable[T]) -> T:
    """What must happen, within a time that only a hang exceeds."""
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable


async def until(true: Callable[[], bool]) -> None:
    """Waits for a condition that some other task is about to make true."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def serving(handler: Handler, limits: Limits | None = None) -> AsyncIterator[Server]:
    server = await serve(handler, "127.0.0.1", 0, limits or Limits())
    try:
        yield server
    finally:
        await server.close(0)


class Wire:
    """A client that sends exactly the bytes it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        raw = await soon(self.reader.readuntil(b"\r\n\r\n"))
        first, *lines = raw[:-4].split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        assert len(headers) == len(lines), raw
        return int(first.split()[1]), headers

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        status, headers = await self.head()
        if b"transfer-encoding" in headers:
            return status, headers, await self.chunks()
        return status, headers, await soon(self.reader.readexactly(int(headers.get(b"content-length", b"0"))))

    async def chunks(self) -> bytes:
        body: list[bytes] = []
        while True:
            size = int(await soon(self.reader.readuntil(b"\r\n")), 16)
            data = await soon(self.reader.readexactly(size + 2))
            if not size:
                return b"".join(body)
            body.append(data[:-2])

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        return await soon(self.reader.read())

    def close(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def wire_to(port: int) -> AsyncIterator[Wire]:
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield wire
    finally:
        wire.close()


async def echo(request: Request, response: Response) -> None:
    response.send(200, f"{request.method} {request.path} ".encode() + request.body)

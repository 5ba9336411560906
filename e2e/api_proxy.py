"""A plain HTTP proxy in front of the API server that can end its client at the worst moment: a write is done, and its answer is not heard.

Each connection carries one request, so that nothing of HTTP but the head must be understood. It exists because the API server's own
connections are encrypted: nobody else can say which write a client has made.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from e2e.controlplane import netns
from e2e.controlplane.cluster import ControlPlane
from e2e.controlplane.commands import API_PORT

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
_HOP = re.compile(rb"\r\n(?:connection|host): [^\r]*", re.I)
_MOST_HEAD_BYTES = 64 * 1024


class ApiProxy:
    """The proxy, as a context manager.

    Attributes:
        url: its address.
        writes: what was written through it, as `METHOD path`, leases left out, oldest first.
    """

    def __init__(self, control_plane: ControlPlane) -> None:
        self._tls = ssl.create_default_context(cafile=str(control_plane.credentials.ca))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="api-proxy", daemon=True)
        self._listening = threading.Event()
        self._after, self._then = 0, _nothing
        self.writes: list[str] = []
        self.url = ""

    def __enter__(self) -> ApiProxy:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_MOST_HEAD_BYTES)
        host, port = server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        self._listening.set()
        await self._stop.wait()
        server.close()

    def arm(self, count: int, then: Callable[[], None]) -> None:
        """Forgets what was written, and calls `then` when so many writes are done. The last one's answer goes nowhere."""
        self.writes = []
        self._after, self._then = count, then

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            # A client sends one request, so that there is something to read only when it is gone.
            await _first(self._forward(head, body, writer), reader.read(1))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client or the server went away: so does the connection
        finally:
            writer.close()

    async def _forward(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        line, _, fields = head.partition(b"\r\n")
        own = f"\r\nHost: {netns.HOST_IP}:{API_PORT}\r\nConnection: close\r\n".encode()
        answer, request = await asyncio.open_connection(netns.HOST_IP, API_PORT, ssl=self._tls)
        try:
            request.write(line + own + _HOP.sub(b"", b"\r\n" + fields).removeprefix(b"\r\n") + body)
            if line.startswith(b"GET ") or b"/leases" in line:
                while piece := await answer.read(65536):
                    writer.write(piece)
                    await writer.drain()
            elif not self._written(line, whole := await answer.read()):
                writer.write(whole)
                await writer.drain()
        finally:
            request.close()

    def _written(self, line: bytes, answer: bytes) -> bool:
        """Whether that was the last write."""
        method, path, _ = line.decode().split(" ", 2)
        status = answer.split(b" ", 2)[1:2]
        self.writes.append(f"{method} {path.partition('?')[0]} {b''.join(status).decode()}")
        if len(self.writes) != self._after:
            return False
        self._then()
        return True


async def _first(*both: Coroutine[Any, Any, object]) -> None:
    """Until one of them ends; the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in both]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _nothing() -> None:
    """Where nothing is armed."""

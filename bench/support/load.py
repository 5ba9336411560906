"""Load over loopback: so many connections, each with one request under way, for so long. Latencies are kept one by one.

wrk is lighter and takes over where only the count matters; this one works everywhere and sees first bytes and ends of streams.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import httptools

from bench.support.process import HOST
from forebay.runtime.errors import ForebayError

NONCE = b"NONCE"
"""Stands in a body for a number that no other request has."""

_numbers = itertools.count(time.time_ns())


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of whom."""

    port: int
    path: str
    body: bytes
    key: str = ""

    def head(self) -> bytes:
        bearer = f"authorization: Bearer {self.key}\r\n" if self.key else ""
        return f"POST {self.path} HTTP/1.1\r\nhost: {HOST}:{self.port}\r\n{bearer}content-type: application/json\r\n".encode()

    def request(self) -> bytes:
        body = self.body.replace(NONCE, b"%d" % next(_numbers))
        return self.head() + b"content-length: %d\r\n\r\n%b" % (len(body), body)


@dataclass(slots=True)
class Load:
    """What came of it. Times in seconds, of answers with status 200 alone."""

    requests: int = 0
    failed: int = 0
    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    first_bytes_s: list[float] = field(default_factory=list)


class _Asking(asyncio.Protocol):
    """One connection: asks again as soon as it is answered, until the time is over."""

    def __init__(self, target: Target, until: float, load: Load) -> None:
        self._target, self._until, self._load = target, until, load
        self.done = asyncio.get_running_loop().create_future()
        self._began = self._first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._first = 0.0
        request = self._target.request()
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._first = self._first or time.perf_counter()

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self._load.requests += 1
        if self._parser.get_status_code() == 200:
            self._load.latencies_s.append(now - self._began)
            self._load.first_bytes_s.append(self._first - self._began)
        else:
            self._load.failed += 1
        if now < self._until:
            asyncio.get_running_loop().call_soon(self._ask)
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self._until:
            self._load.failed += 1
        if not self.done.done():
            self.done.set_result(None)


async def drive(target: Target, connections: int, seconds: float) -> Load:
    """Asks for so many seconds.

    Raises:
        ForebayError: nothing was answered with status 200.
    """
    loop, load, began = asyncio.get_running_loop(), Load(), time.perf_counter()
    until = began + seconds
    asking = [(await loop.create_connection(lambda: _Asking(target, until, load), HOST, target.port))[1] for _ in range(connections)]
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(one.done for one in asking))
    load.seconds = time.perf_counter() - began
    return _answered(load, target)


def _answered(load: Load, target: Target) -> Load:
    if load.requests <= load.failed:
        raise ForebayError(f"no request to {target.path} on port {target.port} was answered with 200, {load.failed} failed")
    return load


_LUA = """
local n = 0
local first = "{first}"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
{key}
local body = [==[{body}]==]
function request()
  n = n + 1
  return wrk.format(nil, nil, nil, (string.gsub(body, "NONCE", first .. n)))
end
"""


async def drive_with_wrk(target: Target, connections: int, seconds: float, folder: Path) -> Load:
    """The same by wrk, which counts requests but not each one's latency. Whole seconds, at least one."""
    key = f'wrk.headers["Authorization"] = "Bearer {target.key}"' if target.key else ""
    script = folder / "ask.lua"
    script.write_text(_LUA.format(first=next(_numbers), key=key, body=target.body.decode()))
    whole = max(1, round(seconds))
    argv = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{whole}s",
        "--timeout",
        "20s",
        "-s",
        str(script),
        f"http://{HOST}:{target.port}{target.path}",
    ]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    text = (await process.communicate())[0].decode()
    counted = re.search(r"(\d+) requests in ([\d.]+)s", text)
    if counted is None:
        raise ForebayError(f"wrk: {text[-500:]}")
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = int(refused[1] if refused else 0) + sum(map(int, broken.groups() if broken else ()))
    return _answered(Load(requests=int(counted[1]), failed=failed, seconds=float(counted[2])), target)


def has_wrk() -> bool:
    return shutil.which("wrk") is not None

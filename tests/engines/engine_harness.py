"""Engines on real sockets inside a test, and the smallest client that sees every byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from openai import AsyncOpenAI
from prometheus_client.parser import text_string_to_metric_families

from forebay.dataplane.http.server import Server, serve
from forebay.engines.sim.app import Simulator
from forebay.engines.sim.engine import Engine
from forebay.engines.sim.requests import Reading
from forebay.engines.sim.stepping import Profile

FAST = Profile(base_s=0.001, per_token_s=0.0, per_kv_token_s=0.0, max_concurrency=64)


@dataclass
class Running:
    """A served engine. `died` counts how often it was told to die."""

    server: Server
    engine: Engine
    died: list[None]

    @property
    def port(self) -> int:
        return self.server.port


@asynccontextmanager
async def a_simulator(profile: Profile = FAST, ready_at_s: float = 0.0) -> AsyncIterator[Running]:
    died: list[None] = []
    engine = Engine(profile, die=lambda: died.append(None))
    steps = asyncio.create_task(engine.run())
    server = await serve(Simulator(engine, Reading("sim", 8, seed=1), ready_at_s).handler(), "127.0.0.1", 0)
    try:
        yield Running(server, engine, died)
    finally:
        await server.close(0)
        steps.cancel()


def client(port: int) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="unused", max_retries=0)


def encoded(method: str, path: str, body: Any = None) -> bytes:
    content = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return f"{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n".encode() + content


async def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], bytes]:
    """One request on its own connection: status, headers, body as it came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(encoded(method, path, body))
        answer = await reader.read()
    finally:
        writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}, content


async def samples(port: int) -> dict[str, float]:
    """Every sample of /metrics, by name and labels without the model's."""
    _, _, text = await ask(port, "GET", "/metrics")
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "model_name")
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def eventually(condition: Callable[[], bool | Awaitable[bool]], within_s: float = 10.0) -> None:
    """Polls until the condition holds."""
    async with asyncio.timeout(within_s):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.005)

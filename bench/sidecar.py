"""What the sidecar adds to a request: latency against going straight to the same engine, and its own CPU.

The engine is the project's simulator with steps that take no time, so what is left is the way there and back. Latency is measured with
one connection, where nothing waits for anything else; CPU with several, as it is under load. Both ways take turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bench.support import options
from bench.support.load import Load, Target, drive
from bench.support.process import HOST, Measured, free_port, listening, measuring, running
from bench.support.table import digits, median, quantile
from forebay.api.canonical import sealed

NAME = "sidecar"
HELP = "latency and CPU that the sidecar adds, against going straight to the same engine"
OPTIONS = (options.seconds, options.rounds)

CONNECTIONS = 16
_WARM_SHARE = 0.3
_MODEL = "bench"
_CHAT = {"model": _MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Can the parcel still be redirected? " * 20}]}
_TEXTS = [f"text {number}: which parcels are late, and by how much? " * 3 for number in range(16)]


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of request, and the configuration that its pool has."""

    name: str
    path: str
    body: dict[str, Any]
    task: str
    window_s: float = 0.0


_KINDS = (
    _Kind("chat, whole answer", "/v1/chat/completions", _CHAT, "Chat"),
    _Kind("chat, 64-token stream", "/v1/chat/completions", {**_CHAT, "stream": True}, "Chat"),
    _Kind("embeddings, 16 texts", "/v1/embeddings", {"model": _MODEL, "input": _TEXTS}, "Embeddings"),
    _Kind("embeddings, 16 texts, 5 ms window", "/v1/embeddings", {"model": _MODEL, "input": _TEXTS}, "Embeddings", 0.005),
)


@dataclass(slots=True)
class _Way:
    """Latencies of one way, in seconds, over all rounds; to the end, and to the first byte of the body."""

    whole: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def take(self, load: Load) -> None:
        self.whole += load.latencies_s
        self.first += load.first_bytes_s


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    return measuring(_run(args))


async def _run(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as root:
        for number, kind in enumerate(_KINDS):
            folder = Path(root) / str(number)
            folder.mkdir()
            async with _pair(kind, folder) as (sidecar, port, engine_port):
                rows.append(await _measured(kind, sidecar, port, engine_port, args))
    return rows


@asynccontextmanager
async def _pair(kind: _Kind, folder: Path) -> AsyncIterator[tuple[Measured, int, int]]:
    """An engine and the sidecar before it, with their ports."""
    port, engine_port = free_port(), free_port()
    config = folder / "sidecar.json"
    config.write_bytes(orjson.dumps(_document(kind)))
    forebay = [sys.executable, "-m", "forebay"]
    steps = ["--base", "0s", "--per-token", "0s", "--per-kv-token", "0s"]
    engine = [*forebay, "engine", "sim", "--host", HOST, "--port", str(engine_port), "--model", _MODEL, *steps]
    sidecar = [*forebay, "sidecar", "--config", str(config), "--host", HOST, "--port", str(port), "--engine", f"{HOST}:{engine_port}"]
    async with running("engine", engine, folder, core=-1) as engine_process:
        await listening(engine_process, engine_port, folder)
        async with running("sidecar", [*sidecar, "--grace", "1s"], folder) as process:
            await listening(process, port, folder)
            yield process, port, engine_port


def _document(kind: _Kind) -> dict[str, Any]:
    batching = {"mode": "Fixed", "maxBatchSize": 256, "windowSeconds": kind.window_s, "maxBatchTokens": 32768}
    queue = {"maxDepth": 512, "maxWaitSeconds": 30.0}
    only = {"name": "interactive", "tier": "Interactive", "priority": 100, "objectives": {}, "batching": batching, "queue": queue}
    head = {"schemaVersion": 1, "pool": {"namespace": "default", "name": "bench"}, "model": _MODEL, "task": kind.task, "engine": "VLLM"}
    return sealed({**head, "classes": [only], "defaultClass": "interactive"})


async def _measured(kind: _Kind, sidecar: Measured, port: int, engine_port: int, args: argparse.Namespace) -> dict[str, Any]:
    body = orjson.dumps(kind.body)
    through, straight = Target(port, kind.path, body), Target(engine_port, kind.path, body)
    for target in (through, straight):
        await drive(target, 1, args.seconds * _WARM_SHARE)
    ways = {through: _Way(), straight: _Way()}
    cpu_us, requests, failed = [], 0, 0
    for _ in range(args.rounds):
        for target, way in ways.items():
            way.take(await drive(target, 1, args.seconds / 2))
        before = sidecar.cpu_s()
        load = await drive(through, CONNECTIONS, args.seconds)
        cpu_us.append((sidecar.cpu_s() - before) / load.requests * 1e6)
        requests, failed = requests + load.requests, failed + load.failed
    return {
        "name": kind.name,
        **_latency(ways[straight], ways[through]),
        "cpu_us": digits(median(cpu_us)),
        "cpu_us_least": digits(min(cpu_us)),
        "cpu_us_most": digits(max(cpu_us)),
        "rss_mib": digits(sidecar.rss_mib()),
        "requests": requests,
        "failed": failed,
    }


def _latency(straight: _Way, through: _Way) -> dict[str, float]:
    row: dict[str, float] = {}
    for share in (0.5, 0.95):
        there, here = quantile(straight.whole, share) * 1e3, quantile(through.whole, share) * 1e3
        name = f"p{share * 100:.0f}"
        row |= {f"straight_{name}_ms": digits(there), f"{name}_ms": digits(here), f"added_{name}_ms": digits(here - there)}
        row[f"added_first_byte_{name}_ms"] = digits((quantile(through.first, share) - quantile(straight.first, share)) * 1e3)
    return row

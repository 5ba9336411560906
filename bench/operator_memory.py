"""What it takes to operate many pools: resident memory of `forebay operator`, and CPU of one reconcile.

The operator is the real process, alone on a core. It speaks HTTP with a Kubernetes API in another process: holds its lease there, watches
by kopf, applies, and scrapes every replica's sidecar. That API keeps its objects in memory and answers from the other core.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from bench.support import options
from bench.support.fleet import SETTINGS
from bench.support.process import HOST, Measured, free_port, measuring, running
from bench.support.progress import progress
from bench.support.table import digits
from forebay.dataplane.http.client import Client, UpstreamError
from forebay.runtime.errors import ForebayError

NAME = "operator-memory"
HELP = "memory and CPU of the operator's process, by the number of pools"
OPTIONS = (options.pools,)

_LONGEST_S = 300.0
_LOOK_S = 0.25
_RECONCILES = re.compile(r'^forebay_operator_reconcile_total\{result="(\w+)",what="pool"\} ([0-9.e+]+)$', re.MULTILINE)
_QUEUED = re.compile(r"^forebay_operator_queue_depth ([0-9.e+]+)$", re.MULTILINE)


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    return measuring(_run(args.pools))


async def _run(counts: list[int]) -> list[dict[str, Any]]:
    return [await _row(pools) for pools in counts]


async def _row(pools: int) -> dict[str, Any]:
    """All pools are reconciled once before it is watched; they come again an interval after they were done, so not all do meanwhile."""
    progress(NAME, f"{pools} pools")
    client = Client()
    try:
        with tempfile.TemporaryDirectory(prefix="forebay-bench-") as root:
            folder = Path(root)
            async with _cluster(folder, pools) as api, _operator(folder) as (operator, port):
                settled_s = await _settled(client, operator, port, pools, folder)
                figures = await _watched(client, operator, port, SETTINGS.interval_s)
                pods = len((await _asked(client, api, "/api/v1/pods"))["items"])
    finally:
        await client.close()
    rounded = {key: digits(value) if isinstance(value, float) else value for key, value in figures.items()}
    return {"name": f"{pools} pools", "pools": pools, "pods": pods, "every_s": SETTINGS.interval_s, "first_s": digits(settled_s), **rounded}


@asynccontextmanager
async def _cluster(folder: Path, pools: int) -> AsyncIterator[int]:
    """A cluster with so many pools, and the port of its API."""
    kubeconfig = folder / "kubeconfig"
    argv = [sys.executable, "-m", "bench.support.big_cluster", str(pools), str(kubeconfig)]
    async with running("cluster", argv, folder, core=-1, env={"PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        async with asyncio.timeout(_LONGEST_S):
            while not kubeconfig.exists() or not kubeconfig.read_bytes().endswith(b"}\n"):
                if process.ended:
                    raise ForebayError("the cluster ended:\n" + (folder / "cluster.log").read_text()[-2000:])
                await asyncio.sleep(_LOOK_S)
        yield int(orjson.loads(kubeconfig.read_bytes())["clusters"][0]["cluster"]["server"].rpartition(":")[2])


@asynccontextmanager
async def _operator(folder: Path) -> AsyncIterator[tuple[Measured, int]]:
    """The operator, and the port of its metrics."""
    port = free_port()
    argv = [sys.executable, "-m", "forebay", "operator", "--kubeconfig", str(folder / "kubeconfig"), "--image", SETTINGS.sidecar_image]
    argv += ["--interval", f"{SETTINGS.interval_s}s", "--decisions", str(folder / "decisions.jsonl"), "--log-level", "warning"]
    async with running("operator", [*argv, "--host", HOST, "--port", str(port)], folder) as process:
        yield process, port


async def _settled(client: Client, operator: Measured, port: int, pools: int, folder: Path) -> float:
    """Waits until every pool was reconciled and nothing is queued; after how many seconds that was.

    Raises:
        ForebayError: the operator ended, or that did not come true in time.
    """
    began = time.monotonic()
    while time.monotonic() - began < _LONGEST_S:
        with suppress(UpstreamError):
            done, _, queued = await _counts(client, port)
            if done >= pools and not queued:
                return time.monotonic() - began
        if operator.ended:
            raise ForebayError("the operator ended:\n" + (folder / "operator.log").read_text()[-2000:])
        await asyncio.sleep(_LOOK_S)
    raise ForebayError(f"{pools} pools were not all reconciled within {_LONGEST_S:.0f} s")


async def _watched(client: Client, operator: Measured, port: int, seconds: float) -> dict[str, Any]:
    began, cpu_s, (done, failed, _) = time.monotonic(), operator.cpu_s(), await _counts(client, port)
    await asyncio.sleep(seconds)
    wall_s, cpu_s, (done_now, failed_now, _) = time.monotonic() - began, operator.cpu_s() - cpu_s, await _counts(client, port)
    reconciles = done_now - done
    return {
        "rss_mib": operator.rss_mib(),
        "reconciles": reconciles,
        "failed": failed_now - failed,
        "cpu_ms_per_reconcile": cpu_s / reconciles * 1e3 if reconciles else None,
        "core_share": cpu_s / wall_s,
    }


async def _counts(client: Client, port: int) -> tuple[int, int, int]:
    """Reconciles of pools that went well and that failed, and the keys that wait."""
    async with await client.send(HOST, port, "GET", "/metrics") as reply:
        text = (await reply.read()).decode()
    by_result = {result: int(float(value)) for result, value in _RECONCILES.findall(text)}
    queued = _QUEUED.search(text)
    return by_result.get("ok", 0), by_result.get("error", 0), int(float(queued[1])) if queued else 0


async def _asked(client: Client, port: int, path: str) -> Any:
    async with await client.send(HOST, port, "GET", path) as reply:
        return orjson.loads(await reply.read())

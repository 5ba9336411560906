"""`forebay top`: pools, replicas, queue, latency, cache hits and cost, live.

A table that is wider than the terminal loses columns, the least telling first; none is ever squeezed.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forebay.cli.source import add_source, open_cluster, pool_name, pools_of
from forebay.cli.values import some_time
from forebay.runtime.columns import columns

if TYPE_CHECKING:
    from forebay.adapters.cluster import Cluster
    from forebay.dataplane.http.client import Client

_CACHE = re.compile(r'^forebay_gateway_cache_total\{[^}]*result="(\w+)"[^}]*\} ([0-9.e+]+)$', re.MULTILINE)

TITLES = ("POOL", "READY", "ON-DEMAND", "SPOT", "REQ/S", "TOK/S", "QUEUED", "RUNNING", "P95 TTFT", "MET", "$/H")
_DISPENSABLE = ("TOK/S", "RUNNING", "MET", "SPOT", "ON-DEMAND", "$/H", "QUEUED")
"""Columns that go where there is no room, in this order."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--interval", type=some_time, default="2s", metavar="TIME", help="time between two looks (default %(default)s)")
    parser.add_argument("--once", action="store_true", help="print one table and end")
    add_source(parser)


def run(args: argparse.Namespace) -> int:
    return asyncio.run(_show(args))


async def _show(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    from forebay.dataplane.http.client import Client

    console, client = Console(highlight=False, markup=False), Client()
    try:
        async with open_cluster(args) as cluster:
            if args.once:
                console.print(await _page(cluster, client, args.namespace, console.width), soft_wrap=True)
                return 0
            if not console.is_terminal:
                while True:
                    console.print(await _page(cluster, client, args.namespace, console.width), soft_wrap=True)
                    await asyncio.sleep(args.interval)
            with Live(console=console, auto_refresh=False) as live:
                while True:
                    live.update(await _page(cluster, client, args.namespace, console.width), refresh=True)
                    await asyncio.sleep(args.interval)
    finally:
        await client.close()


async def _page(cluster: Cluster, client: Client, namespace: str | None, width: int) -> str:
    pools = await pools_of(cluster, namespace)
    hits = await _cache_hits(cluster, client, namespace)
    return "\n".join([_heading(pools, hits), *table([TITLES, *(cells(pool) for pool in pools)], width)])


def _heading(pools: list[dict[str, Any]], hits: str) -> str:
    prices = [(pool.get("status") or {}).get("rate", {}).get("usdPerHour", "unknown") for pool in pools]
    total = "unknown" if "unknown" in prices else f"{sum(map(float, prices)):.2f}"
    return f"{time.strftime('%H:%M:%S')}   {len(pools)} {'pool' if len(pools) == 1 else 'pools'}   {total} $/h   cache hits {hits}"


def cells(pool: dict[str, Any]) -> tuple[str, ...]:
    """One row, by TITLES."""
    status = pool.get("status") or {}
    desired, demand, objective = status.get("desired", {}), status.get("demand", {}), status.get("objective", {})
    return (
        pool_name(pool),
        f"{status.get('readyReplicas', 0)}/{desired.get('onDemand', 0) + desired.get('spot', 0)}",
        str(desired.get("onDemand", 0)),
        str(desired.get("spot", 0)),
        f"{demand['requestsPerSecond']:.1f}" if "requestsPerSecond" in demand else "-",
        f"{demand['outputTokensPerSecond']:.0f}" if "outputTokensPerSecond" in demand else "-",
        str(demand.get("queued", "-")),
        str(demand.get("inFlight", "-")),
        objective.get("p95TimeToFirstToken") or "-",
        f"{objective['attainment']:.1%}" if "attainment" in objective else "-",
        str(status.get("rate", {}).get("usdPerHour", "unknown")),
    )


def table(rows: list[tuple[str, ...]], width: int) -> list[str]:
    """The rows, the first of them titles, as lines of at most `width` characters, as long as the columns that are never left out fit."""
    kept = rows
    for title in (None, *_DISPENSABLE):
        if title is not None:
            gone = kept[0].index(title)
            kept = [(*row[:gone], *row[gone + 1 :]) for row in kept]
        lines = columns(kept)
        over = max(map(len, lines)) - width
        if over <= 0:
            return lines
    names = max(len(row[0]) for row in kept)
    return columns([(_cut(row[0], max(len(TITLES[0]), names - over)), *row[1:]) for row in kept])


def _cut(text: str, width: int) -> str:
    """Names are cut in their beginning: what tells them apart is mostly at the end."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


@dataclass(frozen=True, slots=True)
class _Counts:
    served: float
    asked: float


async def _cache_hits(cluster: Cluster, client: Client, namespace: str | None) -> str:
    """Share of cacheable requests that the gateways answered from their cache; `-` where they cannot be reached from here."""
    from forebay.adapters.cluster import PODS, Forbidden
    from forebay.planning.gateway_workload import LABEL_GATEWAY
    from forebay.planning.variants import LABEL_PART_OF, PART_OF

    try:
        ours = await cluster.list(PODS, namespace, {LABEL_PART_OF: PART_OF})
    except Forbidden:
        return "-"
    pods = [pod for pod in ours if LABEL_GATEWAY in pod["metadata"]["labels"]]
    found = await asyncio.gather(*(_gateway_counts(client, pod.get("status", {}).get("podIP", "")) for pod in pods))
    asked = sum(counts.asked for counts in found)
    return f"{sum(counts.served for counts in found) / asked:.0%}" if asked else "-"


async def _gateway_counts(client: Client, address: str) -> _Counts:
    from forebay.dataplane.http.client import UpstreamError
    from forebay.planning.gateway_workload import ADMIN_PORT

    try:
        async with asyncio.timeout(1):
            reply = await client.send(address, ADMIN_PORT, "GET", "/metrics", connect_timeout_s=1)
            async with reply:
                counts = {result: float(value) for result, value in _CACHE.findall((await reply.read()).decode())}
    except (UpstreamError, TimeoutError, OSError):
        return _Counts(0, 0)
    served = counts.get("hit", 0) + counts.get("collapsed", 0)
    return _Counts(served, served + counts.get("miss", 0))

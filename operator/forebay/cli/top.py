"""`forebay top`: pools, replicas, queue, latency, cache hits and cost, live."""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from typing import Any

from forebay.api.durations import parse_duration
from forebay.cli.source import add_source, kubeconfig_of
from forebay.runtime.errors import ForebayError

_CACHE = re.compile(r'^forebay_gateway_cache_total\{[^}]*result="(\w+)"[^}]*\} ([0-9.e+]+)$', re.MULTILINE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--interval", type=parse_duration, default=2.0, metavar="TIME", help="time between two looks (default 2s)")
    parser.add_argument("--once", action="store_true", help="print one table and end")
    add_source(parser)


def run(args: argparse.Namespace) -> int:
    return asyncio.run(_show(args))


async def _show(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    from forebay.adapters.cluster import ClusterError
    from forebay.adapters.kube import KubeCluster
    from forebay.dataplane.http.client import Client

    cluster, client = await KubeCluster.connect(kubeconfig_of(args)), Client()
    try:
        if args.once:
            Console().print(await _table(cluster, client, args.namespace))
            return 0
        with Live(console=Console(), screen=False, auto_refresh=False) as live:
            while True:
                live.update(await _table(cluster, client, args.namespace), refresh=True)
                await asyncio.sleep(args.interval)
    except ClusterError as error:
        raise ForebayError(f"the cluster cannot be asked: {error}") from None
    finally:
        await client.close()
        await cluster.close()


async def _table(cluster: Any, client: Any, namespace: str | None) -> Any:
    from rich.table import Table

    from forebay.adapters import cluster as kinds

    pools = await cluster.list(kinds.INFERENCE_POOLS, namespace)
    hits = await _cache_hits(cluster, client, namespace)
    title = f"{time.strftime('%H:%M:%S')}   cache hits {hits}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("POOL", "READY", "ON-DEMAND", "SPOT", "REQ/S", "OUT TOK/S", "QUEUED", "IN FLIGHT", "P95 TTFT", "MET", "$/H"):
        table.add_column(name, justify="left" if name == "POOL" else "right")
    for pool in sorted(pools, key=lambda p: (p["metadata"]["namespace"], p["metadata"]["name"])):
        table.add_row(*cells(pool))
    return table


def cells(pool: dict[str, Any]) -> list[str]:
    """One row."""
    status = pool.get("status") or {}
    desired, demand, objective = status.get("desired", {}), status.get("demand", {}), status.get("objective", {})
    return [
        f"{pool['metadata']['namespace']}/{pool['metadata']['name']}",
        f"{status.get('readyReplicas', 0)}/{desired.get('onDemand', 0) + desired.get('spot', 0)}",
        str(desired.get("onDemand", 0)),
        str(desired.get("spot", 0)),
        f"{demand.get('requestsPerSecond', 0):.1f}",
        f"{demand.get('outputTokensPerSecond', 0):.0f}",
        str(demand.get("queued", 0)),
        str(demand.get("inFlight", 0)),
        objective.get("p95TimeToFirstToken") or "-",
        f"{objective['attainment']:.1%}" if "attainment" in objective else "-",
        str(status.get("rate", {}).get("usdPerHour", "unknown")),
    ]


async def _cache_hits(cluster: Any, client: Any, namespace: str | None) -> str:
    """Share of cacheable requests that the gateways answered from their cache; `-` where they cannot be reached from here."""
    from forebay.adapters import cluster as kinds
    from forebay.dataplane.http.client import UpstreamError
    from forebay.planning.gateway_workload import ADMIN_PORT, LABEL_GATEWAY

    counts: dict[str, float] = {}
    pods = [p for p in await cluster.list(kinds.PODS, namespace) if LABEL_GATEWAY in (p["metadata"].get("labels") or {})]
    for pod in pods:
        try:
            async with asyncio.timeout(1):
                reply = await client.send(pod.get("status", {}).get("podIP", ""), ADMIN_PORT, "GET", "/metrics", connect_timeout_s=1)
                async with reply:
                    text = (await reply.read()).decode()
        except (UpstreamError, TimeoutError, OSError):
            continue
        for result, value in _CACHE.findall(text):
            counts[result] = counts.get(result, 0) + float(value)
    served, asked = counts.get("hit", 0) + counts.get("collapsed", 0), sum(counts.get(k, 0) for k in ("hit", "miss", "collapsed"))
    return f"{served / asked:.0%}" if asked else "-"

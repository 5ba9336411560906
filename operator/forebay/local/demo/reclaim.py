"""Takes the busiest spot node away in the middle of the load, as a cloud does: a notice, then the machine is gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson

from forebay.adapters.cluster import PODS
from forebay.dataplane.http.client import Client, UpstreamError
from forebay.local.demo.watch import replicas
from forebay.local.up import Local
from forebay.planning.snapshot import SPOT, PodView
from forebay.planning.workload import SIDECAR_PORT

_LOOK_S = 0.25
_REPLACED_WITHIN_S = 20.0
"""After the node is gone."""


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What was taken. Times in seconds since the load began; `replaced_at_s` is when as many replicas as before answered without it."""

    node: str
    replica: str
    streams: int
    at_s: float
    gone_at_s: float
    replaced_at_s: float | None


async def reclaim_spot(local: Local, client: Client, pool: str, notice_s: float, began: float, until: float) -> Reclaimed | None:
    """Reclaims the spot node whose replica has the most requests in flight; None where none has any until that moment of the clock."""
    clock = asyncio.get_running_loop().time
    pod, streams = await _busiest(local, client, pool, until)
    if pod is None:
        return None
    before, at = len(await _serving(local, pool)), clock()
    async with asyncio.TaskGroup() as group:
        going = group.create_task(_take(local, pod.node, notice_s))
        back = group.create_task(_replaced(local, pool, pod.node, before, at + notice_s + _REPLACED_WITHIN_S))
    replaced = back.result()
    return Reclaimed(
        node=pod.node,
        replica=pod.name,
        streams=streams,
        at_s=round(at - began, 2),
        gone_at_s=round(going.result() - began, 2),
        replaced_at_s=None if replaced is None else round(replaced - began, 2),
    )


async def _take(local: Local, node: str, notice_s: float) -> float:
    await local.slots.reclaim(node, notice_s)
    return asyncio.get_running_loop().time()


async def _serving(local: Local, pool: str) -> list[PodView]:
    return [pod for pod in await replicas(local.cluster, pool) if pod.ready and pod.routed and not pod.deleting]


async def _busiest(local: Local, client: Client, pool: str, until: float) -> tuple[PodView | None, int]:
    """The spot replica with the most requests in flight; waits for one that has any."""
    while asyncio.get_running_loop().time() < until:
        spot = [pod for pod in await _serving(local, pool) if pod.capacity_type == SPOT]
        busy = [(await _in_flight(local, client, pool, pod), pod) for pod in spot]
        if most := max(busy, key=lambda one: one[0], default=None):
            streams, pod = most
            if streams:
                return pod, streams
        await asyncio.sleep(_LOOK_S)
    return None, 0


async def _in_flight(local: Local, client: Client, pool: str, pod: PodView) -> int:
    body = await local.cluster.get(PODS, pool.partition("/")[0], pod.name)
    address = ((body or {}).get("status") or {}).get("podIP", "")
    try:
        reply = await client.send(address, SIDECAR_PORT, "GET", "/load", first_byte_timeout_s=2)
        async with reply:
            return int(orjson.loads(await reply.read())["inFlight"])
    except (UpstreamError, orjson.JSONDecodeError, LookupError):
        return 0


async def _replaced(local: Local, pool: str, node: str, before: int, until: float) -> float | None:
    """When as many replicas as before serve without that node; None where that does not come true in time."""
    clock = asyncio.get_running_loop().time
    while clock() < until:
        if len([pod for pod in await _serving(local, pool) if pod.node != node]) >= before:
            return clock()
        await asyncio.sleep(_LOOK_S)
    return None

"""What gateways hold for pools that may sleep: heard before a decision about such a pool, and about once a second while one has no replica.

A gateway writes nothing and may write nothing; it is asked. Only gateways that policies name are, by the label of their pods in the
policies' namespace, and each is believed only of the pools that it was given to route to.
"""

from __future__ import annotations

import asyncio

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object
from forebay.adapters.held import HeldFor
from forebay.planning.gateway_workload import ADMIN_PORT
from forebay.planning.measured import AtGateways
from forebay.reconcile.keys import Key, pool_key
from forebay.reconcile.world import Heard, World

EVERY_S = 1.0
YOUNG_S = 0.5
"""What was heard so short a while ago is not asked for again: many pools share a gateway."""


async def at_gateways(world: World, key: Key) -> AtGateways:
    """What all gateways that route to this pool say of it."""
    pool = f"{key.namespace}/{key.name}"
    routed = [gateway for gateway, pools in world.routes.items() if pool in pools]
    heard = await asyncio.gather(*(_hear(world, *gateway) for gateway in routed))
    mine = [answer.get(pool, HeldFor()) for one in heard for answer in one.answers]
    held: dict[str, int] = {}
    for found in mine:
        for name, count in found.requests.items():
            held[name] = held.get(name, 0) + count
    return AtGateways(
        routed=bool(routed),
        asked=sum(one.asked for one in heard),
        answered=len(mine),
        held=dict(sorted(held.items())),
        passed_over=any(found.passed_over for found in mine),
    )


async def _hear(world: World, namespace: str, gateway: str) -> Heard:
    """Asks every replica of a gateway that is ready, or was a moment ago."""
    last, now = world.heard.get((namespace, gateway)), world.clock.monotonic()
    if last is not None and 0 <= now - last.at < YOUNG_S:
        return last
    addresses = [a for p in world.view.of_gateway(kinds.PODS, namespace, gateway) if (a := _address(p))]
    answers = await asyncio.gather(*(world.held.held(address, ADMIN_PORT) for address in addresses))
    heard = world.heard[namespace, gateway] = Heard(now, len(addresses), tuple(a for a in answers if a is not None))
    return heard


def _address(pod: Object) -> str:
    """Where a gateway's replica can be asked; nothing for one that does not run, for it holds nothing."""
    status = pod.get("status", {})
    runs = status.get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    return str(status.get("podIP", "")) if runs else ""


async def woken(world: World) -> tuple[set[Key], float]:
    """Pools without a replica for which something is held since the last look, and after how many seconds to look again."""
    pools = world.view.all(kinds.INFERENCE_POOLS)
    may_sleep = [p["metadata"] for p in pools if p["spec"].get("scaling", {}).get("minReplicas", 1) == 0]
    if not may_sleep:
        world.knocking.clear()
        return set(), world.settings.interval_s
    sleepers = [pool_key(m["namespace"], m["name"]) for m in may_sleep if not _alive(world, m["namespace"], m["name"])]
    seen = await asyncio.gather(*(at_gateways(world, key) for key in sleepers))
    knocking = {key for key, doors in zip(sleepers, seen, strict=True) if doors.held or doors.passed_over}
    fresh = knocking - world.knocking
    world.knocking.clear()
    world.knocking.update(knocking)
    return fresh, EVERY_S


def _alive(world: World, namespace: str, pool: str) -> bool:
    return any("deletionTimestamp" not in p["metadata"] for p in world.view.of_pool(kinds.PODS, namespace, pool))

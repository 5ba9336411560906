"""Which requests a gateway replica holds for pools that have no replica, read from its own `/held`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from forebay.dataplane.http.client import Client, UpstreamError

TIMEOUT_S = 1.0
MAX_BODY_BYTES = 1 << 20
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class HeldFor:
    """One pool at one gateway replica: requests by class, and whether another pool answers in its turn."""

    requests: dict[str, int] = field(default_factory=dict)
    passed_over: bool = False


class Held(Protocol):
    """Asks one replica."""

    async def held(self, address: str, port: int) -> dict[str, HeldFor] | None:
        """By `namespace/pool`; a pool that is not in it has nothing held. None while the replica cannot be asked."""


class HeldByScrape:
    """Reads the replica's `/held`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def held(self, address: str, port: int) -> dict[str, HeldFor] | None:
        if not address:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reply = await self._client.send(address, port, "GET", "/held", first_byte_timeout_s=TIMEOUT_S)
                async with reply:
                    body = await reply.read(MAX_BODY_BYTES)
            return parse(body) if reply.status == 200 else None
        except (UpstreamError, TimeoutError, ValueError, KeyError, TypeError, AttributeError):
            return None


def parse(body: bytes) -> dict[str, HeldFor]:
    """A gateway's document. Raises ValueError, KeyError, TypeError or AttributeError where it is none."""
    pools: dict[str, Any] = orjson.loads(body)["pools"]
    return {str(key): HeldFor(_counts(pool["held"]), pool["passedOver"] is True) for key, pool in pools.items()}


def _counts(held: dict[str, Any]) -> dict[str, int]:
    return {str(name): min(int(count), MOST) for name, count in held.items() if int(count) > 0}


class HeldInMemory:
    """Answers what was put in by address, for tests and simulations; an address without an answer cannot be asked."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, HeldFor]] = {}

    async def held(self, address: str, port: int) -> dict[str, HeldFor] | None:
        return self.answers.get(address)

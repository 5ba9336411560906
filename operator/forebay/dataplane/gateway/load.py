"""Asks every sidecar for its load, about once a second, with a bounded number of questions under way."""

from __future__ import annotations

import asyncio

import orjson

from forebay.dataplane.gateway.fleet import Endpoint, Fleet
from forebay.dataplane.http.client import Client, UpstreamError

_MAX_ANSWER_BYTES = 4096


class LoadPoller:
    """Rounds over the whole fleet; a round that takes longer than `every_s` is followed by the next at once."""

    def __init__(self, client: Client, fleet: Fleet, *, every_s: float = 1.0, at_once: int = 32) -> None:
        self._client, self._fleet = client, fleet
        self._every_s, self._at_once = every_s, at_once

    async def run(self) -> None:
        """Polls until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await self.round()
            await asyncio.sleep(max(0.0, begun + self._every_s - loop.time()))

    async def round(self) -> None:
        """Asks every endpoint once."""
        left = self._fleet.endpoints()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(self._at_once, len(left))):
                tasks.create_task(self._ask_each(left))

    async def _ask_each(self, left: list[Endpoint]) -> None:
        while left:
            await self._ask(left.pop())

    async def _ask(self, endpoint: Endpoint) -> None:
        try:
            async with await self._client.send(
                endpoint.host, endpoint.port, "GET", "/load", connect_timeout_s=1, first_byte_timeout_s=1, idle_timeout_s=1
            ) as reply:
                body = await reply.read(_MAX_ANSWER_BYTES)
            load = orjson.loads(body)
            queued, in_flight, limit = int(load["queued"]), int(load["inFlight"]), int(load["limit"])
            draining = load["draining"] is True
        except (UpstreamError, ValueError, KeyError, TypeError):
            endpoint.silent()
        else:
            endpoint.told(queued, in_flight, limit, draining)

"""Which configuration a gateway replica has loaded, read from its own metrics."""

from __future__ import annotations

import asyncio
import re
from typing import Protocol

from forebay.dataplane.http.client import Client, UpstreamError

TIMEOUT_S = 2.0
MAX_BODY_BYTES = 8 << 20
_INFO = re.compile(r'^forebay_gateway_config_info\{[^}]*hash="([0-9a-f]+)"[^}]*\} 1(?:\.0)?$', re.MULTILINE)


class Loaded(Protocol):
    """Asks one replica."""

    async def hash(self, address: str, port: int) -> str:
        """The hash of what it serves; empty while it cannot be asked."""


class LoadedByScrape:
    """Reads the replica's `/metrics`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def hash(self, address: str, port: int) -> str:
        if not address:
            return ""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reply = await self._client.send(address, port, "GET", "/metrics", first_byte_timeout_s=TIMEOUT_S)
                async with reply:
                    body = await reply.read(MAX_BODY_BYTES)
        except (UpstreamError, TimeoutError):
            return ""
        found = _INFO.search(body.decode(errors="replace"))
        return found.group(1) if found else ""


class LoadedInMemory:
    """Answers what was put in, for tests."""

    def __init__(self) -> None:
        self.hashes: dict[str, str] = {}

    async def hash(self, address: str, port: int) -> str:
        return self.hashes.get(address, "")

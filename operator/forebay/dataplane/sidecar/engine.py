"""The model server behind the sidecar: reached, asked whether it answers, and read for its own metrics."""

from __future__ import annotations

import asyncio
import logging

from forebay.dataplane.http.client import Client, Reply, UpstreamError
from forebay.dataplane.http.message import Headers
from forebay.dataplane.sidecar.metrics import EngineGauges
from forebay.dataplane.sidecar.vocabulary import translate

log = logging.getLogger(__name__)

# An answer that is not streamed may take as long as its tokens do; the gateway's own limit is the shorter one.
FIRST_BYTE_S = 600.0
IDLE_S = 120.0
_PROBE_S = 5.0
_PROBE_EVERY_S = 1.0
_SCRAPE_EVERY_S = 5.0
_FAILURES_TO_LEAVE = 3
_MOST_METRICS_BYTES = 16 * 1024 * 1024


class Engine:
    """One engine. `reason` says why it is not ready; empty when it is."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._failures = _FAILURES_TO_LEAVE
        self.client = Client(max_idle_per_host=1024)
        self.reason = "the engine was not asked yet"

    async def send(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Reply:
        """Sends one request; as Client.send.

        Raises:
            UpstreamError: as Client.send.
        """
        return await self.client.send(
            self._host, self._port, method, target, headers, body, first_byte_timeout_s=FIRST_BYTE_S, idle_timeout_s=IDLE_S
        )

    async def watch(self) -> None:
        """Asks again and again whether the engine answers, for ever."""
        while True:
            await self.probe()
            await asyncio.sleep(_PROBE_EVERY_S)

    async def probe(self) -> None:
        """Asks once. One bad answer under load is no reason to leave the pool; three in a row are."""
        problem = await self._problem()
        if not problem:
            if self.reason:
                log.info("the engine answers")
            self._failures, self.reason = 0, ""
            return
        self._failures += 1
        if self._failures >= _FAILURES_TO_LEAVE:
            if not self.reason:
                log.warning("the engine does not answer", extra={"reason": problem})
            self.reason = problem

    async def scrape(self, kind: str, gauges: EngineGauges) -> None:
        """Reads the engine's metrics once, where its kind has any. A failure leaves what is known to become stale."""
        try:
            async with await self._get("/metrics") as reply:
                if reply.status == 200:
                    gauges.set(translate(kind, await reply.read(_MOST_METRICS_BYTES)))
        except UpstreamError as error:
            log.debug("the engine's metrics cannot be read", extra={"reason": str(error)})

    async def _problem(self) -> str:
        try:
            for path in ("/health", "/v1/models"):
                async with await self._get(path) as reply:
                    if reply.status not in (404, 405):
                        return f"the engine answers {path} with {reply.status}" if reply.status >= 500 else ""
        except UpstreamError as error:
            return f"the engine does not answer: {error}"
        # It has neither path, and it is there.
        return ""

    async def _get(self, path: str) -> Reply:
        return await self.client.send(
            self._host, self._port, "GET", path, connect_timeout_s=_PROBE_S, first_byte_timeout_s=_PROBE_S, idle_timeout_s=_PROBE_S
        )

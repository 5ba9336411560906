"""Runs the gateway: two servers, and the loops that keep what they use fresh. Started once, ends with everything under way answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from forebay.dataplane.config import ConfigError, Watched
from forebay.dataplane.gateway import metrics
from forebay.dataplane.gateway.cache import Cache
from forebay.dataplane.gateway.config import GatewayConfig, parse
from forebay.dataplane.gateway.decisions import Decisions, open_sink
from forebay.dataplane.gateway.endpoints import FleetWatch
from forebay.dataplane.gateway.fleet import Fleet
from forebay.dataplane.gateway.handler import Gateway
from forebay.dataplane.gateway.holding import Holding
from forebay.dataplane.gateway.keys import Keys
from forebay.dataplane.gateway.kube import connect
from forebay.dataplane.gateway.load import LoadPoller
from forebay.dataplane.gateway.routing import Router
from forebay.dataplane.gateway.upstream import Upstream
from forebay.dataplane.http.admin import admin
from forebay.dataplane.http.client import Client
from forebay.dataplane.http.errors import JSON
from forebay.dataplane.http.message import Handler, Request, Response
from forebay.dataplane.http.server import serve

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """The command's options. `kubernetes` is a URL, `in-cluster` or `none`; port 0 takes a free one, which the log tells.

    `beside` is a second address for both ports, which may be taken already.
    """

    config: Path
    keys: Path
    kubernetes: str
    credentials: Path
    host: str = "127.0.0.1"
    port: int = 0
    admin_port: int = 0
    decisions: str = "-"
    grace_s: float = 25.0
    cache_bytes: int = 64 * 1024 * 1024
    look_every_s: float = 2.0
    beside: str = ""


class Role:
    """The parts of one gateway, put together. The ports are known once it listens."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._watch: FleetWatch | None = None
        self.fleet = Fleet()
        self.keys = Keys(settings.keys)
        self._client = Client(max_idle_per_host=64)
        self._holding = Holding(self.fleet)
        self._upstream = Upstream(self._client, self.fleet, self._holding)
        self._decisions = Decisions(_sink(settings.decisions))
        self._gateway = Gateway(self.keys, self._upstream, Cache(settings.cache_bytes), self._decisions)
        self._config: Watched[GatewayConfig] = Watched(settings.config, parse)
        self._listed = self._stopping = False
        self.port = self.admin_port = 0
        if settings.kubernetes != "none":
            self._watch = FleetWatch(connect(settings.kubernetes, settings.credentials), self.fleet)

    async def run(self, stop: asyncio.Event) -> int:
        """Serves until `stop`, then lets requests under way finish within the grace period."""
        settings = self._settings
        server = await serve(self._gateway.handle, settings.host, settings.port, beside=settings.beside)
        admin_handler = with_held(admin(metrics.REGISTRY, self.not_ready), self._holding)
        admin_server = await serve(admin_handler, settings.host, settings.admin_port, beside=settings.beside)
        self.port, self.admin_port = server.port, admin_server.port
        _log.info("gateway listens", extra={"host": settings.host, "port": self.port, "adminPort": self.admin_port})
        loops = [self._follow(), LoadPoller(self._client, self.fleet).run(), self._holding.run(), self._decisions.run()]
        tasks = [asyncio.get_running_loop().create_task(_guard(loop)) for loop in loops]
        await stop.wait()
        self._stopping = True
        self._holding.close()
        # Callers learn of the readiness that is gone with a delay; until then they are still answered.
        lame_s = settings.grace_s / 10
        await asyncio.sleep(lame_s)
        await server.close(settings.grace_s - lame_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._watch is not None:
            await self._watch.close()
        await self._decisions.close()
        await self._client.close()
        await admin_server.close(0.0)
        return 0

    def not_ready(self) -> str:
        """Why this gateway should get no requests now; empty when it should."""
        if self._stopping:
            return "stopping"
        if self._gateway.router is None:
            return f"no configuration: {self._config.refused or 'not read yet'}"
        if not self._listed and self._watch is not None:
            unknown = sorted(key for key, replicas in self.fleet.pools.items() if not replicas.synced)
            if unknown:
                return f"endpoints not known yet: {', '.join(unknown)}"
        # Known once is enough: a pool that is added later, or an API server that is away, does not concern the others.
        self._listed = True
        return ""

    async def _follow(self) -> None:
        """Looks at the configuration and the keys it names, for ever."""
        while True:
            refused = self._config.refused
            changed = self._config.check()
            if self._config.refused and self._config.refused != refused:
                metrics.CONFIG_REFUSED.inc()
            if self._config.current is not None:
                config = self._config.current.data
                await asyncio.to_thread(self.keys.refresh, config.key_folders())
                if changed:
                    self._take(config)
            await asyncio.sleep(self._settings.look_every_s)

    def _take(self, config: GatewayConfig) -> None:
        self.fleet.keep(config.pools)
        self._holding.keep(config.pools)
        self._upstream.keep(config.policies)
        if self._watch is not None:
            self._watch.keep(config.pools)
        self._gateway.router = Router(config)
        metrics.CONFIG.clear()
        metrics.CONFIG.labels(config.hash).set(1)


def with_held(others: Handler, holding: Holding) -> Handler:
    """The admin paths, and /held: what waits for pools that sleep, which is how they are woken."""

    async def answer(request: Request, response: Response) -> None:
        if request.path == "/held" and request.method == "GET":
            response.send(200, orjson.dumps(holding.told()), [JSON])
        else:
            await others(request, response)

    return answer


async def _guard(loop: Coroutine[Any, Any, None]) -> None:
    """A loop that must not end by an error nobody sees."""
    try:
        await loop
    except Exception:
        _log.exception("a part of the gateway stopped")
        raise


def _sink(where: str) -> Any:
    try:
        return open_sink(where)
    except OSError as error:
        raise ConfigError(f"--decisions: {where}: {error.strerror or error}") from error

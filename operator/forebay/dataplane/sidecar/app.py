"""The sidecar put together: what each path is answered with, and what runs beside."""

from __future__ import annotations

import asyncio
import hmac
import logging
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from forebay.dataplane.config import Document, Watched
from forebay.dataplane.http.admin import ADMIN_PATHS, admin
from forebay.dataplane.http.client import UpstreamError
from forebay.dataplane.http.errors import JSON, send_error
from forebay.dataplane.http.headers import DRAINING_HEADER, ROLE_HEADER, end_to_end
from forebay.dataplane.http.message import Limits, Request, Response
from forebay.dataplane.http.server import serve
from forebay.dataplane.sidecar.batcher import Batcher
from forebay.dataplane.sidecar.config import EMBEDDINGS, Mode, SidecarConfig, parse
from forebay.dataplane.sidecar.embeddings import read
from forebay.dataplane.sidecar.engine import Engine
from forebay.dataplane.sidecar.gate import Gate
from forebay.dataplane.sidecar.generate import (
    GENERATION_PATHS,
    BadRequest,
    Generator,
    engine_failed,
    outcome_of,
    refuse,
    upstream_headers,
    with_retry_after,
)
from forebay.dataplane.sidecar.limit import DEFAULT_PACE, Limiter, Pace
from forebay.dataplane.sidecar.measure import Measure
from forebay.dataplane.sidecar.metrics import Metrics, Outcome
from forebay.dataplane.sidecar.queues import Lane, Queues, TurnedAway
from forebay.dataplane.sidecar.sse import Usage

log = logging.getLogger(__name__)

EMBEDDINGS_PATH = "/v1/embeddings"
_ROLE = (ROLE_HEADER, b"sidecar")
# Room for pictures in a chat; the gateway's bound is the one that callers meet.
_LIMITS = Limits(max_body_bytes=32 * 1024 * 1024)
_STEP_EVERY_S = 0.25
_SCRAPE_EVERY_S = 5.0
_DRAINING_RETRY_S = 1.0
# How long after a drain's grace period the pod must have been stopped, if it was the pod that is going.
_RESUME_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says. Times in seconds."""

    config: Path
    host: str
    port: int
    engine_host: str
    engine_port: int
    grace_s: float
    # Empty: there is no /drain.
    drain_token: str = ""
    pace: Pace = DEFAULT_PACE
    config_every_s: float = 2.0
    # A second address to listen on, which may be taken already.
    beside: str = ""


class Sidecar:
    """One sidecar in front of one engine. Make it inside the running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = loop = asyncio.get_running_loop()
        self._config = Watched(settings.config, parse)
        self.metrics = Metrics()
        self.engine = Engine(settings.engine_host, settings.engine_port)
        self.limiter = Limiter(settings.pace)
        self._queues = Queues(self.metrics, loop)
        self._gate = Gate(self._queues, self.limiter, self.metrics, loop)
        self._generator = Generator(self.engine, self._gate, self.limiter, self.metrics.prompts)
        self._jobs = Queues(self.metrics, loop)
        self._batcher = Batcher(self.engine, self._jobs, self.limiter, self.metrics, loop)
        self._admin = admin(self.metrics.registry, self.not_ready)
        # Known once it listens.
        self.port = 0
        self._stopping = False
        self._resume_at = 0.0
        self._draining = False
        self._idle = asyncio.Event()
        self._busy = 0

    # what is answered

    async def handle(self, request: Request, response: Response) -> None:
        """Answers one request."""
        path = request.path
        if path in ADMIN_PATHS:
            await self._admin(request, response)
        elif path == "/load":
            response.send(200, self._load(), [JSON])
        elif path == "/drain" and self._settings.drain_token:
            await self._answer_drain(request, response)
        elif not path.startswith("/v1/"):
            send_error(response, 404, f"there is nothing at {path}", code="not_found", headers=[_ROLE])
        elif self._config.current is None:
            send_error(response, 503, "the sidecar has no configuration yet", retry_after_s=_DRAINING_RETRY_S, headers=[_ROLE])
        elif request.method != "POST":
            await self._pass_on(request, response)
        else:
            self._busy += 1
            try:
                await self._work(request, response, self._config.current.data)
            finally:
                self._busy -= 1
                if not self._busy:
                    self._idle.set()

    def not_ready(self) -> str:
        """Why this replica should get no requests now; empty when it should."""
        if self._draining:
            return "draining"
        if self._config.current is None:
            return f"no configuration: {self._config.refused or 'not read yet'}"
        return self.engine.reason

    def _load(self) -> bytes:
        return orjson.dumps(
            {
                "queued": self._queues.queued + self._jobs.queued,
                "inFlight": self._queues.in_flight + self._jobs.in_flight,
                "limit": self.limiter.limit,
                "draining": self._draining,
            }
        )

    async def _pass_on(self, request: Request, response: Response) -> None:
        """What costs the engine nothing, such as the list of models, does not queue."""
        target = f"{request.path}?{request.query}" if request.query else request.path
        try:
            async with await self.engine.send(request.method, target, upstream_headers(request), request.body) as reply:
                body = await reply.read()
        except UpstreamError as error:
            engine_failed(response, error)
            return
        response.send(reply.status, body, with_retry_after(reply.status, [*end_to_end(reply.headers), _ROLE]))

    async def _work(self, request: Request, response: Response, config: SidecarConfig) -> None:
        name = (request.header(b"x-forebay-class") or b"").decode("latin-1")
        name = name if name in config.classes else config.default_class
        mode = config.classes[name].mode
        batched = config.task == EMBEDDINGS and request.path == EMBEDDINGS_PATH and mode is not Mode.DISABLED
        lane = (self._jobs if batched else self._queues).lane(name)
        part = self.metrics.steps.part(len(request.body)) if request.path in GENERATION_PATHS else None
        measure = Measure(lane, None if batched or config.task == EMBEDDINGS else self.limiter, monotonic(), part)
        lane.metrics.arrivals.inc()
        if part is not None:
            lane.metrics.arrived_tokens.inc(self.metrics.steps.prompt_of(len(request.body)))
        outcome, usage = Outcome.CANCELLED, None
        try:
            if self._draining:
                send_error(
                    response, 503, "this replica is shutting down", retry_after_s=_DRAINING_RETRY_S, headers=[(DRAINING_HEADER, b"1")]
                )
                outcome = Outcome.REJECTED_DRAINING
            elif batched:
                outcome, usage = await self._embed(request, response, lane, measure)
            else:
                outcome, usage = await self._generator.serve(request, response, measure)
                if outcome is Outcome.OK and request.path == EMBEDDINGS_PATH:
                    measure.answered_at_once(monotonic())
        except Exception:
            outcome = Outcome.ENGINE_ERROR
            raise
        finally:
            measure.finish(outcome, usage, monotonic())

    async def _embed(self, request: Request, response: Response, lane: Lane, measure: Measure) -> tuple[Outcome, Usage | None]:
        try:
            ask = read(request.body, request.header(b"authorization") or b"")
            answer = await self._batcher.submit(lane, ask, upstream_headers(request), measure)
        except BadRequest as error:
            send_error(response, 400, str(error), param=error.param)
            return Outcome.CLIENT_ERROR, None
        except TurnedAway as turned:
            refuse(response, turned)
            return turned.outcome, None
        now = monotonic()
        headers = [*answer.headers, (b"x-forebay-queue-ms", b"%.1f" % ((measure.dispatched - measure.arrived) * 1000))]
        response.send(answer.status, answer.body, with_retry_after(answer.status, headers))
        outcome = outcome_of(answer.status)
        if outcome is Outcome.OK:
            measure.answered_at_once(now)
        return outcome, None if answer.tokens is None else Usage(answer.tokens, 0)

    # what runs beside

    async def run(self, stop: asyncio.Event) -> int:
        """Serves until `stop`, then finishes what is queued and running within the grace period."""
        settings = self._settings
        if self._config.check() and self._config.current is not None:
            self._take(self._config.current)
        server = await serve(self.handle, settings.host, settings.port, _LIMITS, settings.beside)
        self.port = server.port
        log.info("the sidecar listens", extra={"host": settings.host, "port": server.port})
        beside = [self._config.follow(self._take, settings.config_every_s), self.engine.watch(), self._scrape(), self._steer()]
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(each) for each in beside]
        stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            ended, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                # What runs beside never ends by itself: an error there ends the sidecar, for all to see.
                task.result()
            self._stopping = True
            began = self._loop.time()
            await self._drain(settings.grace_s)
            await server.close(max(0.0, settings.grace_s - (self._loop.time() - began)))
        finally:
            for task in (*tasks, stopped):
                task.cancel()
            await self.engine.client.close()
        return 0

    async def _answer_drain(self, request: Request, response: Response) -> None:
        """What the engine's preStop hook asks: native sidecars are stopped last, so the engine would break its streams without it."""
        if not hmac.compare_digest(request.query.encode("latin-1"), f"token={self._settings.drain_token}".encode()):
            send_error(response, 403, "only the pod's own preStop hook may drain it", code="forbidden")
            return
        self._resume_at = self._loop.time() + self._settings.grace_s + _RESUME_AFTER_S
        drained = await self._drain(self._settings.grace_s)
        response.send(200 if drained else 504, b"drained\n" if drained else b"not drained within the grace period\n")

    async def _drain(self, grace_s: float) -> bool:
        """Turns new requests away, and waits for those it has. The listener stays, so that they are told and not cut off."""
        if not self._draining:
            self._draining = True
            log.info("draining", extra={"requests": self._busy})
        try:
            async with asyncio.timeout(grace_s):
                while self._busy:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            log.warning("the grace period ended", extra={"requests": self._busy})
            return False
        return True

    def _resume(self) -> None:
        """Takes requests again when no end followed a drain: the hook runs also before the engine alone is restarted."""
        if self._draining and not self._stopping and self._loop.time() > self._resume_at:
            self._draining = False
            log.info("taking requests again")

    def _take(self, document: Document[SidecarConfig]) -> None:
        classes = document.data.classes.values()
        self.limiter.configure(classes)
        self._queues.configure(classes)
        self._jobs.configure(classes)
        self.metrics.steps.most = document.data.max_concurrency
        self.metrics.config_in_force(document.hash)
        self.metrics.concurrency_limit.set(self.limiter.limit)
        self._gate.advance()

    async def _steer(self) -> None:
        while True:
            self.limiter.step(monotonic(), self._queues.in_flight)
            self.metrics.concurrency_limit.set(self.limiter.limit)
            self._gate.advance()
            self._resume()
            await asyncio.sleep(min(_STEP_EVERY_S, self._settings.pace.least_s / 2))

    async def _scrape(self) -> None:
        while True:
            if self._config.current is not None and not self.engine.reason:
                await self.engine.scrape(self._config.current.data.engine, self.metrics.engine)
            await asyncio.sleep(_SCRAPE_EVERY_S)

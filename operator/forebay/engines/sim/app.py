"""The simulator's HTTP face: OpenAI's API, health and metrics as vLLM has them, and two doors of its own for tests under `/sim`."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import time
import uuid
from typing import Any

from forebay.dataplane.http.admin import ADMIN_PATHS, admin
from forebay.dataplane.http.message import Handler, Request, Response
from forebay.engines import openai
from forebay.engines.openai import Refused, send_json
from forebay.engines.routes import routed
from forebay.engines.serving import serve_until
from forebay.engines.sim import control
from forebay.engines.sim.answers import CHAT, FINGERPRINT, TEXT, Events, Shape, whole
from forebay.engines.sim.engine import Engine, Generation
from forebay.engines.sim.metrics import registry
from forebay.engines.sim.requests import Asked, Reading, read_chat, read_completion
from forebay.engines.sim.stepping import Profile
from forebay.engines.sim.words import pseudo_vector, tokens_in

OWNER = "forebay-simulator"
EMBEDDING_DIMENSIONS = 384

_CRASHED = 70
"""Exit code of a crash, made or real."""

_log = logging.getLogger(__name__)

_EVENT_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class Simulator:
    """Serves one engine. It says 503 until `ready_at_s`, on the monotonic clock."""

    def __init__(self, engine: Engine, reading: Reading, ready_at_s: float) -> None:
        self._engine = engine
        self._reading = reading
        self._ready_at_s = ready_at_s
        self._started = int(time.time())
        self._admin = admin(registry(engine, reading.model), self._not_ready)
        self._faults = control.Faults()

    def handler(self) -> Handler:
        return routed(
            {
                "/v1/chat/completions": {"POST": self._chat},
                "/v1/completions": {"POST": self._completion},
                "/v1/embeddings": {"POST": self._embeddings},
                "/v1/models": {"GET": self._models},
                "/health": {"GET": self._health},
                **{path: {"GET": self._admin} for path in sorted(ADMIN_PATHS)},
                "/sim/profile": {"GET": self._profile, "PUT": self._change_profile},
                "/sim/faults": {"PUT": self._change_faults},
            }
        )

    async def _chat(self, request: Request, response: Response) -> None:
        self._refuse_unless_ready()
        await self._generate(CHAT, read_chat(request.body, self._reading), response)

    async def _completion(self, request: Request, response: Response) -> None:
        self._refuse_unless_ready()
        await self._generate(TEXT, read_completion(request.body, self._reading), response)

    async def _generate(self, shape: Shape, asked: Asked, response: Response) -> None:
        head = {
            "id": shape.id_prefix + uuid.uuid4().hex,
            "created": int(time.time()),
            "model": self._reading.model,
            "system_fingerprint": FINGERPRINT,
        }
        generation = self._engine.submit(asked.prompt_tokens, asked.output_tokens)
        try:
            if asked.stream:
                await _stream(Events(shape, asked, head), generation, response)
            else:
                await generation.reach(asked.output_tokens)
                send_json(response, whole(shape, asked, head))
        finally:
            # Also where the client has gone: its place in the batch is free for the next step.
            self._engine.batch.remove(generation)
        self._engine.measured.succeeded[asked.finish_reason] += 1

    async def _embeddings(self, request: Request, response: Response) -> None:
        self._refuse_unless_ready()
        document = openai.json_object(request.body)
        openai.check_model(document, self._reading.model)
        texts, in_base64 = openai.embedding_texts(document), openai.encoded_as_base64(document)
        dimensions = openai.whole_number(document, "dimensions", 1, 4096) or EMBEDDING_DIMENSIONS
        tokens = sum(map(tokens_in, texts))
        await self._engine.embed(tokens)
        vectors: list[Any] = [pseudo_vector(text, self._reading.seed, dimensions) for text in texts]
        if in_base64:
            vectors = [struct.pack(f"<{dimensions}f", *vector) for vector in vectors]
        send_json(response, openai.embeddings_document(self._reading.model, vectors, tokens))
        self._engine.measured.succeeded["stop"] += 1

    async def _models(self, request: Request, response: Response) -> None:
        self._refuse_unless_ready()
        send_json(response, openai.models_document(self._reading.model, OWNER, self._started))

    async def _health(self, request: Request, response: Response) -> None:
        self._refuse_unless_ready()
        send_json(response, {"status": "ok"})

    async def _profile(self, request: Request, response: Response) -> None:
        send_json(response, control.profile_document(self._engine.profile))

    async def _change_profile(self, request: Request, response: Response) -> None:
        self._engine.profile = control.changed_profile(self._engine.profile, openai.json_object(request.body))
        send_json(response, control.profile_document(self._engine.profile))

    async def _change_faults(self, request: Request, response: Response) -> None:
        self._faults = control.read_faults(openai.json_object(request.body))
        self._engine.die_after_tokens = self._faults.die_after_tokens
        send_json(response, control.faults_document(self._faults))

    def _not_ready(self) -> str:
        if time.monotonic() < self._ready_at_s:
            return "the simulated server is still starting"
        return "the simulated server was told to refuse" if self._faults.refuse else ""

    def _refuse_unless_ready(self) -> None:
        reason = self._not_ready()
        if reason:
            raise Refused(reason, status=503)


async def _stream(events: Events, generation: Generation, response: Response) -> None:
    done = await generation.reach(1)
    # The head waits for the first token, so that what fails before it can still be refused or tried elsewhere.
    response.start(200, _EVENT_STREAM)
    await response.write(events.opening() + events.tokens(0, done))
    while not generation.finished:
        sent, done = done, await generation.reach(done + 1)
        await response.write(events.tokens(sent, done))
    await response.write(events.closing())
    response.end()


async def simulate(stop: asyncio.Event, profile: Profile, reading: Reading, host: str, port: int, startup_s: float) -> None:
    """Serves a simulated replica until `stop` is set."""
    engine = Engine(profile, die=_die)
    steps = asyncio.create_task(engine.run())
    steps.add_done_callback(_steps_ended)
    simulator = Simulator(engine, reading, time.monotonic() + startup_s)
    try:
        await serve_until(stop, simulator.handler(), host, port, model=reading.model, engine=OWNER)
    finally:
        steps.cancel()


def _steps_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        # Without its steps it would be a server that answers nothing: better to end, so that somebody starts it again.
        _log.critical("the steps failed", exc_info=task.exception())
        _die()


def _die() -> None:
    os._exit(_CRASHED)

"""A sidecar in front of an engine that does what a test says, both on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from tests.dataplane.wires import until

from forebay.api.canonical import sealed
from forebay.dataplane.http.client import Client, Reply
from forebay.dataplane.http.errors import JSON, error_body
from forebay.dataplane.http.server import Handler, Request, Response, Server, serve
from forebay.dataplane.sidecar.app import Settings, Sidecar
from forebay.dataplane.sidecar.limit import Pace

Object = dict[str, Any]


def a_class(name: str = "interactive", *, priority: int = 0, objectives: Object | None = None, **overrides: Any) -> Object:
    """A class; overrides name fields of `batching` and `queue`."""
    batching = {"mode": "Fixed", "maxBatchSize": 8, "windowSeconds": 0.005, "maxBatchTokens": 32768}
    queue = {"maxDepth": 64, "maxWaitSeconds": 5.0}
    for group in (batching, queue):
        group.update({key: overrides.pop(key) for key in tuple(overrides) if key in group})
    assert not overrides, overrides
    tier = {"name": name, "tier": "Interactive", "priority": priority, "objectives": objectives or {}}
    return {**tier, "batching": batching, "queue": queue}


def p95(target_s: float) -> Object:
    return {"quantile": 0.95, "targetSeconds": target_s}


def a_document(*classes: Object, task: str = "Chat", engine: str = "OpenAI", **fields: Any) -> Object:
    listed = list(classes) or [a_class()]
    head = {"schemaVersion": 1, "pool": {"namespace": "default", "name": "llama"}, "model": "m", "task": task, "engine": engine}
    return sealed({**head, "classes": listed, "defaultClass": listed[0]["name"], **fields})


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"\n\n"


def a_chunk(text: str, **fields: Any) -> Object:
    return {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}], **fields}


class FakeEngine:
    """Answers health and metrics, and everything else with `answer`, which a test sets."""

    def __init__(self) -> None:
        self.answer: Handler = self.chat
        self.seen: list[Request] = []
        self.running = 0
        self.most_running = 0
        self.gone = asyncio.Semaphore(0)
        self.release = asyncio.Event()
        self.release.set()
        self.metrics = b""
        self.token_s: Callable[[int], float] = lambda running: 0.0

    def bodies(self) -> list[Object]:
        return [orjson.loads(request.body) for request in self.seen]

    async def handle(self, request: Request, response: Response) -> None:
        if request.path == "/health":
            response.send(200)
        elif request.path == "/metrics":
            response.send(200 if self.metrics else 404, self.metrics)
        else:
            self.seen.append(request)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                await self.answer(request, response)
            except asyncio.CancelledError:
                self.gone.release()
                raise
            finally:
                self.running -= 1

    async def chat(self, request: Request, response: Response) -> None:
        """`max_tokens` tokens, each after `token_s(running)`; usage as OpenAI reports it."""
        body = orjson.loads(request.body)
        count = body.get("max_tokens", 3)
        usage = {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}
        if not body.get("stream"):
            await self.release.wait()
            response.send(
                200,
                orjson.dumps({"choices": [{"message": {"content": "x" * count}}], "usage": usage}),
                [JSON],
            )
            return
        response.start(200, [(b"content-type", b"text/event-stream")])
        await response.write(event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}))
        await self.release.wait()
        for n in range(count):
            await asyncio.sleep(self.token_s(self.running))
            await response.write(event(a_chunk(f"t{n}")))
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(event({"choices": [], "usage": usage}))
        await response.write(event(b"[DONE]"))
        response.end()

    async def embed(self, request: Request, response: Response) -> None:
        """One vector for each text, made of its bytes; a text with `bad` in it is refused, one with `die` cuts the connection."""
        await self.release.wait()
        body = orjson.loads(request.body)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        joined = " ".join(map(str, texts))
        if "bad" in joined:
            response.send(400, error_body("bad input", "invalid_request_error"), [JSON])
            return
        if "die" in joined:
            response.abort()
            return
        data = [{"object": "embedding", "index": n, "embedding": vector(text)} for n, text in enumerate(texts)]
        tokens = sum(len(str(text).split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        response.send(200, orjson.dumps({"object": "list", "data": data[::-1], "model": body.get("model"), "usage": usage}))


def vector(text: Any) -> list[float]:
    return [float(len(str(text))), float(sum(str(text).encode()))]


@dataclass
class Front:
    """A sidecar that a test talks to."""

    sidecar: Sidecar
    client: Client
    config: Path
    stop: asyncio.Event
    running: asyncio.Task[int]

    async def post(self, path: str, body: Object | bytes, *headers: tuple[bytes, bytes]) -> Reply:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return await self.client.send("127.0.0.1", self.sidecar.port, "POST", path, [JSON, *headers], raw)

    async def answer(self, path: str, body: Object | bytes, *headers: tuple[bytes, bytes]) -> tuple[int, Any]:
        reply = await self.post(path, body, *headers)
        return reply.status, orjson.loads(await reply.read())

    async def get(self, path: str) -> tuple[int, bytes]:
        reply = await self.client.send("127.0.0.1", self.sidecar.port, "GET", path)
        return reply.status, await reply.read()

    async def stream(self, body: Object, *headers: tuple[bytes, bytes]) -> bytes:
        reply = await self.post("/v1/chat/completions", {"stream": True, **body}, *headers)
        assert reply.status == 200, (reply.status, await reply.read())
        return await reply.read()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.sidecar.metrics.registry.get_sample_value(name, labels)

    def outcome(self, outcome: str, batch_class: str = "interactive") -> float | None:
        return self.metric("forebay_sidecar_requests_total", batch_class=batch_class, outcome=outcome)

    async def load(self) -> Object:
        return dict(orjson.loads((await self.get("/load"))[1]))

    async def ready(self) -> None:
        await until(lambda: not self.sidecar.not_ready())


@dataclass
class World(Front):
    """A sidecar and what stands behind it."""

    engine: FakeEngine
    engine_server: Server


@asynccontextmanager
async def a_front(
    document: Object, folder: Path, engine_port: int, *, pace: Pace | None = None, grace_s: float = 5.0
) -> AsyncIterator[Front]:
    """A ready sidecar before whatever listens on that port."""
    config = folder / "sidecar.json"
    config.write_text(json.dumps(document))
    settings = Settings(config, "127.0.0.1", 0, "127.0.0.1", engine_port, grace_s, "t0ken", pace or Pace(), config_every_s=0.02)
    sidecar, stop = Sidecar(settings), asyncio.Event()
    running = asyncio.create_task(sidecar.run(stop))
    client = Client()
    try:
        await until(lambda: sidecar.port != 0 or running.done())
        front = Front(sidecar, client, config, stop, running)
        await front.ready()
        yield front
    finally:
        stop.set()
        await client.close()
        await running


@asynccontextmanager
async def a_world(document: Object, folder: Path, *, pace: Pace | None = None, grace_s: float = 5.0) -> AsyncIterator[World]:
    engine = FakeEngine()
    if document["task"] == "Embeddings":
        engine.answer = engine.embed
    server = await serve(engine.handle, "127.0.0.1", 0)
    try:
        async with a_front(document, folder, server.port, pace=pace, grace_s=grace_s) as front:
            try:
                yield World(**vars(front), engine=engine, engine_server=server)
            finally:
                engine.release.set()
    finally:
        await server.close(0)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())

"""A gateway with everything around it over real sockets: sidecars that remember what they got, and an API server for EndpointSlices."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from forebay.api.canonical import short_hash
from forebay.dataplane.gateway.run import Role, Settings
from forebay.dataplane.http.client import Client
from forebay.dataplane.http.message import Handler, Request, Response
from forebay.dataplane.http.server import Server, serve

KEY = "acme-key"
JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream")]
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


async def until(true: Callable[[], Any], within_s: float = 10.0) -> Any:
    """Waits until something holds, and gives it."""
    async with asyncio.timeout(within_s):
        while not (found := true()):
            await asyncio.sleep(0.005)
    return found


def chat_answer(model: str, text: str = "hi") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage}


def chat_event(model: str, text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
    return b"data: " + orjson.dumps(body) + b"\n\n"


_USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
USAGE_EVENT = b"data: " + orjson.dumps({**chat_answer("m"), "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}) + b"\n\n"
DONE = b"data: [DONE]\n\n"


class Sidecar:
    """Answers as a sidecar does, unless a test puts its own `answer` in. Keeps every request it got."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.answer: Handler = self.usual
        self.load = {"queued": 0, "inFlight": 0, "limit": 8, "draining": False}
        self.cancelled = 0
        self.hold: asyncio.Event | None = None
        self._server: Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await serve(self._handle, "127.0.0.1", port)
        self.port = self._server.port

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close(0.0)

    async def _handle(self, request: Request, response: Response) -> None:
        if request.path == "/load":
            response.send(200, orjson.dumps(self.load), JSON)
            return
        self.seen.append(request)
        try:
            await self.answer(request, response)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def usual(self, request: Request, response: Response) -> None:
        asked = orjson.loads(request.body)
        if request.path == "/v1/embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}]
            usage = {"prompt_tokens": 4, "total_tokens": 4}
            body = {"object": "list", "data": data, "model": asked["model"], "usage": usage}
            response.send(200, orjson.dumps(body), JSON)
        elif request.path == "/v1/completions":
            choice = {"index": 0, "text": "hi", "finish_reason": "stop", "logprobs": None}
            body = {"id": "t1", "object": "text_completion", "created": 1, "model": asked["model"], "choices": [choice]}
            response.send(200, orjson.dumps(body), JSON)
        elif asked.get("stream"):
            response.start(200, SSE)
            await response.write(chat_event(asked["model"], "hel"))
            if self.hold is not None:
                await self.hold.wait()
            await response.write(chat_event(asked["model"], "lo") + USAGE_EVENT + DONE)
            response.end()
        else:
            if self.hold is not None:
                await self.hold.wait()
            response.send(200, orjson.dumps(chat_answer(asked["model"])), [*JSON, (b"x-forebay-queue-ms", b"12.5")])


def answers(status: int, *headers: tuple[bytes, bytes]) -> Handler:
    """A sidecar that answers everything with this status."""

    async def answer(request: Request, response: Response) -> None:
        response.send(status, orjson.dumps({"error": {"message": "no", "type": "t", "param": None, "code": "c"}}), [*JSON, *headers])

    return answer


def speaks(*pieces: bytes, broken: bool = False) -> Handler:
    """A sidecar that streams these pieces, then ends or breaks off."""

    async def answer(request: Request, response: Response) -> None:
        response.start(200, SSE)
        for piece in pieces:
            await response.write(piece)
        if broken:
            response.break_off()
        else:
            response.end()

    return answer


class ApiServer:
    """EndpointSlices by service: list and watch, as Kubernetes serves them."""

    def __init__(self) -> None:
        self.version = 100
        self.oldest = 0
        self.lists = 0
        self.authorizations: list[bytes | None] = []
        self._slices: dict[tuple[str, str], dict[str, Any]] = {}
        self._watchers: set[tuple[str, asyncio.Queue[dict[str, Any]]]] = set()
        self._server: Server | None = None
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await serve(self._handle, "127.0.0.1", port)
        self.port = self._server.port

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close(0.0)

    def put(self, service: str, ports: list[int], *, name: str = "", conditions: dict[str, Any] | None = None) -> None:
        """One slice per port, as replicas on one machine have."""
        wanted = {f"{service}-{name}{port}": port for port in ports}
        for key in [key for key in self._slices if key[0] == service and key[1] not in wanted]:
            self._tell(service, "DELETED", self._slices.pop(key))
        for slice_name, port in wanted.items():
            self.put_slice(service, slice_name, port, conditions or {"ready": True})

    def put_slice(self, service: str, name: str, port: int, conditions: dict[str, Any]) -> None:
        slice_ = {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": conditions}],
            "ports": [{"name": "metrics", "port": 1}, {"name": "http", "port": port}],
        }
        kind = "MODIFIED" if (service, name) in self._slices else "ADDED"
        self._slices[service, name] = slice_
        self._tell(service, kind, slice_)

    def _tell(self, service: str, kind: str, slice_: dict[str, Any]) -> None:
        self.version += 1
        slice_["metadata"]["resourceVersion"] = str(self.version)
        for watched, queue in self._watchers:
            if watched == service:
                queue.put_nowait({"type": kind, "object": json.loads(json.dumps(slice_))})

    async def _handle(self, request: Request, response: Response) -> None:
        self.authorizations.append(request.header(b"authorization"))
        assert request.path == "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", request.path
        options = dict(part.split("=", 1) for part in request.query.split("&"))
        service = options["labelSelector"].removeprefix("kubernetes.io%2Fservice-name%3D")
        if "watch" in options:
            await self._watch(service, int(options["resourceVersion"]), response)
            return
        self.lists += 1
        items = [slice_ for (owner, _), slice_ in self._slices.items() if owner == service]
        response.send(200, orjson.dumps({"metadata": {"resourceVersion": str(self.version)}, "items": items}), JSON)

    async def _watch(self, service: str, since: int, response: Response) -> None:
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        if since < self.oldest:
            queue.put_nowait({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}})
        response.start(200, JSON)
        await response.write(b"\n")
        self._watchers.add((service, queue))
        try:
            while True:
                line = orjson.dumps(await queue.get()) + b"\n"
                # In two pieces: an event may arrive cut anywhere.
                await response.write(line[:20])
                await response.write(line[20:])
        finally:
            self._watchers.discard((service, queue))


def a_rule(
    name: str = "default", *, pools: dict[str, int] | None = None, match: dict[str, list[str]] | None = None, **cache: Any
) -> dict[str, Any]:
    route = [{"pool": pool, "weight": weight} for pool, weight in (pools or {"default/chat": 1}).items()]
    exact = {"mode": "Deterministic", "ttlSeconds": 600.0, **cache}
    return {"name": name, "match": match or {}, "route": route, "cache": {"exact": exact}}


def a_policy(name: str = "support", **changes: Any) -> dict[str, Any]:
    policy = {
        "name": name,
        "models": ["support-chat"],
        "tenants": [{"name": "acme", "keys": f"{name}/acme"}],
        "defaultClass": "interactive",
        "rules": [a_rule()],
        "retryBudget": 0.5,
        "timeouts": {"firstByteSeconds": 5.0, "idleSeconds": 5.0},
        **changes,
    }
    return {**policy, "hash": short_hash(policy)}


def a_pool(
    name: str, *, model: str = "engine-model", task: str = "Chat", classes: tuple[str, ...] = ("interactive", "nightly")
) -> dict[str, Any]:
    return {"namespace": "default", "name": name, "service": f"{name}-forebay", "model": model, "task": task, "classes": list(classes)}


def a_document(*policies: dict[str, Any], pools: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    document = {
        "schemaVersion": 1,
        "gateway": {"namespace": "default", "name": "default"},
        "policies": list(policies) or [a_policy()],
        "pools": {f"default/{pool['name']}": pool for pool in pools or [a_pool("chat")]},
        "classes": {
            "interactive": {"tier": "Interactive", "priority": 100, "maxAttempts": 3},
            "steady": {"tier": "NearRealTime", "priority": 50, "maxAttempts": 3},
            "nightly": {"tier": "Deferred", "priority": 0, "maxAttempts": 3},
        },
        **changes,
    }
    return {**document, "hash": short_hash(document)}


class Got:
    """One answer, whole."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def header(self, name: str) -> str | None:
        return next((value.decode() for key, value in self.headers if key == name.encode()), None)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class World:
    """`async with World(...)`: a running gateway, its sidecars by pool, its API server and its files."""

    def __init__(
        self, folder: Path, document: dict[str, Any] | None = None, replicas: dict[str, int] | None = None, **settings: Any
    ) -> None:
        self.folder, self._document = folder, document or a_document()
        self._replicas = replicas if replicas is not None else {"chat": 1}
        self._settings = settings
        self.api = ApiServer()
        self.sidecars: dict[str, list[Sidecar]] = {}
        self.client = Client()
        self._stop = asyncio.Event()

    @property
    def sidecar(self) -> Sidecar:
        return next(iter(self.sidecars.values()))[0]

    async def __aenter__(self) -> World:
        await self.api.start()
        for pool, count in self._replicas.items():
            self.sidecars[pool] = [Sidecar() for _ in range(count)]
            for sidecar in self.sidecars[pool]:
                await sidecar.start()
            self.publish(pool)
        self.write_key("support/acme", KEY)
        self.write_document(self._document)
        settings = Settings(
            config=self.folder / "gateway.json",
            keys=self.folder / "keys",
            kubernetes=f"http://127.0.0.1:{self.api.port}",
            credentials=self.folder / "credentials",
            decisions=str(self.folder / "decisions.jsonl"),
            **{"grace_s": 0.2, "look_every_s": 0.02, **self._settings},
        )
        self.role = Role(settings)
        self._task = asyncio.get_running_loop().create_task(self.role.run(self._stop))
        await until(lambda: self._task.done() or (self.role.port and not self.role.not_ready()))
        await until(lambda: len(self.role.fleet.endpoints()) == sum(self._replicas.values()))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()
        for sidecars in self.sidecars.values():
            for sidecar in sidecars:
                await sidecar.stop()
        await self.api.stop()
        await self.client.close()

    async def stop(self) -> int:
        self._stop.set()
        return await self._task

    def publish(self, pool: str) -> None:
        self.api.put(f"{pool}-forebay", [sidecar.port for sidecar in self.sidecars[pool]])

    def write_key(self, folder: str, *keys: str) -> None:
        path = self.folder / "keys" / folder
        path.mkdir(parents=True, exist_ok=True)
        for index, key in enumerate(keys):
            (path / f"key{index}").write_text(key + "\n")

    def write_document(self, document: dict[str, Any]) -> None:
        fresh = self.folder / "gateway.json.new"
        fresh.write_bytes(orjson.dumps(document))
        fresh.rename(self.folder / "gateway.json")

    async def call(self, path: str = CHAT, body: Any = None, *, method: str = "POST", key: str | None = KEY, **headers: str) -> Got:
        """One request, its answer whole. Header names are given with underscores."""
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        if key is not None:
            sent.append((b"authorization", b"Bearer " + key.encode()))
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        async with await self.client.send("127.0.0.1", self.role.port, method, path, sent, raw) as reply:
            return Got(reply.status, reply.headers, await reply.read())

    async def chat(self, *, key: str | None = KEY, headers: dict[str, str] | None = None, **fields: Any) -> Got:
        return await self.call(CHAT, {"model": "support-chat", "messages": HELLO, **fields}, key=key, **(headers or {}))

    @contextlib.asynccontextmanager
    async def streaming(self, **fields: Any) -> AsyncIterator[Any]:
        """A chat stream that is being read."""
        body = orjson.dumps({"model": "support-chat", "messages": HELLO, "stream": True, **fields})
        headers = [(b"authorization", b"Bearer " + KEY.encode())]
        async with await self.client.send("127.0.0.1", self.role.port, "POST", CHAT, headers, body) as reply:
            yield reply

    def seen(self, pool: str = "chat") -> int:
        """Requests that a pool's sidecars got."""
        return sum(len(sidecar.seen) for sidecar in self.sidecars[pool])

    async def decisions(self, count: int) -> list[dict[str, Any]]:
        """Decision records, once there are so many."""
        path = self.folder / "decisions.jsonl"
        lines = await until(lambda: len(found := path.read_bytes().splitlines()) >= count and found)
        return [orjson.loads(line) for line in lines]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Runs an async test, and gives up on one that hangs."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


def metric(name: str, **labels: str) -> float:
    """A metric's value, 0 where it has none yet."""
    from forebay.dataplane.gateway.metrics import REGISTRY

    return REGISTRY.get_sample_value(name, labels) or 0.0


@contextlib.contextmanager
def counted(name: str, by: float, **labels: str) -> Iterator[None]:
    """A counter moves by so much inside."""
    before = metric(name, **labels)
    yield
    assert metric(name, **labels) - before == by, name

"""What stands around a gateway in its tests, over real sockets: sidecars that remember what they got, and an API server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson

from forebay.dataplane.http.message import Handler, Request, Response
from forebay.dataplane.http.server import Server, serve

JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream")]


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
        self._told: list[tuple[int, str, dict[str, Any]]] = []
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

    def put_slice(self, service: str, name: str, port: int, conditions: dict[str, Any], address: str = "127.0.0.1") -> None:
        slice_ = {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv6" if ":" in address else "IPv4",
            "endpoints": [{"addresses": [address], "conditions": conditions}],
            "ports": [{"name": "metrics", "port": 1}, {"name": "http", "port": port}],
        }
        kind = "MODIFIED" if (service, name) in self._slices else "ADDED"
        self._slices[service, name] = slice_
        self._tell(service, kind, slice_)

    def _tell(self, service: str, kind: str, slice_: dict[str, Any]) -> None:
        self.version += 1
        slice_["metadata"]["resourceVersion"] = str(self.version)
        event = {"type": kind, "object": json.loads(json.dumps(slice_))}
        self._told.append((self.version, service, event))
        for watched, queue in self._watchers:
            if watched == service:
                queue.put_nowait(event)

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
        else:
            # What happened between the list and the watch is told too, as an API server does.
            for version, owner, event in self._told:
                if owner == service and version > since:
                    queue.put_nowait(event)
        self._watchers.add((service, queue))
        response.start(200, JSON)
        await response.write(b"\n")
        try:
            while True:
                line = orjson.dumps(await queue.get()) + b"\n"
                # In two pieces: an event may arrive cut anywhere.
                await response.write(line[:20])
                await response.write(line[20:])
        finally:
            self._watchers.discard((service, queue))

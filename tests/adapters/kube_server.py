"""Servers that answer `KubeCluster` as a test wants, over real sockets."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from forebay.adapters.cluster import (
    Object,
)
from forebay.adapters.kube import KubeCluster

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def kubeconfig(folder: Path, server: str, cluster: Object | None = None, user: Object | None = None) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "it", "user": user or {"token": "secret"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@asynccontextmanager
async def served(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that answers everything by this handler; gives its address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(tmp_path: Path, handler: Handler, **limits: float) -> AsyncIterator[KubeCluster]:
    async with served(handler) as server:
        cluster = await KubeCluster.connect(kubeconfig(tmp_path, server), **limits)
        try:
            yield cluster
        finally:
            await cluster.close()


def answer(status: int, body: Any) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type="application/json")

    return handle


def refusal(code: int, message: str, **more: Any) -> Object:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message, **more}


class Recorder:
    """Keeps what was asked and answers with an empty object."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any, str]] = []
        self.tokens: list[str] = []

    async def __call__(self, request: web.Request) -> web.Response:
        body = json.loads(text) if (text := await request.text()) else None
        self.requests.append((request.method, request.path, dict(request.query), body, request.content_type))
        self.tokens.append(request.headers.get("Authorization", ""))
        return web.json_response({"metadata": {"resourceVersion": "1"}})

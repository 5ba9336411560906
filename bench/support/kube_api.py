"""A Kubernetes API for an operator in another process: what `forebay up` serves for reading, and the writes that an operator makes.

It asks nobody who they are, so it listens on loopback, and only a bench has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import orjson

from bench.support.process import HOST
from forebay.adapters.cluster import Cluster, ClusterError, NotFound
from forebay.dataplane.http.server import Request, Response, serve
from forebay.local.api_paths import Target, target_of
from forebay.local.api_server import ApiServer

_JSON = [(b"content-type", b"application/json")]
_SUBRESOURCES = ("status", "scale", "eviction")


class WritableApi:
    """The handler. One object is read from the cluster itself, for a lease is compared with what was written just now."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self.reads = cluster, ApiServer(cluster)

    async def handle(self, request: Request, response: Response) -> None:
        """Answers one request."""
        path, _, last = request.path.rpartition("/")
        path, subresource = (path, last) if last in _SUBRESOURCES else (request.path, None)
        target = target_of(path)
        if target is None or (request.method == "GET" and not target.name):
            await self.reads.handle(request, response)
            return
        try:
            status, answer = 200, await self._answer(request, target, subresource)
        except ClusterError as error:
            status = error.status or 500
            answer = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": str(error), "code": status}
        response.send(status, orjson.dumps(answer), _JSON)

    async def _answer(self, request: Request, target: Target, subresource: str | None) -> Any:
        query, cluster = dict(parse_qsl(request.query)), self._cluster
        body = orjson.loads(request.body) if request.body else {}
        kind, namespace, name = target.kind, target.namespace or None, target.name
        content, manager = request.header(b"content-type"), query.get("fieldManager", "")
        match request.method:
            case "GET" if (found := await cluster.get(kind, namespace, name)) is not None:
                return found
            case "POST" if not subresource:
                return await cluster.create(body)
            case "PATCH" if content == b"application/apply-patch+yaml":
                return await cluster.apply(body, manager=manager, subresource=subresource, force=query.get("force") == "true")
            case "PATCH":
                return await cluster.patch(kind, namespace, name, body, subresource=subresource, manager=manager)
            case "DELETE":
                uid = (body.get("preconditions") or {}).get("uid")
                if await cluster.delete(kind, namespace, name, uid=uid, grace_s=body.get("gracePeriodSeconds")):
                    return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        raise NotFound(f'{kind.plural} "{name}" not found', 404)


@asynccontextmanager
async def kube_api(cluster: Cluster) -> AsyncIterator[str]:
    """Serves the cluster while the block runs; gives the URL."""
    api = WritableApi(cluster)
    server = await serve(api.handle, HOST, 0)
    try:
        yield f"http://{HOST}:{server.port}"
    finally:
        await server.close(0.0)
        await api.reads.close()

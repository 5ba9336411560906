"""A read-only Kubernetes API over HTTP for `forebay up`: get, list and watch of the kinds this project uses.

Gateways, `forebay top` and kubectl then speak the one language that they speak with a cluster. It listens on loopback and asks nobody who
they are, so it gives no Secrets away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import orjson

from forebay.adapters.cluster import Cluster, ClusterError, Kind, Object
from forebay.dataplane.http.server import Request, Response, serve
from forebay.local.api_cache import Expired, KindCache, Wanted
from forebay.local.api_paths import Target, discovery, target_of
from forebay.local.selectors import meets, parse
from forebay.local.waiting import cancelled

_JSON = [(b"content-type", b"application/json")]
_WATCH_S, _LONGEST_WATCH_S = 600.0, 3600.0
_BOOKMARK_S = 60.0
_REASONS = {400: "BadRequest", 404: "NotFound", 405: "MethodNotAllowed", 410: "Expired", 500: "InternalError"}


class _Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiServer:
    """The handler, and one cache for each kind that was asked for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._caches: dict[Kind, tuple[KindCache, asyncio.Task[None]]] = {}

    async def handle(self, request: Request, response: Response) -> None:
        """Answers one request."""
        try:
            await self._answer(request, response)
        except _Refusal as refusal:
            response.send(refusal.code, orjson.dumps(_failure(refusal.code, str(refusal))), _JSON)

    async def close(self) -> None:
        await cancelled(*(task for _, task in self._caches.values()))

    async def _answer(self, request: Request, response: Response) -> None:
        if request.method not in ("GET", "HEAD"):
            raise _Refusal(405, "this API is read only: change the files that `forebay up` was given")
        if request.path in ("/healthz", "/livez", "/readyz"):
            return response.send(200, b"ok")
        if (found := discovery(request.path)) is not None:
            return response.send(200, orjson.dumps(found), _JSON)
        if (target := target_of(request.path)) is None:
            raise _Refusal(404, "the server could not find the requested resource")
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        cache = await self._cache(target.kind)
        if query.get("watch") in ("1", "true"):
            return await self._watch(cache, target, query, response)
        return response.send(200, orjson.dumps(_read(cache, target, query)), _JSON)

    async def _cache(self, kind: Kind) -> KindCache:
        if kind not in self._caches:
            cache = KindCache(self._cluster, kind)
            self._caches[kind] = cache, asyncio.create_task(cache.run())
        cache, task = self._caches[kind]
        synced = asyncio.create_task(cache.synced.wait())
        await asyncio.wait((synced, task), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await cancelled(synced)
            del self._caches[kind]
            problem = None if task.cancelled() else task.exception()
            raise _Refusal(problem.status or 500 if isinstance(problem, ClusterError) else 500, str(problem))
        return cache

    async def _watch(self, cache: KindCache, target: Target, query: Mapping[str, str], response: Response) -> None:
        wanted, since = _wanted(target, query), query.get("resourceVersion", "")
        seconds = min(_LONGEST_WATCH_S, float(_number(query, "timeoutSeconds", _WATCH_S)))
        version = int(_number(query, "resourceVersion", 0)) or cache.version
        response.start(200, _JSON)
        try:
            async with asyncio.timeout(seconds):
                if since in ("", "0"):
                    for obj in cache.list(wanted):
                        await _send(response, "ADDED", obj)
                await _follow(cache, target, wanted, version, response, bookmarks=query.get("allowWatchBookmarks") in ("1", "true"))
        except TimeoutError:
            pass
        except Expired as expired:
            await _send(response, "ERROR", _failure(410, str(expired)))
        response.end()


async def _follow(cache: KindCache, target: Target, wanted: Wanted, version: int, response: Response, *, bookmarks: bool) -> None:
    changes = cache.changes(version)
    following = asyncio.ensure_future(anext(changes))
    try:
        while True:
            done, _ = await asyncio.wait((following,), timeout=_BOOKMARK_S if bookmarks else None)
            if not done:
                await _send(response, "BOOKMARK", _bookmark(target.kind, cache.version))
                continue
            if event := following.result().seen_by(wanted):
                await _send(response, *event)
            following = asyncio.ensure_future(anext(changes))
    finally:
        await cancelled(following)


async def _send(response: Response, type_: str, obj: Object) -> None:
    await response.write(orjson.dumps({"type": type_, "object": obj}) + b"\n")


def _read(cache: KindCache, target: Target, query: Mapping[str, str]) -> Object:
    found = cache.list(_wanted(target, query))
    if not target.name:
        kind, version = f"{target.kind.name}List", str(cache.version)
        return {"kind": kind, "apiVersion": target.kind.api_version, "metadata": {"resourceVersion": version}, "items": found}
    if not found:
        group = f".{target.kind.group}" if target.kind.group else ""
        raise _Refusal(404, f'{target.kind.plural}{group} "{target.name}" not found')
    return found[0]


def _wanted(target: Target, query: Mapping[str, str]) -> Wanted:
    """Whether a client sees an object: by namespace, name, labels, and the two fields by which one may select."""
    try:
        labels, fields = parse(query.get("labelSelector", "")), parse(query.get("fieldSelector", ""))
    except ValueError as error:
        raise _Refusal(400, str(error)) from error
    if unknown := [one["key"] for one in fields if one["key"] not in ("metadata.name", "metadata.namespace")]:
        raise _Refusal(400, f"field label not supported: {unknown[0]}")

    def wanted(obj: Object) -> bool:
        metadata = obj["metadata"]
        namespace = metadata.get("namespace", "")
        here = target.namespace in ("", namespace) and target.name in ("", metadata["name"])
        places = {"metadata.name": metadata["name"], "metadata.namespace": namespace}
        return here and meets(labels, metadata.get("labels") or {}) and meets(fields, places)

    return wanted


def _number(query: Mapping[str, str], name: str, otherwise: float) -> float:
    text = query.get(name, "")
    if not text:
        return otherwise
    if not text.isdigit():
        raise _Refusal(400, f"{name}: {text!r} is not a number")
    return float(text)


def _bookmark(kind: Kind, version: int) -> Object:
    return {"kind": kind.name, "apiVersion": kind.api_version, "metadata": {"resourceVersion": str(version)}}


def _failure(code: int, message: str) -> Object:
    reason = _REASONS.get(code, "Unknown")
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}


@asynccontextmanager
async def api_server(cluster: Cluster, host: str, port: int = 0) -> AsyncIterator[str]:
    """Serves the cluster while the block runs; gives the URL. OSError where the address cannot be had."""
    api = ApiServer(cluster)
    server = await serve(api.handle, host, port)
    try:
        yield f"http://{host}:{server.port}"
    finally:
        await server.close(0.0)
        await api.close()

"""The gateway's way of a request: door, key, model, class and rule, cache, replica, answer, record.

Cheap checks stand before dear ones, and nothing is looked at twice. What can change while it runs (configuration, keys, replicas) is
swapped whole by others; a request uses what was there when it came.
"""

from __future__ import annotations

import asyncio
import functools
import time

import orjson

from forebay.dataplane.gateway import metrics, reasons, trace
from forebay.dataplane.gateway.answer import EVENT_STREAM, Answer
from forebay.dataplane.gateway.attempt import Call
from forebay.dataplane.gateway.cache import Cache, Entry, cacheable, key_of
from forebay.dataplane.gateway.decisions import Decisions
from forebay.dataplane.gateway.deliver import deliver
from forebay.dataplane.gateway.doors import DOORS, MODELS, Ask, Refusal, allowed_method, asked_model, read
from forebay.dataplane.gateway.flight import Flights
from forebay.dataplane.gateway.keys import Keys
from forebay.dataplane.gateway.record import CLIENT_GONE, Record
from forebay.dataplane.gateway.routing import Route, Router
from forebay.dataplane.gateway.upstream import Upstream
from forebay.dataplane.http.errors import JSON, send_error
from forebay.dataplane.http.headers import ROLE_HEADER
from forebay.dataplane.http.message import Request, Response

_MAX_TRACESTATE = 512
_ROLE = (ROLE_HEADER, b"gateway")
_CACHE_RESULT = {result: metrics.CACHE.labels(result) for result in ("hit", "miss", "collapsed", "bypass", "stored")}
_OTHER_TASK = {"Chat": "Embeddings", "Embeddings": "Chat"}


class Gateway:
    """Answers the OpenAI API. `router` is None until there is a configuration."""

    def __init__(self, keys: Keys, upstream: Upstream, cache: Cache, decisions: Decisions) -> None:
        self._keys, self._upstream, self._cache, self._decisions = keys, upstream, cache, decisions
        self._flights = Flights()
        self.router: Router | None = None

    async def handle(self, request: Request, response: Response) -> None:
        """Answers one request. Cancelled, it gives up what it was doing for this client."""
        record = Record(trace.request_id(request.header(b"x-request-id")), *trace.traceparent(request.header(b"traceparent")))
        metrics.IN_FLIGHT.inc()
        try:
            await self._answer(request, response, record)
        except Refusal as refusal:
            self._refuse(refusal, response, record)
        except asyncio.CancelledError:
            # Either the client hung up, or the grace period is over: then it is the gateway that does not finish.
            record.broken = not response.gone
            record.reasons.append(reasons.CLIENT_GONE if response.gone else reasons.SHUTDOWN)
            record.status = record.status or (CLIENT_GONE if response.gone else 503)
            raise
        finally:
            record.status = record.status or 500
            metrics.IN_FLIGHT.dec()
            record.count()
            if record.operation:
                self._decisions.add(record.line())

    async def _answer(self, request: Request, response: Response, record: Record) -> None:
        door = DOORS.get(request.path)
        record.operation = door.name if door is not None else ""
        method = allowed_method(request.path)
        if request.method != method:
            record.status = 405
            send_error(response, 405, f"{request.path} answers {method}.", headers=[(b"allow", method.encode()), _id(record)])
            return
        router = self.router
        if router is None:
            raise Refusal(503, "The gateway has no configuration yet; try again shortly.")
        folders = self._authenticate(request)
        if door is None:
            self._list_models(router, folders, request.path, response, record)
            return
        ask = read(door, request)
        route = _route(router, ask, folders, record)
        await self._serve(ask, route, request, response, record)

    def _authenticate(self, request: Request) -> frozenset[str]:
        scheme, _, token = (request.header(b"authorization") or b"").partition(b" ")
        folders = self._keys.folders_of(token.strip()) if scheme.lower() == b"bearer" else None
        if folders is None:
            raise Refusal(401, "The API key is missing or wrong: send it as 'Authorization: Bearer KEY'.")
        return folders

    def _list_models(self, router: Router, folders: frozenset[str], path: str, response: Response, record: Record) -> None:
        models = router.models(folders)
        entries = [{"id": model, "object": "model", "created": 0, "owned_by": "forebay"} for model in models]
        if path == MODELS:
            body = orjson.dumps({"object": "list", "data": entries})
        else:
            wanted = asked_model(path) or ""
            if wanted not in models:
                raise _no_model(wanted)
            body = orjson.dumps(entries[models.index(wanted)])
        record.status = 200
        response.send(200, body, [JSON, _id(record), _ROLE])

    async def _serve(self, ask: Ask, route: Route, request: Request, response: Response, record: Record) -> None:
        call = Call(ask, route, self._upstream.turn(route), _upstream_headers(ask, route, request, record))
        rule = route.rule
        if call.pool is None or not cacheable(rule.cache_mode, ask):
            await self._straight(call, "bypass", reasons.CACHE_BYPASS, response, record)
            return
        asked = (request.header(b"cache-control") or b"").lower()
        if b"no-store" in asked:
            await self._straight(call, "request", reasons.CACHE_REFUSED_BY_CLIENT, response, record)
            return
        key = key_of(ask, route.policy, route.tenant, call.pool.model)
        fresh_only = b"no-cache" in asked
        entry = None if fresh_only else self._cache.get(key, time.monotonic())
        if entry is not None:
            await self._replay(entry, response, record)
        else:
            await self._fly(key, call, fresh_only, response, record)

    async def _straight(self, call: Call, cache: str, reason: str, response: Response, record: Record) -> None:
        """To a replica, with nobody else and nothing kept."""
        _note_cache(record, cache, "bypass", reason)
        answer = await self._upstream.answer(call)
        try:
            await deliver(answer, response, record)
        finally:
            if answer.chunks is not None:
                answer.chunks.close()

    async def _replay(self, entry: Entry, response: Response, record: Record) -> None:
        _note_cache(record, "hit", "hit", reasons.CACHE_HIT)
        answer = Answer(200, entry.content_type, entry.body, pool=entry.pool, stored=True)
        if record.stream:
            record.first = time.perf_counter()
        await deliver(answer, response, record, age_s=int(time.monotonic() - entry.stored_at))

    async def _fly(self, key: bytes, call: Call, fresh_only: bool, response: Response, record: Record) -> None:
        """To a replica together with whoever asks the same; what comes back is kept when it is whole."""
        follower = None if fresh_only else self._flights.join(key)
        if follower is not None:
            _note_cache(record, "collapsed", "collapsed", reasons.CACHE_COLLAPSED)
        else:
            cache, reason = ("request", reasons.CACHE_REFUSED_BY_CLIENT) if fresh_only else ("miss", reasons.CACHE_MISS)
            _note_cache(record, cache, "miss", reason)
            start = functools.partial(self._upstream.answer, call)
            follower = self._flights.begin(key, start, functools.partial(self._keep, key, call), joinable=not fresh_only)
        try:
            await deliver(await follower.answer(), response, record)
        finally:
            follower.close()

    def _keep(self, key: bytes, call: Call, answer: Answer, body: bytes) -> bool:
        pool = answer.pool
        # Another pool of the rule may have answered, with another model than the key says.
        if pool is None or call.pool is None or pool.model != call.pool.model:
            return False
        now = time.monotonic()
        kept = self._cache.put(key, Entry(body, answer.content_type, pool, now, now + call.route.rule.cache_ttl_s))
        if kept:
            _CACHE_RESULT["stored"].inc()
            metrics.CACHE_BYTES.set(self._cache.bytes)
        return kept

    def _refuse(self, refusal: Refusal, response: Response, record: Record) -> None:
        record.status = refusal.status
        record.reasons.append(reasons.REFUSED)
        headers = [_id(record), _ROLE]
        if refusal.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        send_error(
            response,
            refusal.status,
            refusal.message,
            code=refusal.code,
            param=refusal.param,
            retry_after_s=1 if refusal.status == 503 else None,
            headers=headers,
        )


def _route(router: Router, ask: Ask, folders: frozenset[str], record: Record) -> Route:
    """The route of a request, noted in its record. A model that a key may not use does not exist for it."""
    record.stream = ask.stream
    tenant = router.tenant(ask.model, folders)
    if tenant is None:
        raise _no_model(ask.model)
    record.tenant, record.model = tenant, ask.model
    route = router.route(ask.model, tenant, ask.tier, ask.door.task)
    if route is None:
        if router.route(ask.model, tenant, ask.tier, _OTHER_TASK[ask.door.task]) is not None:
            raise Refusal(400, f"The model {ask.model!r} does not answer {ask.door.path}.", param="model")
        raise _no_model(ask.model)
    record.policy, record.rule, record.batch_class = route.policy.name, route.rule.name, route.batch_class.name
    record.reasons.append(route.reason)
    return route


def _no_model(model: str) -> Refusal:
    return Refusal(404, f"The model {model[:200]!r} does not exist or you do not have access to it.", code="model_not_found", param="model")


def _upstream_headers(ask: Ask, route: Route, request: Request, record: Record) -> list[tuple[bytes, bytes]]:
    """All that a replica gets: nothing else that a client sends, its key least of all, goes further than this gateway."""
    headers = [
        JSON,
        (b"accept", EVENT_STREAM if ask.stream else b"application/json"),
        _id(record),
        (b"traceparent", record.traceparent),
        (b"x-forebay-class", route.batch_class.name.encode()),
        (b"x-forebay-tenant", route.tenant.encode()),
    ]
    if record.continues:
        state = request.header(b"tracestate")
        if state is not None and len(state) <= _MAX_TRACESTATE:
            headers.append((b"tracestate", state))
    return headers


def _id(record: Record) -> tuple[bytes, bytes]:
    return b"x-request-id", record.request_id


def _note_cache(record: Record, cache: str, counted: str, reason: str) -> None:
    record.cache = cache
    record.reasons.append(reason)
    _CACHE_RESULT[counted].inc()

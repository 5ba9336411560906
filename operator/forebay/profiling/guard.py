"""Whether an endpoint may be loaded: one that serves others, or that is not near, is not, unless told."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import orjson

from forebay.dataplane.http.client import Client, UpstreamError
from forebay.dataplane.sidecar.vocabulary import NAMES, RUNNING, WAITING, translate
from forebay.profiling.load import Endpoint
from forebay.runtime.errors import ForebayError

_MOST_BYTES = 16 << 20


async def objection(client: Client, endpoint: Endpoint) -> str:
    """Why this endpoint should not be loaded; empty where nothing speaks against it.

    Raises:
        ForebayError: it does not answer.
    """
    far = await _far(endpoint.host)
    if far:
        return far
    text = await _get(client, endpoint, "/metrics")
    for role in ("gateway", "sidecar"):
        if f"# TYPE forebay_{role}_".encode() in text:
            return f"this is a Forebay {role}, in front of engines that serve others: name an engine of its own"
    for kind in NAMES:
        found = translate(kind, text)
        busy = found.get(RUNNING, 0.0) + found.get(WAITING, 0.0)
        if busy > 0:
            return f"the engine has {busy:.0f} requests of others now ({kind}'s metrics)"
    return ""


async def _far(host: str) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ForebayError(f"{host!r} cannot be found: {error}") from error
    addresses = sorted({str(entry[4][0]) for entry in found})
    public = [a for a in addresses if not ipaddress.ip_address(a.partition("%")[0]).is_private]
    return f"{public[0]} is a public address" if public else ""


async def models(client: Client, endpoint: Endpoint) -> list[str]:
    """What the engine calls its models; empty where it does not say."""
    try:
        data = orjson.loads(await _get(client, endpoint, endpoint.prefix + "/v1/models"))
        return [str(entry["id"]) for entry in data["data"]]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return []


async def _get(client: Client, endpoint: Endpoint, path: str) -> bytes:
    try:
        async with await client.send(endpoint.host, endpoint.port, "GET", path, endpoint.headers, first_byte_timeout_s=10) as reply:
            body = await reply.read(_MOST_BYTES)
            return body if reply.status == 200 else b""
    except UpstreamError as error:
        raise ForebayError(f"{endpoint.host}:{endpoint.port} does not answer: {error}") from error

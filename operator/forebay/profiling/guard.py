"""Whether an endpoint may be loaded: one that serves others, that is not near or that cannot be told to be idle is not, unless told."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket

import orjson

from forebay.dataplane.http.client import Client, UpstreamError
from forebay.dataplane.http.headers import ROLE_HEADER
from forebay.dataplane.sidecar.vocabulary import NAMES, RUNNING, WAITING, translate
from forebay.profiling.load import Endpoint, refusal
from forebay.runtime.errors import ForebayError

LOOKS, EVERY_S = 5, 0.5
"""A light load leaves an engine idle between two of its requests: so often its metrics are looked at, this far apart."""

_MOST_BYTES = 16 << 20
_MODELS = "/v1/models"
_METRICS = "/metrics"
_ROLES = ("gateway", "sidecar")

# An engine that was never asked may have no line yet for what waits and runs, but others that begin alike: `tgi_`, `vllm:`.
_OF = {kind: re.compile(rb"^(?:# \w+ )?" + re.split(r"(?<=[:_])", names[WAITING][0])[0].encode(), re.M) for kind, names in NAMES.items()}


async def objection(client: Client, endpoint: Endpoint) -> str:
    """Why this endpoint should not be loaded; empty where nothing speaks against it.

    Raises:
        ForebayError: it does not answer.
    """
    addresses = await _addresses(endpoint.host)
    public = [str(address) for address in addresses if not address.is_private]
    if public:
        return f"{public[0]} is a public address"
    role = await _role(client, endpoint)
    if role:
        return f"this is a Forebay {role}, in front of engines that serve others: name an engine of its own"
    near = all(address.is_loopback or address.is_unspecified for address in addresses)
    for look in range(LOOKS):
        if look:
            await asyncio.sleep(EVERY_S)
        kind, busy = _seen((await _get(client, endpoint, _METRICS))[1])
        if not kind and near:
            return ""
        if not kind:
            return f"it is not this machine's, and its /metrics are of no engine that is known ({', '.join(NAMES)}): it may serve others"
        if busy > 0:
            return f"the engine has {busy:.0f} requests of others now ({kind}'s metrics)"
    return ""


def _seen(text: bytes) -> tuple[str, float]:
    """The kind of engine that these metrics are of, empty where it is none that is known, and the requests that it has."""
    kinds = [kind for kind in NAMES if _OF[kind].search(text)]
    found = {kind: translate(kind, text) for kind in kinds}
    busy = {kind: values.get(RUNNING, 0.0) + values.get(WAITING, 0.0) for kind, values in found.items()}
    return max(busy.items(), key=lambda item: item[1], default=("", 0.0))


async def _role(client: Client, endpoint: Endpoint) -> str:
    """Which of Forebay's roles this is, empty for anything else. A proxy between may hand on one of the two paths alone."""
    for path in (_METRICS, endpoint.prefix + _MODELS):
        said, text = await _get(client, endpoint, path)
        for role in _ROLES:
            if said == role or f"# TYPE forebay_{role}_".encode() in text:
                return role
    return ""


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


async def _addresses(host: str) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ForebayError(f"{host!r} cannot be found: {error}") from error
    return [ipaddress.ip_address(text) for text in sorted({str(entry[4][0]).partition("%")[0] for entry in found})]


async def models(client: Client, endpoint: Endpoint) -> list[str]:
    """What the engine calls its models; empty where it does not say.

    Raises:
        ForebayError: it does not answer, or says no: why.
    """
    status, _, body = await _asked(client, endpoint, endpoint.prefix + _MODELS)
    if status in (401, 403):
        raise ForebayError(refusal(status, body, endpoint.prefix + _MODELS, endpoint))
    if status == 404:
        raise ForebayError(f"the engine answers 404 to {endpoint.prefix + _MODELS}: correct the URL, which ends before /v1, or say --model")
    try:
        return [str(entry["id"]) for entry in orjson.loads(body)["data"]]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return []


async def _get(client: Client, endpoint: Endpoint, path: str) -> tuple[str, bytes]:
    """Which role says that it answers, and the body where the status is 200."""
    status, role, body = await _asked(client, endpoint, path)
    return role, body if status == 200 else b""


async def _asked(client: Client, endpoint: Endpoint, path: str) -> tuple[int, str, bytes]:
    """The status, which role says that it answers, and the body."""
    try:
        async with await client.send(endpoint.host, endpoint.port, "GET", path, endpoint.headers, first_byte_timeout_s=10) as reply:
            body = await reply.read(_MOST_BYTES)
            return reply.status, (reply.header(ROLE_HEADER) or b"").decode("latin-1"), body
    except UpstreamError as error:
        raise ForebayError(f"{endpoint.host}:{endpoint.port} does not answer: {error}") from error

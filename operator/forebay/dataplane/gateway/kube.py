"""The Kubernetes API as far as a gateway needs it: to list one kind of object, and to follow its changes.

The general client is no part of a gateway's install, and this much of the API is small: JSON over HTTP, one object per line in a watch.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from forebay.dataplane.http.client import Client, Reply
from forebay.runtime.errors import UsageError

_MAX_LIST_BYTES = 32 * 1024 * 1024
_MAX_LINE_BYTES = 4 * 1024 * 1024
_ANSWER_S = 30.0


class Refused(Exception):
    """The API server answered with an error. 410 means that the version asked for is gone: list again."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """One API server."""

    def __init__(self, host: str, port: int, credentials: Path | None) -> None:
        self._host, self._port, self._credentials = host, port, credentials
        context = None
        if credentials is not None:
            authority = credentials / "ca.crt"
            context = ssl.create_default_context(cafile=authority if authority.exists() else None)
        self._client = Client(max_idle_per_host=4, ssl=context)

    async def list(self, path: str) -> dict[str, Any]:
        """The collection at a path and query.

        Raises:
            Refused: the server answered with an error.
            UpstreamError: it did not answer.
            ValueError: its answer is not a list of objects.
        """
        async with await self._get(path, _ANSWER_S) as reply:
            found = orjson.loads(await reply.read(_MAX_LIST_BYTES))
        if not isinstance(found, dict) or not isinstance(found.get("items"), list):
            raise ValueError("the answer is not a list of objects")
        return found

    async def watch(self, path: str, seconds: float) -> AsyncIterator[dict[str, Any]]:
        """Events at a path and query that ask for a watch of so many seconds, until the server ends it. Raises as `list` does."""
        async with await self._get(path, seconds + _ANSWER_S) as reply:
            rest = b""
            async for chunk in reply:
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _MAX_LINE_BYTES:
                    raise ValueError("an event is longer than is believed")
                for line in lines:
                    if line.strip():
                        yield _event(line)

    async def close(self) -> None:
        await self._client.close()

    async def _get(self, path: str, idle_s: float) -> Reply:
        headers = [(b"accept", b"application/json")]
        token = self._token()
        if token:
            headers.append((b"authorization", b"Bearer " + token))
        reply = await self._client.send(self._host, self._port, "GET", path, headers, first_byte_timeout_s=_ANSWER_S, idle_timeout_s=idle_s)
        if reply.status != 200:
            async with reply:
                raise Refused(reply.status, (await reply.read(_MAX_LINE_BYTES))[:300].decode("utf-8", "replace"))
        return reply

    def _token(self) -> bytes:
        """Read for every request: the kubelet replaces it long before it expires."""
        if self._credentials is None:
            return b""
        try:
            return (self._credentials / "token").read_bytes().strip()
        except OSError:
            return b""


def _event(line: bytes) -> dict[str, Any]:
    event = orjson.loads(line)
    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
        raise ValueError("the watch sent something that is not an event")
    if event.get("type") == "ERROR":
        raise Refused(int(event["object"].get("code", 500)), str(event["object"].get("message", "")))
    return event


def connect(where: str, credentials: Path) -> Api:
    """The API server at a URL, or the one of the cluster that this process runs in.

    Raises:
        UsageError: that is not a URL, or this is no cluster.
    """
    if where == "in-cluster":
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not port.isdigit():
            raise UsageError("--kubernetes in-cluster: KUBERNETES_SERVICE_HOST is not set, so this does not run in a cluster")
        return Api(host, int(port), credentials)
    url = urlsplit(where)
    try:
        port_given = url.port
    except ValueError:
        port_given = 0
    if url.scheme not in ("http", "https") or not url.hostname or port_given == 0:
        raise UsageError(f"--kubernetes: {where!r} is not a URL such as https://10.0.0.1:6443, nor in-cluster, nor none")
    if url.scheme == "http":
        return Api(url.hostname, port_given or 80, None)
    return Api(url.hostname, port_given or 443, credentials)

"""`forebay gateway` as it runs in a cluster: configuration, keys and EndpointSlices are all there, only the API server is in memory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson

from bench.support.process import HOST, Measured, free_port, running
from forebay.adapters.memory.cluster import MemoryCluster
from forebay.api.canonical import sealed
from forebay.dataplane.http.client import Client, UpstreamError
from forebay.local.api_server import api_server
from forebay.runtime.errors import ForebayError

MODEL, ENGINE_MODEL, KEY = "support-chat", "engine-model", "sk-bench"
_READY_S = 15.0

_POLICY = {
    "name": "support",
    "models": [MODEL],
    "tenants": [{"name": "acme", "keys": "support/acme"}],
    "defaultClass": "interactive",
    "rules": [
        {
            "name": "default",
            "match": {},
            "route": [{"pool": "default/chat", "weight": 1}],
            "cache": {"exact": {"mode": "Deterministic", "ttlSeconds": 600.0}},
        }
    ],
    "retryBudget": 0.1,
    "timeouts": {"firstByteSeconds": 60.0, "idleSeconds": 60.0},
}
_POOL = {
    "namespace": "default",
    "name": "chat",
    "service": "chat-forebay",
    "model": ENGINE_MODEL,
    "task": "Chat",
    "classes": ["interactive"],
}
_DOCUMENT = {
    "schemaVersion": 1,
    "gateway": {"namespace": "default", "name": "default"},
    "policies": [sealed(_POLICY)],
    "pools": {"default/chat": _POOL},
    "classes": {"interactive": {"tier": "Interactive", "priority": 100, "maxAttempts": 2}},
}


@asynccontextmanager
async def gateway(folder: Path, backend_port: int) -> AsyncIterator[tuple[Measured, int]]:
    """Runs one in front of a backend; decisions go to a file, as they would to a log."""
    place = folder / "gateway"
    (place / "keys/support/acme").mkdir(parents=True)
    (place / "keys/support/acme/key").write_text(KEY)
    (place / "gateway.json").write_bytes(orjson.dumps(sealed(_DOCUMENT)))
    cluster = MemoryCluster()
    await cluster.create(_slice(backend_port))
    port, admin_port = free_port(), free_port()
    async with api_server(cluster, HOST) as url:
        argv = [sys.executable, "-m", "forebay", "gateway", "--config", str(place / "gateway.json"), "--keys", str(place / "keys")]
        argv += ["--host", HOST, "--port", str(port), "--admin-port", str(admin_port), "--kubernetes", url, "--grace", "1s"]
        async with running("gateway", [*argv, "--decisions", str(place / "decisions.jsonl")], folder) as process:
            await _ready(process, admin_port, folder)
            yield process, port


def _slice(port: int) -> dict[str, object]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "chat-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "chat-forebay"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [HOST], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


async def _ready(process: Measured, admin_port: int, folder: Path) -> None:
    client = Client()
    try:
        async with asyncio.timeout(_READY_S):
            while not process.ended:
                with suppress(UpstreamError):
                    async with await client.send(HOST, admin_port, "GET", "/readyz") as reply:
                        if reply.status == 200:
                            return
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    finally:
        await client.close()
    raise ForebayError("the gateway does not get ready:\n" + (folder / "gateway.log").read_text()[-2000:])

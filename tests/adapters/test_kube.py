"""The HTTP side of `KubeCluster`: what goes over the wire, and what refusals become."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.adapters.contract_objects import a_config_map
from tests.adapters.kube_server import Recorder, answer, connected, kubeconfig, refusal

from forebay.adapters.cluster import (
    CONFIG_MAPS,
    NODES,
    PODS,
    ClusterError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unavailable,
)
from forebay.adapters.kube import KubeCluster


@pytest.mark.parametrize(
    ("status", "body", "expected", "message"),
    [
        (400, refusal(400, "bad"), Invalid, "bad"),
        (422, refusal(422, 'ConfigMap "c" is invalid'), Invalid, 'ConfigMap "c" is invalid'),
        (401, refusal(401, "Unauthorized"), Forbidden, "Unauthorized"),
        (403, refusal(403, "no"), Forbidden, "no"),
        (404, "404 page not found\n", NotFound, "404 page not found"),
        (409, refusal(409, "modified"), Conflict, "modified"),
        (429, refusal(429, "slow down"), Unavailable, "slow down"),
        (410, refusal(410, "expired"), Unavailable, "expired"),
        (500, refusal(500, "etcdserver: leader changed"), Unavailable, "etcdserver: leader changed"),
        (503, "", Unavailable, "HTTP 503"),
        (500, refusal(500, "failed to create typed patch object (ns/c): .foo: field not declared in schema"), Invalid, r"\.foo"),
        (200, "<html>", ClusterError, "is this a Kubernetes API"),
    ],
)
def test_a_refusal_becomes_an_error_with_the_servers_words(
    tmp_path: Path, status: int, body: Any, expected: type[ClusterError], message: str
) -> None:
    async def check() -> None:
        async with connected(tmp_path, answer(status, body)) as cluster:
            with pytest.raises(ClusterError, match=message) as error:
                await cluster.patch(CONFIG_MAPS, "ns", "c", {})
            assert type(error.value) in (expected, *expected.__subclasses__())
            assert error.value.status == status

    asyncio.run(check())


def test_an_eviction_is_held_back_by_a_budget_only(tmp_path: Path) -> None:
    async def check() -> None:
        held = refusal(429, "Cannot evict pod", details={"causes": [{"reason": "DisruptionBudget"}]})
        async with connected(tmp_path, answer(429, held)) as cluster:
            assert await cluster.evict("ns", "pod") is False
        async with connected(tmp_path, answer(429, refusal(429, "too many requests"))) as cluster:
            with pytest.raises(Unavailable):
                await cluster.evict("ns", "pod")

    asyncio.run(check())


def test_where_nobody_answers(tmp_path: Path, unused_port: int) -> None:
    async def check() -> None:
        cluster = await KubeCluster.connect(kubeconfig(tmp_path, f"http://127.0.0.1:{unused_port}"))
        with pytest.raises(Unavailable, match="GET /api/v1/namespaces/ns/configmaps/c") as error:
            await cluster.get(CONFIG_MAPS, "ns", "c")
        assert error.value.status == 0
        await cluster.close()

        async def never(request: web.Request) -> web.Response:
            await asyncio.sleep(30)
            return web.Response()

        async with connected(tmp_path, never, timeout_s=0.1) as slow:
            with pytest.raises(Unavailable):
                await slow.list(CONFIG_MAPS)

    asyncio.run(check())


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_goes_over_the_wire(tmp_path: Path) -> None:
    async def check() -> None:
        recorder = Recorder()
        config_map, path = a_config_map("ns"), "/api/v1/namespaces/ns/configmaps"
        async with connected(tmp_path, recorder) as cluster:
            await cluster.create(config_map)
            await cluster.apply(config_map, manager="forebay-gateway")
            await cluster.apply(config_map, manager="m", subresource="status", force=True)
            await cluster.patch(CONFIG_MAPS, "ns", "c", {"data": None}, manager="m")
            await cluster.delete(CONFIG_MAPS, "ns", "c", uid="u", grace_s=0)
            await cluster.list(PODS, labels={"app": "x", "forebay.dev/pool": "ns.p"})
            await cluster.get(NODES, None, "a b/c")
            await cluster.evict("ns", "pod")
        strict = {"fieldValidation": "Strict"}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": "ns", "name": "pod"}}
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        apply, merge, plain = "application/apply-patch+yaml", "application/merge-patch+json", "application/json"
        assert recorder.requests == [
            ("POST", path, {"fieldManager": "forebay", **strict}, config_map, plain),
            ("PATCH", f"{path}/c", {"fieldManager": "forebay-gateway", "force": "false", **strict}, config_map, apply),
            ("PATCH", f"{path}/c/status", {"fieldManager": "m", "force": "true", **strict}, config_map, apply),
            ("PATCH", f"{path}/c", {"fieldManager": "m", **strict}, {"data": None}, merge),
            ("DELETE", f"{path}/c", {}, {**options, "preconditions": {"uid": "u"}, "gracePeriodSeconds": 0}, plain),
            ("GET", "/api/v1/pods", {"limit": "500", "labelSelector": "app=x,forebay.dev/pool=ns.p"}, None, plain),
            ("GET", "/api/v1/nodes/a b/c", {}, None, plain),
            ("POST", "/api/v1/namespaces/ns/pods/pod/eviction", {}, eviction, plain),
        ]
        assert set(recorder.tokens) == {"Bearer secret"}

    asyncio.run(check())


def test_long_lists_come_in_pieces(tmp_path: Path) -> None:
    async def check() -> None:
        async def pages(request: web.Request) -> web.Response:
            page = int(request.query.get("continue", "0"))
            items = [{"metadata": {"name": f"c{page}"}}]
            more = {"continue": str(page + 1)} if page < 2 else {}
            return web.json_response({"metadata": {"resourceVersion": "9", **more}, "items": items})

        async with connected(tmp_path, pages) as cluster:
            listed = await cluster.list(CONFIG_MAPS, "ns")
            assert [obj["metadata"]["name"] for obj in listed] == ["c0", "c1", "c2"]
            assert listed[0]["kind"] == "ConfigMap"

    asyncio.run(check())

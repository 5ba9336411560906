"""The read-only API over HTTP, as its clients see it."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.local.waiting import eventually

from forebay.adapters.cluster import CONFIG_MAPS, ENDPOINT_SLICES
from forebay.adapters.memory import MemoryCluster
from forebay.dataplane.gateway.config import Pool
from forebay.dataplane.gateway.endpoints import PoolWatch
from forebay.dataplane.gateway.fleet import Replicas
from forebay.dataplane.gateway.kube import Api, Refused, connect
from forebay.local.api_server import api_server
from forebay.local.selectors import meets, parse
from forebay.local.waiting import beside

Object = dict[str, Any]
MAPS = "/api/v1/namespaces/default/configmaps"


def config(name: str, value: str = "", **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "data": {"v": value},
    }


def served(test: Callable[[MemoryCluster, Api, str], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        cluster = MemoryCluster()
        async with asyncio.timeout(20), api_server(cluster, "127.0.0.1") as url:
            api = connect(url, Path("none"))
            try:
                await test(cluster, api, url)
            finally:
                await api.close()

    asyncio.run(main())


async def take(events: AsyncIterator[Object], count: int) -> list[tuple[str, str]]:
    """The next events, as (type, name)."""
    found = [await anext(events) for _ in range(count)]
    return [(event["type"], event["object"]["metadata"]["name"]) for event in found]


def test_list_then_watch_from_there_misses_nothing() -> None:
    async def test(cluster: MemoryCluster, api: Api, url: str) -> None:
        await cluster.create(config("a"))
        await cluster.create(config("b"))
        found = await api.list(MAPS)
        assert [item["metadata"]["name"] for item in found["items"]] == ["a", "b"]
        await cluster.create(config("c"))
        await cluster.patch(CONFIG_MAPS, "default", "a", {"data": {"v": "2"}})
        await cluster.delete(CONFIG_MAPS, "default", "b")
        events = api.watch(f"{MAPS}?watch=1&resourceVersion={found['metadata']['resourceVersion']}", 10)
        assert await take(events, 3) == [("ADDED", "c"), ("MODIFIED", "a"), ("DELETED", "b")]
        await cluster.delete(CONFIG_MAPS, "default", "c")
        last = await anext(events)
        assert last["type"] == "DELETED"
        again = api.watch(f"{MAPS}?watch=1&resourceVersion={last['object']['metadata']['resourceVersion']}", 10)
        waiting = asyncio.ensure_future(take(again, 1))
        await cluster.create(config("d"))
        assert await waiting == [("ADDED", "d")]

    served(test)


def test_a_watch_without_a_version_begins_with_what_is_there() -> None:
    async def test(cluster: MemoryCluster, api: Api, url: str) -> None:
        await cluster.create(config("a"))
        events = api.watch(f"{MAPS}?watch=true", 10)
        assert await take(events, 1) == [("ADDED", "a")]
        await cluster.create(config("b"))
        assert await take(events, 1) == [("ADDED", "b")]

    served(test)


def test_an_object_that_stops_matching_is_gone_for_that_watch() -> None:
    async def test(cluster: MemoryCluster, api: Api, url: str) -> None:
        await cluster.create(config("a", team="x"))
        await cluster.create(config("b", team="y"))
        found = await api.list(f"{MAPS}?labelSelector=team%3Dx")
        assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
        events = api.watch(f"{MAPS}?watch=1&labelSelector=team%3Dx&resourceVersion={found['metadata']['resourceVersion']}", 10)
        await cluster.patch(CONFIG_MAPS, "default", "a", {"metadata": {"labels": {"team": "y"}}})
        await cluster.patch(CONFIG_MAPS, "default", "b", {"metadata": {"labels": {"team": "x"}}})
        assert await take(events, 2) == [("DELETED", "a"), ("ADDED", "b")]

    served(test)


def test_a_version_that_is_forgotten_is_gone() -> None:
    async def test(cluster: MemoryCluster, api: Api, url: str) -> None:
        await cluster.create(config("a"))
        first = (await api.list(MAPS))["metadata"]["resourceVersion"]
        for number in range(1100):
            await cluster.patch(CONFIG_MAPS, "default", "a", {"data": {"v": str(number)}})
        last = (await cluster.get(CONFIG_MAPS, "default", "a") or {})["metadata"]["resourceVersion"]
        await eventually(lambda: seen(api, last))
        with pytest.raises(Refused) as refused:
            await anext(api.watch(f"{MAPS}?watch=1&resourceVersion={first}", 10))
        assert refused.value.status == 410

    async def seen(api: Api, version: str) -> bool:
        return bool((await api.list(MAPS))["metadata"]["resourceVersion"] == version)

    served(test)


def test_a_watch_ends_when_its_time_is_over() -> None:
    async def test(cluster: MemoryCluster, api: Api, url: str) -> None:
        assert [event async for event in api.watch(f"{MAPS}?watch=1&timeoutSeconds=1&resourceVersion=1", 10)] == []

    served(test)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/v1/namespaces/default/secrets", 404, "could not find"),
        ("/api/v1/nothing", 404, "could not find"),
        ("/apis/forebay.dev/v1alpha1/namespaces/default/batchclasses", 404, "could not find"),
        (f"{MAPS}/gone", 404, 'configmaps \\"gone\\" not found'),
        (f"{MAPS}?labelSelector=a%20b", 400, "unable to parse"),
        (f"{MAPS}?fieldSelector=data.v%3D1", 400, "field label not supported: data.v"),
        (f"{MAPS}?watch=1&resourceVersion=x", 400, "not a number"),
    ],
)
def test_what_is_refused(path: str, status: int, message: str) -> None:
    async def test(cluster: MemoryCluster, api: Api, url: str) -> None:
        with pytest.raises(Refused, match=str(status)) as refused:
            await api.list(path)
        assert message in str(refused.value)

    served(test)


def test_secrets_are_not_given_away_and_nothing_is_written() -> None:
    async def test(cluster: MemoryCluster, api: Api, url: str) -> None:
        await cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}})
        process = await asyncio.create_subprocess_exec("curl", "-s", "-X", "DELETE", f"{url}{MAPS}/a", stdout=subprocess.PIPE)
        answer, _ = await process.communicate()
        assert (json.loads(answer)["code"], json.loads(answer)["reason"]) == (405, "MethodNotAllowed")
        with pytest.raises(Refused):
            await api.list("/api/v1/secrets")

    served(test)


def a_slice(*addresses: str) -> Object:
    metadata = {"name": "svc-0", "namespace": "default", "labels": {"kubernetes.io/service-name": "svc"}}
    endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    ports = [{"name": "http", "port": 9400}]
    kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
    return {**kind, "metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}


def test_the_gateway_follows_endpoints_here() -> None:
    """The gateway's own watch, unchanged, against this server."""

    async def test(cluster: MemoryCluster, api: Api, url: str) -> None:
        replicas = Replicas()
        pool = Pool("default/m", "default", "m", "svc", "model", "Chat", frozenset())
        async with beside(PoolWatch(api, pool, replicas).run()):
            await cluster.create(a_slice("10.0.0.1", "10.0.0.2"))
            await eventually(lambda: len(replicas.endpoints) == 2)
            await cluster.patch(ENDPOINT_SLICES, "default", "svc-0", {"endpoints": a_slice("10.0.0.2")["endpoints"]})
            await eventually(lambda: [endpoint.name for endpoint in replicas.endpoints] == ["10.0.0.2:9400"])

    served(test)


def test_selectors() -> None:
    labels = {"a": "1", "b": "2"}
    for selector, met in {
        "a=1": True,
        "a==1,b!=1": True,
        "a in (1,2),c": False,
        "a notin (1)": False,
        "!c": True,
        "b": True,
        "": True,
    }.items():
        assert meets(parse(selector), labels) is met, selector
    with pytest.raises(ValueError, match="unable to parse"):
        parse("a in 1")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kubectl_reads_it() -> None:
    async def test(cluster: MemoryCluster, api: Api, url: str) -> None:
        await cluster.create(config("a"))
        command = ["kubectl", "--server", url, "get", "configmaps", "-o", "name"]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        answer, _ = await process.communicate()
        assert answer == b"configmap/a\n"

    served(test)

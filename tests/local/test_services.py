"""Addresses of Services: connections go to what is ready, bytes arrive whole."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from tests.local.waiting import eventually

from forebay.adapters.cluster import ENDPOINT_SLICES, SERVICES
from forebay.adapters.memory import MemoryCluster
from forebay.local.addresses import Addresses, loopback_addresses
from forebay.local.services import Services, cluster_ip
from forebay.local.waiting import beside

Object = dict[str, Any]


def a_service(**spec: Any) -> Object:
    ports = [{"name": "http", "port": 80}]
    metadata = {"name": "s", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports, **spec}}


def a_slice(endpoints: list[tuple[str, bool]], port: int) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "s-0", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address, ready in endpoints],
        "ports": [{"name": "http", "port": port}],
    }


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers what it got in capitals, after its host, once all of it is there."""
    host = writer.get_extra_info("sockname")[0]
    writer.write(host.encode() + b" " + (await reader.read(-1)).upper())
    writer.close()


async def ask(target: tuple[str, int], text: bytes) -> tuple[str, bytes]:
    reader, writer = await asyncio.open_connection(*target)
    writer.write(text)
    writer.write_eof()
    host, _, answer = (await asyncio.wait_for(reader.read(-1), 10)).partition(b" ")
    writer.close()
    return host.decode(), answer


def with_two_backends(test: Any) -> None:
    """On both event loops: they begin to read a new connection at different moments."""

    async def main() -> None:
        with loopback_addresses() as addresses:
            hosts = [addresses.take(), addresses.take()]
            first = await asyncio.start_server(upper, hosts[0], 0)
            port = first.sockets[0].getsockname()[1]
            second = await asyncio.start_server(upper, hosts[1], port)
            async with asyncio.timeout(20), first, second:
                await test(MemoryCluster(), hosts, port)

    for loop_factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())


def test_connections_go_to_ready_endpoints_in_turn() -> None:
    async def test(cluster: MemoryCluster, hosts: list[str], port: int) -> None:
        services = Services(cluster, lambda service, _: ("127.0.0.1", 0))
        async with beside(services.run()):
            await cluster.create(a_service())
            target = await eventually(lambda: services.listening().get(("default", "s", "http")))
            await cluster.create(a_slice([(hosts[0], True), (hosts[1], True), ("127.0.0.99", False)], port))
            await eventually(lambda: len(services.targets("default", "s", "http")) == 2)
            assert {(await ask(target, b"a"))[0] for _ in range(4)} == set(hosts)
            text = b"abcdefgh" * 500_000
            assert (await ask(target, text))[1] == text.upper()
            await cluster.patch(ENDPOINT_SLICES, "default", "s-0", {"endpoints": a_slice([(hosts[1], True)], port)["endpoints"]})
            await eventually(lambda: services.targets("default", "s", "http") == [(hosts[1], port)])
            assert {(await ask(target, b"a"))[0] for _ in range(3)} == {hosts[1]}
            await cluster.delete(SERVICES, "default", "s")
            await eventually(lambda: not services.listening())

    with_two_backends(test)


def test_an_endpoint_that_does_not_answer_is_left_out() -> None:
    async def test(cluster: MemoryCluster, hosts: list[str], port: int) -> None:
        services = Services(cluster, lambda service, _: ("127.0.0.1", 0))
        async with beside(services.run()):
            await cluster.create(a_service())
            target = await eventually(lambda: services.listening().get(("default", "s", "http")))
            reader, _ = await asyncio.open_connection(*target)
            assert await reader.read(-1) == b""
            await cluster.create(a_slice([("127.0.0.98", True), (hosts[0], True)], port))
            await eventually(lambda: len(services.targets("default", "s", "http")) == 2)
            assert {(await ask(target, b"a"))[0] for _ in range(4)} == {hosts[0]}

    with_two_backends(test)


def test_which_services_have_an_address_of_their_own() -> None:
    port = {"port": 80}
    assert cluster_ip(a_service(clusterIP="10.96.0.7"), port) == ("10.96.0.7", 80)
    assert cluster_ip(a_service(clusterIP="None"), port) is None
    assert cluster_ip(a_service(), port) is None
    assert cluster_ip(a_service(clusterIP="10.96.0.7"), {"port": 53, "protocol": "UDP"}) is None


def test_addresses_are_used_again_in_their_order() -> None:
    addresses = Addresses("10.0.0.0/29")
    taken = [addresses.take() for _ in range(5)]
    assert taken == [f"10.0.0.{number}" for number in range(2, 7)]
    addresses.give_back(taken[3])
    addresses.give_back(taken[1])
    assert [addresses.take(), addresses.take()] == [taken[3], taken[1]]


def test_two_machines_in_one_share_no_address() -> None:
    with loopback_addresses() as one, loopback_addresses() as other:
        assert not one.network.overlaps(other.network)

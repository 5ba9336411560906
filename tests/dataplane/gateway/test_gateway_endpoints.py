"""Which replicas there are: EndpointSlices listed and watched, through restarts, gaps and an API server that is away."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule
from tests.dataplane.gateway.gateway_fakes import ApiServer
from tests.dataplane.gateway.gateway_world import World, metric, run, until

from forebay.dataplane.gateway.endpoints import ready_addresses
from forebay.dataplane.gateway.kube import Refused, connect
from forebay.dataplane.http.client import UpstreamError
from forebay.dataplane.http.message import Request, Response
from forebay.dataplane.http.server import serve
from forebay.runtime.errors import UsageError


def a_slice(*conditions: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    endpoints = [{"addresses": [f"10.0.0.{index}"], "conditions": found} for index, found in enumerate(conditions)]
    return {"addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 9400}], **changes}


def test_only_ready_addresses_that_stay_count() -> None:
    slice_ = a_slice({"ready": True}, {"ready": False}, None, {}, {"ready": True, "terminating": True}, {"ready": None})
    assert [host for host, _ in ready_addresses(slice_)] == ["10.0.0.0", "10.0.0.2", "10.0.0.3", "10.0.0.5"]


@pytest.mark.parametrize(
    "slice_",
    [
        {},
        {"endpoints": None, "ports": None},
        a_slice({"ready": True}, ports=[{"name": "metrics", "port": 1}]),
        a_slice({"ready": True}, ports=[{"name": "http", "port": None}]),
        a_slice({"ready": True}, addressType="FQDN"),
    ],
)
def test_slices_that_name_no_address_are_empty(slice_: dict[str, Any]) -> None:
    assert list(ready_addresses(slice_)) == []


def names(world: World) -> list[int]:
    return [endpoint.port for endpoint in world.role.fleet.endpoints()]


def test_changes_arrive_by_watch_without_another_list(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            port = world.sidecar.port
            world.api.put("chat-forebay", [port, 1234])
            await until(lambda: sorted(names(world)) == sorted([1234, port]))
            assert metric("forebay_gateway_endpoints", pool="default/chat") == 2
            world.api.put_slice("chat-forebay", "chat-forebay-1234", 1234, {"ready": False})
            await until(lambda: names(world) == [port])
            world.api.put("chat-forebay", [])
            await until(lambda: names(world) == [])
            assert world.api.lists == 1

    run(test)


def test_the_last_known_replicas_stay_while_the_api_server_is_away(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path) as world:
            port = world.api.port
            await world.api.stop()
            await asyncio.sleep(0.3)
            assert (await world.chat()).status == 200
            assert world.role.not_ready() == ""
            world.api.put("chat-forebay", [world.sidecar.port, 1234])
            world.api.oldest = world.api.version
            await world.api.start(port)
            await until(lambda: len(names(world)) == 2)
            assert world.api.lists == 2, "410 means list again"

    run(test)


def test_pools_come_and_go_with_the_configuration(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={"chat": 1}) as world:
            world.api.put("other-forebay", [1234])
            policy = a_policy(rules=[a_rule(pools={"default/other": 1})])
            world.write_document(a_document(policy, pools=[a_pool("other")]))
            await until(lambda: names(world) == [1234])
            assert metric("forebay_gateway_endpoints", pool="default/other") == 1

    run(test)


def test_an_api_server_that_refuses_keeps_the_gateway_unready(tmp_path: Path) -> None:
    async def test() -> None:
        async def forbids(request: Request, response: Response) -> None:
            response.send(403, b'{"message": "endpointslices is forbidden"}')

        server = await serve(forbids, "127.0.0.1", 0)
        world = World(tmp_path, replicas={})
        world.api.start = _nothing  # type: ignore[method-assign]
        world.api.port = server.port
        entering = asyncio.create_task(world.__aenter__())
        await until(lambda: hasattr(world, "role") and "endpoints not known yet: default/chat" in world.role.not_ready())
        entering.cancel()
        await world.stop()
        await server.close(0)

    run(test)


async def _nothing(port: int = 0) -> None:
    pass


def test_the_token_is_read_for_every_request_and_never_sent_in_the_clear(tmp_path: Path) -> None:
    async def test() -> None:
        api = ApiServer()
        await api.start()
        (tmp_path / "token").write_text("secret")
        client = connect(f"http://127.0.0.1:{api.port}", tmp_path)
        await client.list("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=a")
        assert api.authorizations == [None]
        await client.close()
        await api.stop()

    run(test)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_over_tls_the_mounted_authority_is_believed_and_the_token_sent_fresh(tmp_path: Path) -> None:
    async def test() -> None:
        for name in ("right", "wrong"):
            (tmp_path / name).mkdir()
            make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
            named = ["-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1"]
            files = ["-keyout", f"{tmp_path}/{name}/key", "-out", f"{tmp_path}/{name}/ca.crt"]
            subprocess.run([*make, *named, *files], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "right/ca.crt", tmp_path / "right/key")
        heads: list[bytes] = []

        async def lists(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\n" + b'{"items":[]}')
            writer.close()

        server = await asyncio.start_server(lists, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        trusting, doubting = connect(url, tmp_path / "right"), connect(url, tmp_path / "wrong")
        for token in ("first", "second"):
            (tmp_path / "right/token").write_text(token + "\n")
            assert await trusting.list("/apis") == {"items": []}
            assert f"authorization: Bearer {token}\r\n".encode() in heads[-1]
        with pytest.raises(UpstreamError):
            await doubting.list("/apis")
        assert len(heads) == 2
        for part in (trusting, doubting):
            await part.close()
        server.close()

    run(test)


@pytest.mark.parametrize("where", ["", "ftp://host", "http://", "http://host:99999", "host:80"])
def test_a_wrong_url_is_wrong_usage(where: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--kubernetes"):
        connect(where, tmp_path)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", ValueError),
        (b'{"items": 3}', ValueError),
        (b'{"type": "ADDED"}\n', ValueError),
        (b"[]\n", ValueError),
        (b'{"type": "ERROR", "object": {"code": 410}}\n', Refused),
    ],
)
def test_nonsense_from_the_api_server_is_an_error_not_a_crash(body: bytes, error: type[Exception], tmp_path: Path) -> None:
    async def test() -> None:
        async def says(request: Request, response: Response) -> None:
            response.send(200, body)

        server = await serve(says, "127.0.0.1", 0)
        client = connect(f"http://127.0.0.1:{server.port}", tmp_path)
        with pytest.raises(error):
            if body.endswith(b"\n"):
                async for _ in client.watch("/", 1):
                    pass
            else:
                await client.list("/")
        await client.close()
        await server.close(0)

    run(test)

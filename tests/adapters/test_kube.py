"""The HTTP side of `KubeCluster`: what goes over the wire, what refusals become, and watches over connections that break."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from contract_objects import a_config_map

from forebay.adapters.cluster import (
    CONFIG_MAPS,
    NODES,
    PODS,
    Cluster,
    ClusterError,
    Conflict,
    Event,
    Forbidden,
    Invalid,
    NotFound,
    Object,
    Unavailable,
)
from forebay.adapters.kube import KubeCluster
from forebay.runtime.errors import ForebayError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def kubeconfig(folder: Path, server: str, cluster: Object | None = None, user: Object | None = None) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "it", "user": user or {"token": "secret"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@asynccontextmanager
async def served(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that answers everything by this handler; gives its address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(tmp_path: Path, handler: Handler, **limits: float) -> AsyncIterator[KubeCluster]:
    async with served(handler) as server:
        cluster = await KubeCluster.connect(kubeconfig(tmp_path, server), **limits)
        try:
            yield cluster
        finally:
            await cluster.close()


def answer(status: int, body: Any) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type="application/json")

    return handle


def refusal(code: int, message: str, **more: Any) -> Object:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message, **more}


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


class Recorder:
    """Keeps what was asked and answers with an empty object."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any, str]] = []
        self.tokens: list[str] = []

    async def __call__(self, request: web.Request) -> web.Response:
        body = json.loads(text) if (text := await request.text()) else None
        self.requests.append((request.method, request.path, dict(request.query), body, request.content_type))
        self.tokens.append(request.headers.get("Authorization", ""))
        return web.json_response({"metadata": {"resourceVersion": "1"}})


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


# ------------------------------------------------------------------------------------------------------------------ watches


def item(name: str, version: int, uid: str | None = None) -> Object:
    return {"metadata": {"name": name, "namespace": "ns", "uid": uid or name, "resourceVersion": str(version)}}


class Script:
    """Answers lists and watches, one after another, from what a test wrote down; the last watch stays open."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        watch = "watch" in request.query
        self.asked.append(f"watch {request.query['resourceVersion']}" if watch else "list")
        given = self.answers.pop(0) if self.answers else (["stay"] if watch else [])
        if isinstance(given, int):
            return web.json_response(refusal(given, f"error {given}"), status=given)
        if not watch:
            version, *items = given
            return web.json_response({"metadata": {"resourceVersion": str(version)}, "items": items})
        response = web.StreamResponse()
        await response.prepare(request)
        for line in given:
            if line == "stay":
                await asyncio.Event().wait()
            if line == "break":
                assert request.transport is not None
                request.transport.abort()
                return response
            await response.write(json.dumps(line).encode() + b"\n")
        return response


def change(kind: str, obj: Object) -> Object:
    return {"type": kind, "object": obj}


async def read(events: AsyncIterator[Event], count: int) -> list[str]:
    async with asyncio.timeout(20):
        taken = [await anext(events) for _ in range(count)]
    return [f"{event.type} {event.object['metadata']['name']}" if event.object else event.type for event in taken]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between connections are shortened; what they guard against is not tested by time."""
    monkeypatch.setattr("forebay.adapters.kube_watch._PAUSE_S", 0.001)
    monkeypatch.setattr("forebay.adapters.kube_watch._FIRST_DELAY_S", 0.001)


def watch_of(tmp_path: Path, script: Script, expected: list[str], asked: list[str], **limits: float) -> None:
    async def check() -> None:
        async with connected(tmp_path, script, **limits) as cluster:
            assert await read(aiter(cluster.watch(CONFIG_MAPS, "ns")), len(expected)) == expected
        assert script.asked[: len(asked)] == asked

    asyncio.run(check())


def test_a_watch_that_ends_goes_on_where_it_was(tmp_path: Path) -> None:
    bookmark = change("BOOKMARK", {"metadata": {"resourceVersion": "30"}})
    script = Script(
        [10, item("a", 5)],
        [change("ADDED", item("b", 11)), change("MODIFIED", item("a", 12)), bookmark],
        [change("DELETED", item("a", 31)), change("ADDED", item("a", 32, "new")), "stay"],
    )
    expected = ["ADDED a", "SYNCED", "ADDED b", "MODIFIED a", "DELETED a", "ADDED a"]
    watch_of(tmp_path, script, expected, ["list", "watch 10", "watch 30"])


@pytest.mark.parametrize(
    "end", [change("ERROR", refusal(410, "too old resource version")), "break", change("ERROR", refusal(500, "storage"))]
)
def test_what_vanished_while_the_thread_was_lost_is_reported(tmp_path: Path, end: Any) -> None:
    script = Script(
        [10, item("stays", 5), item("goes", 6), item("changes", 7), item("returns", 8)],
        [change("ADDED", item("late", 11)), end],
        [20, item("stays", 5), item("changes", 15), item("returns", 16, "new"), item("new", 17)],
        ["stay"],
    )
    before = ["ADDED stays", "ADDED goes", "ADDED changes", "ADDED returns", "SYNCED", "ADDED late"]
    after = ["DELETED goes", "DELETED returns", "DELETED late", "MODIFIED changes", "ADDED returns", "ADDED new"]
    watch_of(tmp_path, script, before + after, ["list", "watch 10", "list"])


def test_a_watch_outlives_a_server_that_is_away(tmp_path: Path) -> None:
    script = Script(503, 500, 429, [10, item("a", 5)], 410, 503, [20, item("a", 5)], [change("MODIFIED", item("a", 21)), "stay"])
    asked = ["list", "list", "list", "list", "watch 10", "list", "list", "watch 20"]
    watch_of(tmp_path, script, ["ADDED a", "SYNCED", "MODIFIED a"], asked)


@pytest.mark.parametrize(("status", "error"), [(403, Forbidden), (404, NotFound)])
def test_a_watch_that_may_not_be_ends(tmp_path: Path, status: int, error: type[ClusterError]) -> None:
    async def check() -> None:
        async with connected(tmp_path, Script(status)) as cluster:
            with pytest.raises(error):
                await anext(aiter(cluster.watch(CONFIG_MAPS)))

    asyncio.run(check())


def test_a_watch_in_which_nothing_moves_is_begun_anew(tmp_path: Path) -> None:
    """A connection that died without a word must not leave the operator blind."""
    script = Script([10, item("a", 5)], ["stay"], [20, item("a", 15)], ["stay"])
    watch_of(tmp_path, script, ["ADDED a", "SYNCED", "MODIFIED a"], ["list", "watch 10", "list"], silence_s=0.1)


def test_closing_ends_watches(tmp_path: Path) -> None:
    async def check() -> None:
        async with connected(tmp_path, Script([10], ["stay"])) as cluster:
            events = aiter(cluster.watch(CONFIG_MAPS))
            assert await read(events, 1) == ["SYNCED"]
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            await cluster.close()
            with pytest.raises(ClusterError):
                await asyncio.wait_for(waiting, 20)

    asyncio.run(check())


# -------------------------------------------------------------------------------------------------------------- credentials


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) of a server at 127.0.0.1, signed by itself; it serves as client certificate too."""
    folder = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", "req", "-x509", *key, *subject], cwd=folder, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate[0]))
    context.load_cert_chain(*certificate)
    return context


@pytest.mark.parametrize("way", ["authority", "insecure", "client certificate", "stranger"])
def test_a_kubeconfigs_credentials_are_used(tmp_path: Path, certificate: tuple[Path, Path], way: str) -> None:
    async def check() -> None:
        recorder, context = Recorder(), server_side(certificate)
        cluster: Object = {"insecure-skip-tls-verify": True} if way == "insecure" else {"certificate-authority": str(certificate[0])}
        user: Object = {"token": "secret"}
        if way == "client certificate":
            context.verify_mode = ssl.CERT_REQUIRED
            user = {"client-certificate": str(certificate[0]), "client-key": str(certificate[1])}
        async with served(recorder, context) as server:
            path = kubeconfig(tmp_path, server, cluster if way != "stranger" else {}, user)
            connection = await KubeCluster.connect(path)
            if way == "stranger":
                with pytest.raises(Unavailable, match="certificate verify failed"):
                    await connection.get(NODES, None, "n")
            else:
                await connection.get(NODES, None, "n")
                assert recorder.tokens == ["" if way == "client certificate" else "Bearer secret"]
            await connection.close()

    asyncio.run(check())


def test_a_pods_service_account_is_used(tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        (tmp_path / "token").write_text("from-the-pod")
        recorder = Recorder()
        async with served(recorder, server_side(certificate)) as server:
            monkeypatch.delenv("KUBECONFIG", raising=False)
            monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.rpartition(":")[2])
            where = "kubernetes.aio.config.incluster_config"
            monkeypatch.setattr(f"{where}.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
            monkeypatch.setattr(f"{where}.SERVICE_CERT_FILENAME", str(certificate[0]))
            cluster = await KubeCluster.connect()
            await cluster.get(NODES, None, "n")
            await cluster.close()
        assert recorder.tokens == ["bearer from-the-pod"]

    asyncio.run(check())


@pytest.mark.parametrize("text", ["", "5", "{: [", "apiVersion: v1\nkind: Config\n", None])
def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "broken"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ForebayError, match=r"no way to reach a Kubernetes API: .*broken"):
        asyncio.run(KubeCluster.connect(path))


@pytest.mark.real_cluster
def test_who_may_not_is_told_so(api_server: Path) -> None:
    async def check() -> None:
        nobody = await KubeCluster.connect(api_server.with_name("nobody.kubeconfig"))
        stranger_config = json.loads(api_server.read_text())
        stranger_config["users"][0]["user"]["token"] = "wrong"
        stranger_path = api_server.with_name("stranger.kubeconfig")
        stranger_path.write_text(json.dumps(stranger_config))
        stranger = await KubeCluster.connect(stranger_path)
        with pytest.raises(Forbidden, match='User "nobody" cannot list resource "nodes"'):
            await nobody.list(NODES)
        with pytest.raises(Forbidden, match="Unauthorized"):
            await stranger.list(NODES)
        for cluster in (nobody, stranger):
            await cluster.close()

    asyncio.run(check())


def test_both_are_clusters() -> None:
    """The type checker holds both implementations to the protocol here."""
    from forebay.adapters.memory import MemoryCluster

    memory: Cluster = MemoryCluster()
    kinds: list[type[Cluster]] = [KubeCluster, MemoryCluster]
    assert type(memory) in kinds

"""Bad input through the doors of a running cluster: a clear answer, no process dies of it, and what is good goes on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest
from e2e import resources
from e2e.controlplane.cluster import ControlPlane
from e2e.forebay import GATEWAY_PORT, Forebay, chat, send
from e2e.pods import Pods
from e2e.release import Release
from e2e.waiting import eventually

KEYS = {"Authorization": f"Bearer {resources.KEY}", "Content-Type": "application/json"}
GOOD = json.dumps(chat("support-chat", 3)).encode()


def serve(forebay: Forebay) -> None:
    forebay.apply(resources.batch_class("interactive"), resources.pool(forebay.namespace), resources.policy(forebay.namespace))
    forebay.wait("fpool/chat")
    forebay.wait("froute/support", "Programmed")


def ask(gateway: str, body: bytes, headers: dict[str, str], path: str = "/v1/chat/completions", method: str = "POST") -> tuple[int, str]:
    """Status of an answer, and the message of its error."""
    connection = http.client.HTTPConnection(gateway, GATEWAY_PORT, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        return answer.status, str(content.get("error", {}).get("message", ""))
    finally:
        connection.close()


def test_requests_that_make_no_sense(forebay: Forebay, pods: Pods) -> None:
    forebay.apply(resources.keys(forebay.namespace))
    serve(forebay)
    gateway = forebay.gateway()
    before = processes(forebay, pods)
    table: list[tuple[int, bytes, dict[str, str], str, str]] = [
        (400, b"{", {}, "/v1/chat/completions", "POST"),
        (400, b"[]", {}, "/v1/chat/completions", "POST"),
        (400, b"", {}, "/v1/chat/completions", "POST"),
        (400, b"\xff\xfe\x00", {}, "/v1/chat/completions", "POST"),
        (400, json.dumps({"model": 7, "messages": []}).encode(), {}, "/v1/chat/completions", "POST"),
        (400, json.dumps({**chat("support-chat", 3), "service_tier": "soon"}).encode(), {}, "/v1/chat/completions", "POST"),
        (400, json.dumps({**chat("support-chat", 3), "max_tokens": -1}).encode(), {}, "/v1/chat/completions", "POST"),
        (400, b"[" * 200_000, {}, "/v1/chat/completions", "POST"),
        (401, GOOD, {"Authorization": "Bearer nobody"}, "/v1/chat/completions", "POST"),
        (401, GOOD, {"Authorization": "Basic YTpi"}, "/v1/chat/completions", "POST"),
        (404, json.dumps(chat("another", 3)).encode(), {}, "/v1/chat/completions", "POST"),
        (404, GOOD, {}, "/v1/nothing", "POST"),
        (405, b"", {}, "/v1/chat/completions", "GET"),
        (413, b" " * (64 << 20), {}, "/v1/chat/completions", "POST"),
        (431, GOOD, {"X-Long": "x" * 200_000}, "/v1/chat/completions", "POST"),
    ]
    for status, body, headers, path, method in table:
        found, message = ask(gateway, body, {**KEYS, **headers}, path, method)
        assert (found, bool(message)) == (status, True), (status, body[:80], headers.keys(), path, found, message)
    assert ask(gateway, GOOD, KEYS) == (200, "")
    assert processes(forebay, pods) == before


def processes(forebay: Forebay, pods: Pods) -> set[int]:
    """Every process of the pool and its gateway."""
    names = [pod["metadata"]["name"] for pod in [*forebay.replicas(), *forebay.pods("forebay.dev/gateway=default")]]
    return {pid for name in names for pid in pods.processes(forebay.namespace, name)}


def test_keys_that_come_later_open_the_door(forebay: Forebay) -> None:
    """A policy whose Secret is missing answers nobody, and everybody with a key once it is there; no gateway is started anew for it."""
    serve(forebay)
    gateway = forebay.gateway()
    assert send(gateway, 3) == "refused 401"
    forebay.apply(resources.keys(forebay.namespace))
    eventually("the key opens", lambda: send(gateway, 3) == "finished")
    assert forebay.gateway() == gateway


BROKEN = {"forebay-gateway-default": "gateway.json", "chat-forebay-sidecar": "sidecar.json", "chat-forebay-memory": "memory.json"}
"""ConfigMaps of the operator's, and what is in them."""


def test_configurations_that_somebody_broke(forebay: Forebay) -> None:
    """Gateway and sidecars go on with what they had, no replica is given back, and conditions name the field and who has taken it."""
    forebay.apply(resources.keys(forebay.namespace))
    serve(forebay)
    forebay.patch(scaling={"minReplicas": 2, "scaleDown": {"stabilization": "2m"}})
    eventually("two replicas", lambda: len(forebay.ready_replicas()) == 2)
    forebay.patch(scaling={"minReplicas": 1})
    for name, key in BROKEN.items():
        forebay.kubectl("patch", "configmap", name, "--type=merge", "-p", json.dumps({"data": {key: '{"schemaVersion": 1, "policies": ['}}))
    forebay.operator.scale(0)
    forebay.operator.scale(1)
    message = forebay.says("FieldConflict", "Conflict")
    assert "ConfigMap chat-forebay-sidecar" in message and "kubectl-patch" in message and ".data.sidecar.json" in message
    message = forebay.says("FieldConflict", "Conflict", "support", "routingpolicies")
    assert "ConfigMap forebay-gateway-default" in message and "kubectl-patch" in message
    forebay.operator.rounds(2)
    assert len(forebay.ready_replicas()) == 2
    assert [send(forebay.gateway(), 3) for _ in range(4)] == ["finished"] * 4

    forebay.kubectl("delete", "configmap", *BROKEN)
    forebay.says("FieldConflict", "NoConflict")
    forebay.says("FieldConflict", "NoConflict", "support", "routingpolicies")
    for name, key in BROKEN.items():
        assert json.loads(content(forebay, name)[key]), name
    assert [send(forebay.gateway(), 3) for _ in range(4)] == ["finished"] * 4


def content(forebay: Forebay, config_map: str) -> dict[str, str]:
    path = f"/api/v1/namespaces/{forebay.namespace}/configmaps/{config_map}"
    return eventually(f"{config_map} is there", lambda: (forebay.plane.api.get(path) or {}).get("data", {}), 10)


@pytest.fixture
def longest(control_plane: ControlPlane, operator: Release) -> Iterator[Forebay]:
    """A namespace with a name of 63 letters, the most there are."""
    name = "n" * 63
    control_plane.kubectl("create", "namespace", name)
    forebay = Forebay(control_plane, operator, name)
    yield forebay
    control_plane.kubectl("delete", "froute,fpool", "--all", "-n", name)
    eventually("its NodePools are gone", lambda: not forebay.node_pools())
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


def test_names_as_long_as_they_may_be(longest: Forebay) -> None:
    name = "p" * 63
    longest.apply(
        resources.batch_class("interactive"),
        resources.keys(longest.namespace),
        resources.pool(longest.namespace, name),
        resources.policy(longest.namespace, "r" * 63, to=name, gateway={"name": "g" * 63}),
    )
    longest.wait(f"fpool/{name}")
    longest.wait(f"froute/{'r' * 63}", "Programmed")
    assert send(longest.gateway("g" * 63), 3) == "finished"
    assert len(longest.node_pools()) == 2

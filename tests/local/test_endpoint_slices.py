"""EndpointSlices of a Service."""

from __future__ import annotations

from typing import Any

from tests.local.builders import Object, a_pod

from forebay.local.endpoint_slices import slices_of


def a_service(*ports: Any, **spec: Any) -> Object:
    ports = ports or ({"name": "http", "port": 80, "targetPort": 9400},)
    metadata = {"name": "s", "namespace": "default", "uid": "u", "labels": {"team": "x"}}
    return {"metadata": metadata, "spec": {"selector": {"app": "m"}, "ports": list(ports), **spec}}


def a_backend(name: str, address: str, *, ready: bool = True, **metadata: Any) -> Object:
    pod = a_pod(name, labels={"app": "m", "x": "y"}, ready=ready, spec={"nodeName": "n", "containers": [{"name": "c"}]}, **metadata)
    pod["status"] = {**pod["status"], "podIP": address} if address else pod["status"]
    return pod


def test_ready_and_terminating() -> None:
    pods = [
        a_backend("up", "10.0.0.1"),
        a_backend("starting", "10.0.0.2", ready=False),
        a_backend("ending", "10.0.0.3", deletionTimestamp="2026-01-01T00:00:00Z"),
        a_backend("unplaced", ""),
        a_pod("other", ready=True),
    ]
    (piece,) = slices_of(a_service(), pods, {"n": "z-a"})
    assert piece["metadata"]["labels"]["kubernetes.io/service-name"] == "s"
    assert piece["ports"] == [{"name": "http", "port": 9400, "protocol": "TCP"}]
    conditions = {endpoint["addresses"][0]: tuple(endpoint["conditions"].values()) for endpoint in piece["endpoints"]}
    assert conditions == {"10.0.0.1": (True, True, False), "10.0.0.2": (False, False, False), "10.0.0.3": (False, True, True)}
    assert {endpoint["zone"] for endpoint in piece["endpoints"]} == {"z-a"}


def test_named_ports_are_found_in_containers_and_sidecars() -> None:
    named = a_service({"name": "http", "port": 80, "targetPort": "side"})
    pods = [a_backend("one", "10.0.0.1"), a_backend("two", "10.0.0.2"), a_backend("none", "10.0.0.3")]
    pods[0]["spec"]["initContainers"] = [{"name": "s", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9400}]}]
    pods[1]["spec"]["containers"][0]["ports"] = [{"name": "side", "containerPort": 9500}]
    found = {
        tuple(port["port"] for port in piece["ports"]): [e["addresses"][0] for e in piece["endpoints"]]
        for piece in slices_of(named, pods, {})
    }
    assert found == {(): ["10.0.0.3"], (9400,): ["10.0.0.1"], (9500,): ["10.0.0.2"]}


def test_a_service_without_pods_or_without_a_selector() -> None:
    (empty,) = slices_of(a_service(), [], {})
    assert empty["endpoints"] == []
    assert slices_of(a_service(selector=None), [a_backend("up", "10.0.0.1")], {}) == []

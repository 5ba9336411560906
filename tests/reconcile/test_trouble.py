"""Why a replica does not answer, from statuses as the kubelet and the Deployment controller write them."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.adapters.cluster import Object
from forebay.reconcile.observe import pod_view
from forebay.reconcile.trouble import refusal, trouble

BACK_OFF = "back-off 10s restarting failed container=server pod=chat-0_default(7b0c)"


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def a_pod(*containers: Object, init: tuple[Object, ...] = ()) -> Object:
    return {"status": {"initContainerStatuses": list(init), "containerStatuses": list(containers)}}


def a_status(state: dict[str, Any], last: dict[str, Any] | None = None, **fields: Any) -> Object:
    return {"name": "server", "ready": False, "restartCount": 0, "state": state, "lastState": last or {}, **fields}


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (a_status(waits("ContainerCreating")), ""),
        (a_status(waits("PodInitializing")), ""),
        (a_status({"running": {}}), ""),
        (a_status({"running": {}}, ended(1), restartCount=9, ready=True), ""),
        (a_status(waits("CrashLoopBackOff", BACK_OFF), ended(1), restartCount=2), "server ended with exit code 1 and is started again"),
        (a_status({"running": {}}, ended(1), restartCount=2), "server ended with exit code 1 and is started again"),
        (a_status(ended(137, "OOMKilled")), "server ended with exit code 137 (OOMKilled) and is started again"),
        (a_status({"running": {}}, ended(0, "Completed"), restartCount=1), "server ended with exit code 0 and is started again"),
        (a_status(waits("ErrImagePull", "no\n such  image")), "server waits: ErrImagePull: no such image"),
        (a_status(waits("CreateContainerError")), "server waits: CreateContainerError"),
    ],
)
def test_what_a_container_says(status: Object, why: str) -> None:
    assert trouble(a_pod(status)) == why


def test_init_containers_are_named_first_and_those_that_did_their_work_not() -> None:
    waiting = a_status(waits("PodInitializing"))
    done = a_status(ended(0, "Completed"), name="weights", ready=True)
    failed = a_status(ended(3), name="weights")
    assert trouble(a_pod(waiting, init=(done,))) == ""
    assert trouble(a_pod(waiting, init=(failed,))) == "weights ended with exit code 3 and is started again"


def test_messages_are_bounded() -> None:
    said = trouble(a_pod(a_status(waits("ErrImagePull", "x" * 10_000))))
    assert len(said) < 250 and said.endswith("x…")


def test_pods_without_a_status_and_odd_ones() -> None:
    pods: tuple[Object, ...] = ({}, {"status": {}}, {"status": {"containerStatuses": None}}, a_pod({"name": "server"}))
    for pod in pods:
        assert trouble(pod) == ""


def test_a_replica_that_answers_has_no_trouble() -> None:
    """A container beside the server may have crashed and not be needed for Ready."""
    status = a_pod(a_status(waits("CrashLoopBackOff"), ended(1), restartCount=1))["status"]
    pod: Object = {"metadata": {"name": "p", "labels": {}, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}, "status": status}
    assert pod_view(pod).trouble.startswith("server ended")
    at = "2026-01-01T00:00:30Z"
    status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": at}]
    assert pod_view(pod).trouble == ""


def test_pods_that_cannot_be_made() -> None:
    forbidden = 'pods "chat-0" is forbidden: exceeded quota: gpus'
    failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": forbidden}
    assert refusal({"status": {"conditions": [{"type": "Available", "status": "False"}, failed]}}) == forbidden
    assert refusal({"status": {"conditions": [{**failed, "message": ""}]}}) == "FailedCreate"
    assert refusal({"status": {"conditions": [{**failed, "status": "False"}]}}) == refusal({}) == ""

"""A pod's status as the kubelet writes it: a pure function of its containers' states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forebay.adapters.cluster import Object
from forebay.local.environment import Place

Statuses = Sequence[Mapping[str, Any]]

OWN_CONDITIONS = ("Initialized", "ContainersReady", "Ready")


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """Whether an init container is a native sidecar."""
    return bool(container.get("restartPolicy") == "Always")


def pod_status(
    pod: Object,
    place: Place,
    started_at: str,
    init: Statuses,
    main: Statuses,
    *,
    finished: bool,
    before: Sequence[Mapping[str, Any]],
    at: str,
) -> dict[str, Any]:
    """The status without the conditions that others write.

    Args:
        init, main: ContainerStatuses in the order of the spec.
        finished: no container will run again.
        before: the conditions of the last status, whose times are kept where nothing changed; at: the time of those that did.
    """
    sidecars = {container["name"] for container in pod["spec"].get("initContainers") or [] if is_sidecar(container)}
    initialized = all(status["started"] if status["name"] in sidecars else _exit_code(status) == 0 for status in init)
    initialized = initialized or any("waiting" not in status["state"] for status in main)
    unready = [status["name"] for status in [*main, *(s for s in init if s["name"] in sidecars)] if not status["ready"]]
    phase = _phase(init, main, initialized, finished)
    not_ready = ("PodCompleted", "") if phase == "Succeeded" else ("ContainersNotReady", _listed("unready", unready))
    ready = not unready and not finished
    unset = [status["name"] for status in init if "running" not in status["state"] and _exit_code(status) != 0]
    conditions = [
        _condition("Initialized", initialized, ("ContainersNotInitialized", _listed("incomplete", unset))),
        _condition("ContainersReady", ready, not_ready),
        _condition("Ready", ready, not_ready),
    ]
    return {
        "phase": phase,
        "conditions": [_timed(condition, before, at) for condition in conditions],
        "hostIP": place.host_ip,
        "hostIPs": [{"ip": place.host_ip}],
        "podIP": place.ip,
        "podIPs": [{"ip": place.ip}],
        "startTime": started_at,
        "initContainerStatuses": [_shown(status, sidecars) for status in init],
        "containerStatuses": [dict(status) for status in main],
    }


def _listed(what: str, names: Sequence[str]) -> str:
    return f"containers with {what} status: [{' '.join(names)}]"


def _phase(init: Statuses, main: Statuses, initialized: bool, finished: bool) -> str:
    if finished:
        return "Succeeded" if all(_exit_code(status) == 0 for status in main) else "Failed"
    never_ran = any("waiting" in status["state"] and not status["lastState"] for status in main)
    return "Pending" if not initialized or never_ran else "Running"


def _shown(status: Mapping[str, Any], sidecars: set[str]) -> dict[str, Any]:
    """An init container that has done its work counts as ready."""
    return dict(status) if status["name"] in sidecars else {**status, "ready": _exit_code(status) == 0}


def _exit_code(status: Mapping[str, Any]) -> int | None:
    code = status["state"].get("terminated", {}).get("exitCode")
    return None if code is None else int(code)


def _condition(type_: str, met: bool, otherwise: tuple[str, str]) -> dict[str, Any]:
    if met:
        return {"type": type_, "status": "True"}
    reason, message = otherwise
    return {"type": type_, "status": "False", "reason": reason} | ({"message": message} if message else {})


def _timed(condition: dict[str, Any], before: Sequence[Mapping[str, Any]], at: str) -> dict[str, Any]:
    same = next((old for old in before if old["type"] == condition["type"] and old["status"] == condition["status"]), None)
    return {**condition, "lastTransitionTime": same["lastTransitionTime"] if same else at}

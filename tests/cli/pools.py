"""A pool as the API gives it to the commands that look at pools."""

from __future__ import annotations

from typing import Any

from forebay.api.meta import API_VERSION

Object = dict[str, Any]

STATUS: Object = {
    "replicas": 4,
    "readyReplicas": 3,
    "desired": {"onDemand": 1, "spot": 3},
    "demand": {"requestsPerSecond": 5.64, "inputTokensPerSecond": 90.0, "outputTokensPerSecond": 450.4, "queued": 2, "inFlight": 21},
    "objective": {"p95TimeToFirstToken": "82ms", "attainment": 0.985},
    "rate": {"usdPerHour": "7.77"},
    "plan": {
        "id": "07de3c3ebfa72f89",
        "summary": "has 1 on-demand + 3 spot",
        "decidedAt": "2026-05-04T03:02:01Z",
        "why": ["class interactive: 5.64 requests/s", "gpu/full: 4 replicas by timeToFirstToken"],
    },
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "ReplicasReady", "message": "4 replicas answer"},
        {"type": "Paused", "status": "False", "reason": "NotPaused", "message": "plans are carried out"},
    ],
}


def a_pool(name: str = "chat", namespace: str = "default", spec: Object | None = None, **status: Any) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "InferencePool", "metadata": metadata, "spec": spec or {}, "status": {**STATUS, **status}}


def a_new_pool(name: str = "chat") -> Object:
    """One that no operator has seen."""
    return {key: value for key, value in a_pool(name).items() if key != "status"}


def a_condition(type_: str, status: str, reason: str, message: str = "the message") -> Object:
    return {"type": type_, "status": status, "reason": reason, "message": message}

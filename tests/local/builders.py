"""Pods, nodes and Services with defaults; a test names only what matters to it."""

from __future__ import annotations

import itertools
from typing import Any

Object = dict[str, Any]

_numbers = itertools.count(1)


def a_pod(name: str = "p", *, spec: Object | None = None, ready: bool = False, **metadata: Any) -> Object:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}-{next(_numbers)}", **metadata},
        "spec": {"containers": [{"name": "c", "image": "any"}], **(spec or {})},
        "status": {},
    }
    if ready:
        pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return pod


def a_node(name: str = "n", *, labels: dict[str, str] | None = None, taints: list[Object] | None = None, **allocatable: str) -> Object:
    resources = {"pods": "110"} | {key.replace("__", "/").replace("_", "."): value for key, value in allocatable.items()}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": taints or []},
        "status": {"allocatable": resources},
    }


def asks_gpus(count: int) -> Object:
    return {"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/gpu": str(count)}}}]}

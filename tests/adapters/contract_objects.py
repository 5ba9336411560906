"""Objects for the contract tests: each builder makes a valid one and takes what a test is about."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from forebay.adapters.cluster import Cluster, Kind, Object

Check = Callable[[Cluster, str], Coroutine[Any, Any, None]]
"""A contract: gets a cluster and the name of a namespace of its own."""

Run = Callable[[Check], None]
"""What the `run` fixture gives: runs a contract on one of the clusters."""


def unique(prefix: str = "x") -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def a_config_map(namespace: str, name: str = "c", data: Object | None = None, **metadata: Any) -> Object:
    obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name, **metadata}}
    return obj if data is None else {**obj, "data": data}


def a_class(**spec: Any) -> Object:
    return {"apiVersion": "forebay.dev/v1alpha1", "kind": "BatchClass", "metadata": {"name": unique("class")}, "spec": spec}


def a_pool(namespace: str, name: str = "p", **spec: Any) -> Object:
    base = {
        "model": {"name": "m"},
        "server": {"template": {"spec": {"containers": [{"name": "server", "image": "x"}]}}},
        "classes": ["interactive"],
    }
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": "forebay.dev/v1alpha1", "kind": "InferencePool", "metadata": metadata, "spec": {**base, **spec}}


def a_policy(namespace: str, name: str = "r", **spec: Any) -> Object:
    base = {"models": [{"name": "m"}], "classify": {"defaultClass": "a"}, "rules": [{"name": "all", "route": [{"pool": "p"}]}]}
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": "forebay.dev/v1alpha1", "kind": "RoutingPolicy", "metadata": metadata, "spec": {**base, **spec}}


def a_deployment(namespace: str, name: str = "d", **container: Any) -> Object:
    pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "i", **container}]}}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name}, "spec": spec}


def a_pod(namespace: str, name: str = "pod", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata = {"namespace": namespace, "name": name, "labels": labels or {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "main", "image": "i"}], **spec}}


def a_budget(namespace: str, labels: dict[str, str], **spec: Any) -> Object:
    metadata = {"namespace": namespace, "name": "budget"}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": labels}, **spec},
    }


def status_of(obj: Object, **status: Any) -> Object:
    """What one applies to an object's status."""
    metadata = {name: obj["metadata"][name] for name in ("namespace", "name") if name in obj["metadata"]}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata, "status": status}


def a_condition(type_: str, status: str = "True", **changes: Any) -> Object:
    return {"type": type_, "status": status, "reason": "Because", "message": "", "lastTransitionTime": "2024-01-01T00:00:00Z", **changes}


async def found(cluster: Cluster, kind: Kind, ns: str | None, name: str) -> Object:
    obj = await cluster.get(kind, ns, name)
    assert obj is not None
    return obj


def version(obj: Object) -> str:
    return str(obj["metadata"]["resourceVersion"])

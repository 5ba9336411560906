"""The three resources as scenarios use them: small, fast, and every figure chosen so that one more replica is needed soon."""

from __future__ import annotations

from typing import Any

from e2e.controlplane.client import Object
from e2e.controlplane.cluster import NODE_CLASS

API_VERSION = "forebay.dev/v1alpha1"
IMAGE = "example.invalid/forebay:test"
KEY = "key-of-acme"
PORT = 8000
STEP = {"base": "10ms", "perToken": "0.01ms", "perKvToken": "0.1us"}
CONCURRENCY = 4


def batch_class(name: str, **spec: Any) -> Object:
    objectives = {"timeToFirstToken": {"quantile": 0.95, "target": "1s"}}
    return _object("BatchClass", name, None, {"tier": "Interactive", "objectives": objectives, **spec})


def engine(model: str, **more: str) -> Object:
    """A pod template with the simulator; the sidecar is added by the operator."""
    options = {
        "base": STEP["base"],
        "per-token": STEP["perToken"],
        "per-kv-token": STEP["perKvToken"],
        "max-concurrency": str(CONCURRENCY),
        **more,
    }
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    container = {
        "name": "server",
        "image": IMAGE,
        "args": ["engine", "sim", "--host", "$(POD_IP)", "--port", str(PORT), "--model", model, *flags],
        "env": [address],
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1},
    }
    return {"spec": {"terminationGracePeriodSeconds": 30, "containers": [container]}}


def pool(namespace: str, name: str = "chat", **spec: Any) -> Object:
    """A pool on spot nodes that Karpenter makes, with one on-demand replica at the base."""
    h100 = {
        "name": "h100",
        "requirements": [{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["h100x8"]}],
        "gpusPerNode": 8,
        "usdPerHour": {"onDemand": 55.0, "spot": 20.0},
    }
    given = {
        "model": {"name": "sim-chat"},
        "server": {"engine": "VLLM", "port": PORT, "template": engine("sim-chat")},
        "classes": ["interactive"],
        "profiles": [{"accelerator": "h100", "maxConcurrency": CONCURRENCY, "iteration": STEP}],
        "scaling": {"minReplicas": 1, "maxReplicas": 6, "scaleDown": {"stabilization": "5s"}},
        "capacity": {
            "accelerators": [h100],
            "spot": {"enabled": True, "maxShare": 1, "returnAfter": "1m"},
            "nodes": {"backend": "Karpenter", "nodeClassRef": NODE_CLASS, "limits": {"gpus": 32}},
        },
        **spec,
    }
    return _object("InferencePool", name, namespace, given)


def pool_without_nodes(namespace: str, name: str = "chat", **spec: Any) -> Object:
    """A pool whose replicas find no node, so that nothing runs: what is said about it is the same."""
    made = pool(namespace, name, **spec)
    made["spec"]["capacity"] = {**made["spec"]["capacity"], "nodes": {"backend": "None"}}
    return made


def policy(namespace: str, name: str = "support", model: str = "support-chat", to: str = "chat", **spec: Any) -> Object:
    given = {
        "models": [{"name": model}],
        "tenants": [{"name": "acme", "apiKeysFrom": {"secretRef": "acme-keys"}}],
        "classify": {"defaultClass": "interactive"},
        "rules": [{"name": "default", "route": [{"pool": to}]}],
        "cache": {"exact": {"mode": "Disabled"}},
        **spec,
    }
    return _object("RoutingPolicy", name, namespace, given)


def keys(namespace: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "acme-keys", "namespace": namespace},
        "stringData": {"key": KEY},
    }


def _object(kind: str, name: str, namespace: str | None, spec: Object) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}

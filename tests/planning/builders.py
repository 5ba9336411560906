"""Snapshots for tests: everything has a default, a test says only what matters."""

from __future__ import annotations

from typing import Any

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.snapshot import (
    ClassDemand,
    Demand,
    DeploymentView,
    Memory,
    NodeView,
    PodView,
    PoolIdentity,
    Settings,
    Snapshot,
)

NOW = 1_800_000_000.0


def a_class(**spec: Any) -> BatchClassSpec:
    return BatchClassSpec.model_validate(
        {"tier": "Interactive", "objectives": {"timeToFirstToken": {"quantile": 0.95, "target": "1s"}}, **spec}
    )


def a_spec(**spec: Any) -> InferencePoolSpec:
    return InferencePoolSpec.model_validate(
        {
            "model": {"name": "m"},
            "server": {"template": {"spec": {"containers": [{"name": "server", "image": "engine:1"}]}}},
            "classes": ["interactive"],
            "profiles": [
                {"accelerator": "h100", "maxConcurrency": 16, "iteration": {"base": "20ms", "perToken": "0.05ms", "perKvToken": "0.2us"}}
            ],
            "scaling": {"minReplicas": 1, "maxReplicas": 20},
            "capacity": {"accelerators": [{"name": "h100", "gpusPerNode": 8, "usdPerHour": {"onDemand": 55, "spot": 20}}]},
            **spec,
        }
    )


def demand(rps: float = 0.0, output_tokens: float = 100, input_tokens: float = 200, queued: float = 0.0, age_s: float = 0.0) -> Demand:
    measured = ClassDemand(
        requests_per_s=rps,
        completed_per_s=rps,
        input_tokens_per_s=rps * input_tokens,
        output_tokens_per_s=rps * output_tokens,
        queued=queued,
    )
    return Demand(measured_at=NOW - age_s, window_s=45, source="scrape", replicas_reporting=1, classes={"interactive": measured})


def a_snapshot(**fields: Any) -> Snapshot:
    given = {
        "now": NOW,
        "pool": PoolIdentity(namespace="default", name="llama", uid="uid-1", generation=1),
        "spec": a_spec(),
        "classes": {"interactive": a_class()},
        "demand": demand(),
        "settings": Settings(sidecar_image="forebay:1"),
        **fields,
    }
    return Snapshot(**given)


def running(
    ready: int, pending: int = 0, capacity_type: str = "on-demand", node: str = "node-1", variant: str = "h100-on-demand"
) -> dict[str, Any]:
    """A Deployment with its pods, as fields of a snapshot."""
    name = f"llama-{variant}"
    pods = [
        PodView(name=f"{name}-{i}", variant=variant, capacity_type=capacity_type, node=node, ready=i < ready, created_at=NOW - 600,
                ready_at=NOW - 570 if i < ready else None)
        for i in range(ready + pending)
    ]  # fmt: skip
    deployment = DeploymentView(
        name=name, variant=variant, capacity_type=capacity_type, accelerator="h100", replicas=ready + pending, ready=ready
    )
    return {"deployments": (deployment,), "pods": tuple(pods), "nodes": (NodeView(name=node, capacity_type=capacity_type),)}


def settled(target: int, **fields: Any) -> Memory:
    """The memory of a pool that has been watched long enough to shrink."""
    return Memory(target=target, observed_since=NOW - 3600, **fields)

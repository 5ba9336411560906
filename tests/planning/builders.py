"""Snapshots for tests: everything has a default, a test says only what matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.decision import Action, Plan, Verdict
from forebay.planning.measured import ClassDemand, Demand
from forebay.planning.memory import DemandPoint, Memory, Shape
from forebay.planning.outlook import learn
from forebay.planning.snapshot import CapacityType, DeploymentView, NodeView, PodView, PoolIdentity, Settings, Snapshot, Taint
from forebay.planning.variants import Choice, preferred_profile, wanted_variants
from forebay.planning.workload import template_hash

NOW = 1_800_000_000.0
POOL = PoolIdentity(namespace="default", name="llama", uid="uid-1", generation=1)
H100: dict[str, Any] = {"name": "h100", "gpusPerNode": 8, "usdPerHour": {"onDemand": 55, "spot": 20}}
A100: dict[str, Any] = {"name": "a100", "gpusPerNode": 8, "usdPerHour": {"onDemand": 30, "spot": 10}}
NODE_CLASS = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"}


def a_class(**spec: Any) -> BatchClassSpec:
    return BatchClassSpec.model_validate(
        {"tier": "Interactive", "objectives": {"timeToFirstToken": {"quantile": 0.95, "target": "1s"}}, **spec}
    )


def a_profile(accelerator: str = "h100", **fields: Any) -> dict[str, Any]:
    iteration = {"base": "20ms", "perToken": "0.05ms", "perKvToken": "0.2us"}
    return {"accelerator": accelerator, "maxConcurrency": 16, "iteration": iteration, **fields}


def a_spec(**spec: Any) -> InferencePoolSpec:
    return InferencePoolSpec.model_validate(
        {
            "model": {"name": "m"},
            "server": {"template": {"spec": {"containers": [{"name": "server", "image": "engine:1"}]}}},
            "classes": ["interactive"],
            "profiles": [a_profile()],
            "scaling": {"minReplicas": 1, "maxReplicas": 20},
            "capacity": {"accelerators": [H100]},
            **spec,
        }
    )


def on_karpenter(**capacity: Any) -> dict[str, Any]:
    """Capacity that Karpenter makes, in whole nodes; `limits` are the nodes' limits."""
    limits = capacity.pop("limits", {})
    return {"accelerators": [H100], "nodes": {"backend": "Karpenter", "nodeClassRef": NODE_CLASS, "limits": limits}, **capacity}


def demand(
    rps: float = 0.0,
    output_tokens: float = 100,
    input_tokens: float = 200,
    queued: float = 0.0,
    age_s: float = 0.0,
    reporting: int = 1000,
    input_cv: float = 0.0,
    output_cv: float = 0.0,
) -> Demand:
    measured = ClassDemand(
        requests_per_s=rps,
        completed_per_s=rps,
        input_tokens_per_s=rps * input_tokens,
        output_tokens_per_s=rps * output_tokens,
        input_tokens_squared_per_s=rps * input_tokens**2 * (1 + input_cv**2),
        output_tokens_squared_per_s=rps * output_tokens**2 * (1 + output_cv**2),
        queued=queued,
    )
    return Demand(measured_at=NOW - age_s, window_s=45, source="scrape", replicas_reporting=reporting, classes={"interactive": measured})


def points(*rates: float, every_s: float = 15.0) -> tuple[DemandPoint, ...]:
    """One measurement after the other, the last one now."""
    return tuple(DemandPoint(at=NOW - every_s * (len(rates) - 1 - i), requests_per_s=rate) for i, rate in enumerate(rates))


def learned(rates: Sequence[float], name: str = "interactive", input_tokens: float = 200, output_tokens: float = 100) -> Memory:
    """The memory of a planner that has seen these rates, requests/s, one a minute until now."""
    memory = Memory(shapes={name: Shape(input_tokens=input_tokens, output_tokens=output_tokens)})
    for index, rate in enumerate(rates):
        at = NOW - 60.0 * (len(rates) - index)
        measured = Demand(
            measured_at=at, window_s=45, source="scrape", replicas_reporting=1, classes={name: ClassDemand(requests_per_s=rate)}
        )
        memory = memory.model_copy(update={"forecasts": learn(memory.forecasts, measured, memory.shapes, (name,))})
    return memory


def a_snapshot(**fields: Any) -> Snapshot:
    given = {
        "now": NOW,
        "pool": POOL,
        "spec": a_spec(),
        "classes": {"interactive": a_class()},
        "demand": demand(),
        "settings": Settings(sidecar_image="forebay:1"),
        **fields,
    }
    return Snapshot(**given)


def a_node(name: str = "node-1", capacity_type: CapacityType = "on-demand", **fields: Any) -> NodeView:
    return NodeView(name=name, capacity_type=capacity_type, **fields)


def reclaimed(name: str = "node-1", capacity_type: CapacityType = "spot") -> NodeView:
    """A node with Karpenter's notice on it."""
    return a_node(name, capacity_type, taints=(Taint(key="karpenter.sh/disrupted", effect="NoSchedule"),))


def a_pod(name: str, capacity_type: CapacityType = "on-demand", accelerator: str = "h100", **fields: Any) -> PodView:
    """A replica that was ready 30 seconds after it was made, ten minutes ago; or that is not ready."""
    ready = fields.setdefault("ready", True)
    created_at = fields.setdefault("created_at", NOW - 600)
    ready_at = created_at + 30 if ready else None
    return PodView(
        **{"name": name, "variant": f"{accelerator}-{capacity_type}", "capacity_type": capacity_type, "ready_at": ready_at, **fields}
    )


def a_deployment(replicas: int, capacity_type: CapacityType = "on-demand", accelerator: str = "h100", **fields: Any) -> DeploymentView:
    variant = f"{accelerator}-{capacity_type}"
    return DeploymentView(
        **{
            "name": f"llama-{variant}",
            "variant": variant,
            "capacity_type": capacity_type,
            "accelerator": accelerator,
            "replicas": replicas,
            **fields,
        }
    )


def running(ready: int, pending: int = 0, capacity_type: CapacityType = "on-demand", node: str = "node-1", **fields: Any) -> dict[str, Any]:
    """A Deployment with its pods, as fields of a snapshot."""
    names = [f"llama-h100-{capacity_type}-{i}" for i in range(ready + pending)]
    pods = [a_pod(name, capacity_type, node=node, ready=i < ready, **fields) for i, name in enumerate(names)]
    deployment = a_deployment(ready + pending, capacity_type, ready=ready)
    return {"deployments": (deployment,), "pods": tuple(pods), "nodes": (a_node(node, capacity_type),)}


def together(*parts: dict[str, Any]) -> dict[str, Any]:
    """Several `running` in one snapshot."""
    return {field: tuple(item for part in parts for item in part[field]) for field in ("deployments", "pods", "nodes")}


def as_planned(snapshot: Snapshot) -> Snapshot:
    """The same with Deployments whose templates are the pool's own: nothing to roll out."""
    wanted: list[Choice | None] = [*preferred_profile(snapshot.spec)] or [None]
    hashes = {v.name: template_hash(snapshot.spec, v) for choice in wanted for v in wanted_variants(snapshot.spec, choice)}
    current = tuple(d.model_copy(update={"template_hash": hashes.get(d.variant, "")}) for d in snapshot.deployments)
    return snapshot.model_copy(update={"deployments": current})


def settled(target: int, **fields: Any) -> Memory:
    """The memory of a pool that has been watched long enough to shrink, and to wait for nobody longer."""
    known = {"target": target, "placed": target, "observed_since": NOW - 3600, "looking_since": NOW - 3600}
    return Memory(**{**known, **fields})


def verdict(decision: Plan, type_: str) -> Verdict:
    return next(v for v in decision.verdicts if v.type == type_)


def said(decision: Plan, type_: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    found = verdict(decision, type_)
    return found.status, found.reason.value


def actions(decision: Plan, verb: str, kind: str = "") -> list[Action]:
    return [a for a in decision.actions if a.verb == verb and kind in ("", a.ref.kind)]


def done(decision: Plan) -> list[tuple[str, str, str]]:
    """Verb, kind and name of every action."""
    return [(a.verb, a.ref.kind, a.ref.name) for a in decision.actions]


def desired(decision: Plan) -> tuple[int, int]:
    """On-demand and spot replicas."""
    return decision.status.desired.on_demand, decision.status.desired.spot

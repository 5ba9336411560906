"""Compiled configurations and a typical plan, whole. What is in them is read by other programs, or stands on running objects."""

from __future__ import annotations

from typing import Any

from tests.planning.builders import (
    A100,
    H100,
    POOL,
    a_class,
    a_node,
    a_profile,
    a_snapshot,
    a_spec,
    demand,
    on_karpenter,
    reclaimed,
    running,
    settled,
    together,
)
from tests.planning.golden import agreed
from tests.planning.test_routing import a_gateway, a_policy, a_pool

from forebay.dataplane.gateway import config as gateway
from forebay.dataplane.sidecar import config as sidecar
from forebay.planning.planner import plan
from forebay.planning.routing import plan_gateway
from forebay.planning.sidecar_config import compile_sidecar

CLASSES = {
    "interactive": a_class(
        priority=100,
        objectives={
            "timeToFirstToken": {"quantile": 0.95, "target": "500ms"},
            "interTokenLatency": {"quantile": 0.99, "target": "60ms"},
            "endToEnd": {"quantile": 0.9, "target": "1m30s"},
        },
        queue={"maxDepth": 64, "maxWait": "2s"},
        retry={"maxAttempts": 3},
        capacity={"maxSpotShare": 0.5},
    ),
    "batch": a_class(tier="Deferred", objectives=None, batching={"mode": "Fixed", "maxBatchSize": 32, "window": "12.5ms"}),
    "lookup": a_class(tier="NearRealTime", batching={"mode": "Disabled"}),
}


def test_the_sidecars_configuration() -> None:
    spec = a_spec(
        model={"name": "meta-llama/Llama-3.1-8B-Instruct"},
        server={"engine": "VLLM", "port": 8000, "template": {"spec": {"containers": [{"name": "server"}]}}},
        classes=["interactive", "gone", "batch", "lookup"],
    )
    document = compile_sidecar(POOL, spec, CLASSES)
    assert document == agreed("sidecar.json", document)
    assert document is not None and list(sidecar.parse(document).classes) == ["interactive", "batch", "lookup"]


def test_the_gateways_configuration() -> None:
    rules = [
        {
            "name": "nights",
            "match": {"model": {"in": ["chat"]}, "tenant": {"in": ["acme"]}, "batchClass": {"in": ["batch"]}},
            "route": [{"pool": "llama", "weight": 9}, {"pool": "spare", "namespace": "shared"}, {"pool": "closed", "namespace": "private"}],
            "cache": {"exact": {"mode": "Disabled"}},
        },
        {"name": "rest", "route": [{"pool": "llama"}]},
    ]
    tenants = [{"name": name, "apiKeysFrom": {"secretRef": f"{name}-keys"}} for name in ("acme", "globex")]
    rich = a_policy(
        models=("chat", "chat-large"), tenants=tenants, rules=rules, cache={"exact": {"mode": "Always", "ttl": "1h"}},
        resilience={"retryBudget": 0.2, "timeouts": {"firstByte": "30s", "idle": "10s"}},
    )  # fmt: skip
    plain = a_policy("search", ("embed",), "minilm", created="2026-02-01T00:00:00Z", classify={"defaultClass": "lookup"})
    late = a_policy("late", ("chat",), created="2026-03-01T00:00:00Z")
    pools = (
        a_pool(classes=["interactive", "batch"]),
        a_pool("minilm", model={"name": "all-MiniLM-L6-v2", "task": "Embeddings"}, classes=["lookup"]),
        a_pool("spare", "shared", allowedPolicies={"namespaces": {"from": "All"}}),
        a_pool("closed", "private"),
    )
    document = plan_gateway(a_gateway(rich, plain, late, pools=pools, classes=CLASSES)).document
    assert document == agreed("gateway.json", document)
    assert [p.name for p in gateway.parse(document).policies] == ["support", "search"]


def _typical() -> dict[str, Any]:
    """A pool on Karpenter with spot, of which a node is being reclaimed. The queueing model's figures, tested elsewhere, are left out."""
    template = {
        "metadata": {"labels": {"team": "search"}},
        "spec": {"terminationGracePeriodSeconds": 120, "containers": [{"name": "server", "image": "engine:1", "args": ["--port", "8000"]}]},
    }
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["p5.48xlarge"]}
    capacity = on_karpenter(
        accelerators=[{**H100, "requirements": [requirement]}, A100],
        spot={"enabled": True, "maxShare": 0.75},
        onDemand={"baseReplicas": 1},
        limits={"gpus": 64, "usdPerHour": 500},
    )
    spec = a_spec(
        server={"engine": "VLLM", "template": template},
        profiles=[a_profile(gpus=4)],
        capacity=capacity,
        scaling={"minReplicas": 4, "maxReplicas": 12},
    )
    there = together(running(2), running(2, capacity_type="spot", node="node-2"))
    there["nodes"] = (a_node(), reclaimed("node-2"))
    started = tuple(p.name for p in there["pods"])
    memory = settled(4, started_pods=started)
    decision = plan(a_snapshot(spec=spec, classes={"interactive": CLASSES["interactive"]}, **there, memory=memory, demand=demand(0.1)))
    whole = decision.model_dump(mode="json", by_alias=True)
    return {key: value for key, value in whole.items() if key not in ("why", "notes")}


def test_a_typical_plan() -> None:
    assert _typical() == agreed("plan.json", _typical())

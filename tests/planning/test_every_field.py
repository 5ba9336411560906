"""Every field of the three kinds, one after another: each has an effect, and no value that is admitted is refused by anybody after that.

A document that a gateway or a sidecar refuses would be one that stops everybody's changes, so the API server must refuse it first.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from tests.planning.builders import NOW, POOL, a_class, a_pod, demand, learned, running

from forebay.api.admission import schema_for, validate
from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.api.routing_policy import RoutingPolicySpec
from forebay.dataplane.gateway import config as gateway_config
from forebay.dataplane.sidecar import config as sidecar_config
from forebay.planning.backfill import missing
from forebay.planning.measured import StepMoments
from forebay.planning.memory import Memory, Recommendation
from forebay.planning.planner import plan
from forebay.planning.routing import GatewaySnapshot, PolicyView, PoolView, plan_gateway
from forebay.planning.sidecar_config import compile_sidecar
from forebay.planning.snapshot import Settings, Snapshot

Object = dict[str, Any]

CLASS: Object = {
    "tier": "Interactive",
    "priority": 1,
    "objectives": {
        "missUsdPer1k": 5,
        **{
            name: {"quantile": 0.9, "target": target}
            for name, target in (("timeToFirstToken", "400ms"), ("interTokenLatency", "60ms"), ("endToEnd", "20s"))
        },
    },
    "batching": {"mode": "Fixed", "maxBatchSize": 8, "window": "5ms", "maxBatchTokens": 1024},
    "queue": {"maxDepth": 10, "maxWait": "10s"},
    "retry": {"maxAttempts": 3},
    "capacity": {"maxSpotShare": 0.5},
}
KARPENTER: Object = {
    "mode": "Enforce",
    "model": {"name": "m", "task": "Chat"},
    "server": {"engine": "VLLM", "port": 9000, "template": {"spec": {"containers": [{"name": "server", "image": "engine:1"}]}}},
    "classes": ["interactive"],
    "profiles": [
        {
            "accelerator": "h100",
            "partition": "full",
            "gpus": 1,
            "maxConcurrency": 16,
            "iteration": {"base": "20ms", "perToken": "0.05ms", "perKvToken": "0.2us"},
            "tuning": "Auto",
        }
    ],
    "scaling": {
        "minReplicas": 2,
        "maxReplicas": 20,
        "paused": False,
        "scaleDown": {"stabilization": "5m", "maxPerStep": "100%"},
        "warmStandby": 1,
        "forecast": {"mode": "Auto", "coverage": 0.9, "history": "336h"},
    },
    "capacity": {
        "accelerators": [
            {
                "name": "h100",
                "requirements": [{"key": "kind", "operator": "In", "values": ["p5"]}],
                "gpusPerNode": 8,
                "usdPerHour": {"onDemand": 55, "spot": 20},
            }
        ],
        "onDemand": {"baseReplicas": 1},
        "spot": {"enabled": True, "maxShare": 0.4, "returnAfter": "30m"},
        "nodes": {
            "backend": "Karpenter",
            "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"},
            "limits": {"gpus": 64, "usdPerHour": 400},
        },
    },
    "partitioning": {"mode": "Disabled"},
    "allowedPolicies": {"namespaces": {"from": "Same"}},
}
MIG: Object = {
    **KARPENTER,
    "profiles": [{**KARPENTER["profiles"][0], "partition": "3g.40gb"}],
    "capacity": {"accelerators": KARPENTER["capacity"]["accelerators"], "nodes": {"backend": "None"}},
    "partitioning": {"mode": "Static", "layout": {"3g.40gb": 2}},
    "allowedPolicies": {"namespaces": {"from": "Selector", "matchLabels": {"team": "a"}}},
}
POLICY: Object = {
    "gateway": {"name": "default"},
    "models": [{"name": "chat"}],
    "tenants": [{"name": "acme", "apiKeysFrom": {"secretRef": "acme-keys"}}],
    "classify": {"defaultClass": "interactive"},
    "rules": [
        {
            "name": "all",
            "match": {"model": {"in": ["chat"]}, "tenant": {"in": ["acme"]}, "batchClass": {"in": ["interactive"]}},
            "route": [{"pool": "llama", "namespace": "default", "weight": 2}],
            "cache": {"exact": {"mode": "Always", "ttl": "1m"}},
        },
        {"name": "rest", "route": [{"pool": "llama"}]},
    ],
    "cache": {"exact": {"mode": "Deterministic", "ttl": "10m"}},
    "resilience": {"retryBudget": 0.2, "timeouts": {"firstByte": "30s", "idle": "20s"}},
}
WORLDS: dict[str, tuple[str, Object]] = {
    "class": ("BatchClass", CLASS),
    "pool": ("InferencePool", KARPENTER),
    "mig": ("InferencePool", MIG),
    "policy": ("RoutingPolicy", POLICY),
}

# Spot that did not come, and load that has become less.
OVERDUE = {**running(2), "memory": Memory(target=2, looking_since=NOW - 5000)}
OVERDUE["pods"] = (*OVERDUE["pods"], a_pod("late", "spot", ready=False, created_at=NOW - 5000, node=""))
AHEAD = {"memory": learned([10.0 + 4 * (minute % 5) for minute in range(70)])}
# An engine that takes twice as long as declared for a step with ten tokens and 2,000 of context.
SLOW = StepMoments(
    count=40,
    tokens=400,
    context=80_000,
    tokens_tokens=4400,
    tokens_context=840_000,
    context_context=1.7e8,
    seconds=2.0,
    seconds_tokens=20.4,
    seconds_context=4080,
    seconds_seconds=0.102,
)
LESS = {
    **running(6),
    "memory": Memory(target=6, observed_since=NOW - 400, recommendations=(Recommendation(at=NOW - 350, replicas=2),)),
}


def outcomes(world: str, spec: Object) -> list[Any]:
    """All that is decided and compiled when one object of the world has this spec."""
    given = {name: filled(kind, body) for name, (kind, body) in WORLDS.items()}
    given[world] = spec
    if world == "class":
        # What a miss costs decides where the pool does not.
        del given["pool"]["scaling"]["forecast"]["coverage"]
    batch_class = BatchClassSpec.model_validate(given["class"])
    pool = InferencePoolSpec.model_validate(given["mig" if world == "mig" else "pool"])
    classes = {"interactive": batch_class, "other": a_class()}
    found: list[Any] = []
    # A policy bears on no pool's plan.
    for fields in (
        ()
        if world == "policy"
        else (
            {"demand": demand(20)},
            {"demand": demand(200)},
            {"demand": demand(30), **OVERDUE},
            {"demand": demand(0.1), **LESS},
            {"demand": demand(12), **AHEAD},
            {"demand": demand(20).model_copy(update={"steps": {"": SLOW}}), **running(2)},
        )
    ):
        snapshot = Snapshot(now=NOW, pool=POOL, spec=pool, classes=classes, settings=Settings(sidecar_image="i"), **fields)
        found += [plan(snapshot).model_dump(mode="json", by_alias=True), missing(snapshot)]
    document = compile_sidecar(POOL, pool, classes)
    if document is not None:
        sidecar_config.parse(document)
    policy = RoutingPolicySpec.model_validate(given["policy"])
    for namespace in ("default", "elsewhere"):
        compiled = plan_gateway(
            GatewaySnapshot(
                now=NOW,
                namespace=namespace,
                name=policy.gateway.name,
                policies=(PolicyView(namespace=namespace, name="support", spec=policy),),
                pools=(PoolView(namespace="default", name="llama", spec=pool),),
                classes=classes,
                namespace_labels={"elsewhere": {"team": "a"}},
                settings=Settings(sidecar_image="i"),
            )
        )
        gateway_config.parse(compiled.document)
        found.append(compiled.model_dump(mode="json", by_alias=True))
    return [document, *found]


def filled(kind: str, spec: Object) -> Object:
    """The spec with its defaults, as the API server stores it."""
    stored, problems = validate({"apiVersion": "forebay.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}, True)
    assert not problems, [str(problem) for problem in problems]
    return dict(stored["spec"])


Path = tuple[str | int, ...]


def leaves(value: Any, schema: Object, path: Path = ()) -> Iterator[tuple[Path, Object]]:
    """Every field that has a value of its own, with its schema. What a pod template holds is Kubernetes' own."""
    if path == ("server", "template"):
        return
    if isinstance(value, dict):
        for name, child in value.items():
            yield from leaves(child, schema.get("properties", {}).get(name) or schema["additionalProperties"], (*path, name))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from leaves(child, schema["items"], (*path, index))
    else:
        yield path, schema


def candidates(schema: Object) -> list[Any]:
    """Values at the ends of what a field may be, and some that it may not."""
    if "enum" in schema:
        return list(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return [schema["minimum"] - 1, schema["minimum"], 3, schema["maximum"], "Auto", "1%", "10%", "100%", "101%", "0%", "7", "x", True]
    if schema["type"] == "boolean":
        return [True, False]
    if schema["type"] == "integer":
        return [schema.get("minimum", -(2**31)), schema.get("maximum", 2**31), 3, 0, -1]
    if schema["type"] == "number":
        return [schema.get("minimum", -1e308), schema.get("maximum", 1e308), 0.75, 0.0, 0.9999, 1e-300]
    durations = ["0s", "1ns", "45s", "1m", "61s", "1h30m", "999999999h", "9999999999h", "Auto"]
    words = ["a", "other", "llama", "1g.10gb", "x" * 63, "y" * 253, "", " ", "a b", "new\nline", "\x00", "ünder", "/", ".", "None", "7"]
    return durations + words


TOGETHER: list[tuple[str, dict[Path, Any]]] = [
    ("pool", {("capacity", "accelerators", 0, "name"): "a100", ("profiles", 0, "accelerator"): "a100"}),
    (
        "pool",
        {
            ("partitioning", "mode"): "Static",
            ("partitioning", "layout"): {"1g.10gb": 7},
            ("profiles", 0, "partition"): "1g.10gb",
        },
    ),
    ("mig", {("allowedPolicies", "namespaces", "from"): "Same", ("allowedPolicies", "namespaces", "matchLabels"): None}),
]
"""Fields that can only change with one another."""


def changed(spec: Object, values: dict[Path, Any]) -> Object:
    """The spec with other values at these paths."""
    result = copy.deepcopy(spec)
    for path, value in values.items():
        holder: Any = result
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = value
    return result


def variations(world: str) -> Iterator[tuple[set[tuple[str, ...]], Object]]:
    """Admitted specs that differ from the world's in one field, or in few that belong together; with the names of those."""
    kind, spec = WORLDS[world]
    ones = [{path: value} for path, leaf in leaves(spec, spec_schema(kind)) for value in candidates(leaf)]
    for values in (*ones, *(values for other, values in TOGETHER if other == world)):
        obj = {"apiVersion": "forebay.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": changed(spec, values)}
        stored, problems = validate(obj, True)
        if not problems:
            yield {names(path) for path in values}, stored["spec"]


def spec_schema(kind: str) -> Object:
    return dict(schema_for(kind)["properties"]["spec"])


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in WORLDS.values()}))
def test_every_field_has_an_effect_and_no_admitted_value_is_refused_later(kind: str) -> None:
    """`outcomes` raises where the planner fails, or where a gateway or a sidecar refuses what was compiled."""
    idle = {names(path) for path in declared(spec_schema(kind))}
    for world in (world for world, (other, _) in WORLDS.items() if other == kind):
        before = outcomes(world, filled(*WORLDS[world]))
        for fields, spec in variations(world):
            if outcomes(world, spec) != before:
                idle -= fields
    assert not idle


def names(path: Path) -> tuple[str, ...]:
    """The path without places in lists and keys of maps."""
    found = tuple(part for part in path if isinstance(part, str))
    return found[:-1] if len(found) > 1 and found[-2] in ("layout", "matchLabels") else found


def declared(schema: Object, path: Path = ()) -> Iterator[Path]:
    if path == ("server", "template"):
        return
    if "items" in schema:
        yield from declared(schema["items"], path)
    elif "properties" in schema:
        for name, child in schema["properties"].items():
            yield from declared(child, (*path, name))
    else:
        yield path

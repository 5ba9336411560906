"""What one gateway should serve: its policies compiled to one document, and the objects that run it.

Pure, like every decision: policies, pools, classes and namespaces in; objects and conditions out. Contract of the document:
docs/data-plane.md.
"""

from __future__ import annotations

from typing import Any, Literal

from forebay.api.batch_class import BatchClassSpec
from forebay.api.canonical import sealed, short_hash
from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import From, InferencePoolSpec
from forebay.api.meta import K8sModel
from forebay.api.routing_policy import AnyIn, Cache, RoutingPolicySpec, Rule
from forebay.planning.decision import Action, Verdict, apply
from forebay.planning.gateway_workload import gateway_objects, revoked, routed_namespaces
from forebay.planning.sleep import hold
from forebay.planning.snapshot import Settings
from forebay.planning.starts import DEFAULT_LEAD_S
from forebay.planning.workload import service_name

SCHEMA_VERSION = 1


class PolicyView(K8sModel):
    """A RoutingPolicy of the gateway."""

    namespace: str
    name: str
    uid: str = ""
    generation: int = 0
    created_at: str = ""
    spec: RoutingPolicySpec


class PoolView(K8sModel):
    """A pool that may be routed to, and how long a replica of it takes to start."""

    namespace: str
    name: str
    uid: str = ""
    spec: InferencePoolSpec
    start_s: float = DEFAULT_LEAD_S


class GatewayReplica(K8sModel):
    """A gateway pod and the hash of what it has loaded (empty while it could not be asked)."""

    name: str
    ready: bool
    loaded_hash: str = ""


class GatewaySnapshot(K8sModel):
    """The input of one decision about one gateway."""

    schema_version: Literal[1] = 1
    now: float
    namespace: str
    name: str
    policies: tuple[PolicyView, ...] = ()
    pools: tuple[PoolView, ...] = ()
    classes: dict[str, BatchClassSpec] = {}
    namespace_labels: dict[str, dict[str, str]] = {}
    replicas: tuple[GatewayReplica, ...] = ()
    access_in: tuple[str, ...] = ()
    settings: Settings


class PolicyReport(K8sModel):
    """What is said about one policy."""

    name: str
    generation: int
    config_hash: str
    verdicts: tuple[Verdict, ...]


class GatewayPlan(K8sModel):
    """The output: objects to apply in order, and a report per policy."""

    schema_version: Literal[1] = 1
    actions: tuple[Action, ...] = ()
    reports: tuple[PolicyReport, ...] = ()
    document: dict[str, Any] = {}
    requeue_after_s: float


def plan_gateway(snapshot: GatewaySnapshot) -> GatewayPlan:
    """Decides what one gateway serves and runs."""
    policies = sorted(snapshot.policies, key=lambda p: (p.created_at, p.name))
    refused = _claims(policies)
    served = [p for p in policies if p.name not in refused]
    document = _document(snapshot, served)
    *objects, deployment = (apply(obj) for obj in gateway_objects(snapshot, served, document))
    taken = revoked(snapshot.name, snapshot.namespace, set(snapshot.access_in) - routed_namespaces(document))
    # The Deployment comes last: it notes where access was given, and forgets it only once it was taken back.
    actions = (*objects, *taken, deployment) if policies else ()
    reports = tuple(_report(snapshot, policy, refused.get(policy.name), document["hash"]) for policy in policies)
    waiting = any(v.status != "True" for r in reports for v in r.verdicts)
    return GatewayPlan(
        actions=actions, reports=reports, document=document, requeue_after_s=5.0 if waiting else 4 * snapshot.settings.interval_s
    )


def _claims(policies: list[PolicyView]) -> dict[str, str]:
    """Policies that ask for a model name which an older one has, with the sentence that says so."""
    taken: dict[str, str] = {}
    refused: dict[str, str] = {}
    for policy in policies:
        clash = next((m.name for m in policy.spec.models if m.name in taken), None)
        if clash is not None:
            refused[policy.name] = (
                f"model {clash} belongs to the older policy {taken[clash]} on gateway {policy.spec.gateway.name}:"
                f" rename it, or use another gateway"
            )
            continue
        taken.update({m.name: policy.name for m in policy.spec.models})
    return refused


def _allows(pool: PoolView, namespace: str, labels: dict[str, str]) -> bool:
    """Whether a policy of this namespace may route to the pool."""
    allowed = pool.spec.allowed_policies.namespaces
    if pool.namespace == namespace or allowed.from_ == From.ALL:
        return True
    if allowed.from_ == From.SELECTOR and allowed.match_labels is not None:
        return all(labels.get(key) == value for key, value in allowed.match_labels.items())
    return False


def _usable(snapshot: GatewaySnapshot) -> dict[tuple[str, str], PoolView]:
    labels = snapshot.namespace_labels.get(snapshot.namespace, {})
    return {(p.namespace, p.name): p for p in snapshot.pools if _allows(p, snapshot.namespace, labels)}


def _document(snapshot: GatewaySnapshot, served: list[PolicyView]) -> dict[str, Any]:
    usable = _usable(snapshot)
    routed = {
        (route.namespace or snapshot.namespace, route.pool) for policy in served for rule in policy.spec.rules for route in rule.route
    }
    pools = {f"{ns}/{name}": _pool(usable[ns, name], snapshot) for ns, name in sorted(routed) if (ns, name) in usable}
    wanted = {c for pool in pools.values() for c in pool["classes"]} | {p.spec.classify.default_class for p in served}
    return sealed(
        {
            "schemaVersion": SCHEMA_VERSION,
            "gateway": {"namespace": snapshot.namespace, "name": snapshot.name},
            "policies": [_policy(policy, snapshot.namespace, pools) for policy in served],
            "pools": pools,
            "classes": {name: _class(snapshot.classes[name]) for name in sorted(wanted) if name in snapshot.classes},
        }
    )


def _pool(pool: PoolView, snapshot: GatewaySnapshot) -> dict[str, Any]:
    known = {name: snapshot.classes[name] for name in pool.spec.classes if name in snapshot.classes}
    held = {"hold": hold(pool.start_s, known)} if pool.spec.scaling.min_replicas == 0 else {}
    return {
        "namespace": pool.namespace,
        "name": pool.name,
        "service": service_name(pool.name),
        "model": pool.spec.model.name,
        "task": pool.spec.model.task.value,
        "classes": list(known),
        **held,
    }


def _class(spec: BatchClassSpec) -> dict[str, Any]:
    return {"tier": spec.tier.value, "priority": spec.priority, "maxAttempts": spec.retry.max_attempts}


def _policy(policy: PolicyView, namespace: str, pools: dict[str, Any]) -> dict[str, Any]:
    spec = policy.spec
    return {
        "name": policy.name,
        "hash": short_hash(spec.model_dump(mode="json", by_alias=True)),
        "models": [m.name for m in spec.models],
        "tenants": [{"name": t.name, "keys": f"{policy.name}/{t.name}"} for t in spec.tenants],
        "defaultClass": spec.classify.default_class,
        "rules": [_rule(rule, spec.cache, namespace, pools) for rule in spec.rules],
        "retryBudget": spec.resilience.retry_budget,
        "timeouts": {"firstByteSeconds": spec.resilience.timeouts.first_byte, "idleSeconds": spec.resilience.timeouts.idle},
    }


def _rule(rule: Rule, cache: Cache, namespace: str, pools: dict[str, Any]) -> dict[str, Any]:
    match: dict[str, AnyIn | None] = {"model": rule.match.model, "tenant": rule.match.tenant, "class": rule.match.batch_class}
    exact = (rule.cache or cache).exact
    named = [(f"{route.namespace or namespace}/{route.pool}", route.weight) for route in rule.route]
    return {
        "name": rule.name,
        "match": {key: value.in_ for key, value in match.items() if value is not None},
        "route": [{"pool": pool, "weight": weight} for pool, weight in named if pool in pools],
        "cache": {"exact": {"mode": exact.mode.value, "ttlSeconds": exact.ttl}},
    }


def _report(snapshot: GatewaySnapshot, policy: PolicyView, refused: str | None, config_hash: str) -> PolicyReport:
    accepted = (
        Verdict(type=Type.ACCEPTED, status="False", reason=Reason.MODEL_CLAIMED, message=refused)
        if refused
        else Verdict(type=Type.ACCEPTED, status="True", reason=Reason.ACCEPTED, message="the policy is served")
    )
    verdicts = (accepted, _resolved(snapshot, policy), _programmed(snapshot, refused, config_hash))
    return PolicyReport(name=policy.name, generation=policy.generation, config_hash="" if refused else config_hash, verdicts=verdicts)


def _resolved(snapshot: GatewaySnapshot, policy: PolicyView) -> Verdict:
    existing, usable = {(p.namespace, p.name) for p in snapshot.pools}, _usable(snapshot)
    asked = {(route.namespace or policy.namespace, route.pool) for rule in policy.spec.rules for route in rule.route}
    unknown = [f"{ns}/{name}" for ns, name in sorted(asked - existing)]
    closed = [f"{ns}/{name}" for ns, name in sorted(asked & existing - set(usable))]
    default = policy.spec.classify.default_class
    if unknown:
        return _refs(Reason.UNKNOWN_POOL, f"there is no InferencePool {', '.join(unknown)}: create it, or change the route")
    if closed:
        return _refs(
            Reason.POLICY_NOT_ALLOWED,
            f"{', '.join(closed)} does not allow policies of namespace {policy.namespace}: see its allowedPolicies",
        )
    if default not in snapshot.classes:
        return _refs(Reason.UNKNOWN_CLASS, f"there is no BatchClass {default}: create it, or change classify.defaultClass")
    return Verdict(type=Type.RESOLVED_REFS, status="True", reason=Reason.RESOLVED, message="every pool and class exists")


def _refs(reason: Reason, message: str) -> Verdict:
    return Verdict(type=Type.RESOLVED_REFS, status="False", reason=reason, message=message)


def _programmed(snapshot: GatewaySnapshot, refused: str | None, config_hash: str) -> Verdict:
    if refused:
        return Verdict(type=Type.PROGRAMMED, status="False", reason=Reason.MODEL_CLAIMED, message="the policy is not served")
    loaded = [r for r in snapshot.replicas if r.ready]
    behind = [r.name for r in loaded if r.loaded_hash != config_hash]
    if loaded and not behind:
        return Verdict(
            type=Type.PROGRAMMED, status="True", reason=Reason.CONFIG_LOADED, message=f"{len(loaded)} gateway replicas serve {config_hash}"
        )
    message = (
        f"{len(behind)} of {len(loaded)} gateway replicas have not loaded {config_hash} yet"
        if loaded
        else "no gateway replica is ready yet"
    )
    return Verdict(type=Type.PROGRAMMED, status="False", reason=Reason.CONFIG_PENDING, message=message)

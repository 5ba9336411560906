"""What a gateway serves: which policy has which model, what it may route to, and the document and objects that come of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.planning.builders import NOW, a_class, a_spec

from forebay.api.canonical import short_hash
from forebay.api.routing_policy import RoutingPolicySpec
from forebay.dataplane.gateway import config
from forebay.planning.decision import Verdict
from forebay.planning.routing import GatewayPlan, GatewayReplica, GatewaySnapshot, PolicyView, PoolView, plan_gateway
from forebay.planning.snapshot import Settings


def a_policy(
    name: str = "support", models: tuple[str, ...] = ("chat",), pool: str = "llama", created: str = "2026-01-01T00:00:00Z", **spec: Any
) -> PolicyView:
    given = {
        "models": [{"name": m} for m in models],
        "tenants": [{"name": "acme", "apiKeysFrom": {"secretRef": "acme-keys"}}],
        "classify": {"defaultClass": "interactive"},
        "rules": [{"name": "all", "route": [{"pool": pool}]}],
        **spec,
    }
    return PolicyView(namespace="default", name=name, uid=f"uid-{name}", created_at=created, spec=RoutingPolicySpec.model_validate(given))


def a_pool(name: str = "llama", namespace: str = "default", **spec: Any) -> PoolView:
    return PoolView(namespace=namespace, name=name, spec=a_spec(**spec))


def a_gateway(*policies: PolicyView, **fields: Any) -> GatewaySnapshot:
    given = {
        "now": NOW,
        "namespace": "default",
        "name": "default",
        "policies": policies,
        "pools": (a_pool(),),
        "classes": {"interactive": a_class()},
        "settings": Settings(sidecar_image="forebay:1"),
        **fields,
    }
    return GatewaySnapshot(**given)


def condition(decision: GatewayPlan, type_: str, policy: str = "support") -> Verdict:
    report = next(r for r in decision.reports if r.name == policy)
    return next(v for v in report.verdicts if v.type == type_)


def said(decision: GatewayPlan, type_: str, policy: str = "support") -> tuple[str, str]:
    found = condition(decision, type_, policy)
    return found.status, found.reason.value


def objects(decision: GatewayPlan, kind: str) -> list[dict[str, Any]]:
    return [a.body for a in decision.actions if a.ref.kind == kind]


# who has which model


def test_the_oldest_policy_keeps_a_model() -> None:
    older, newer = a_policy("b-older"), a_policy("a-newer", created="2026-01-02T00:00:00Z")
    decision = plan_gateway(a_gateway(newer, older))
    assert said(decision, "Accepted", "b-older") == ("True", "Accepted")
    assert said(decision, "Accepted", "a-newer") == said(decision, "Programmed", "a-newer") == ("False", "ModelClaimed")
    assert "model chat belongs to the older policy b-older on gateway default" in condition(decision, "Accepted", "a-newer").message
    assert [p["name"] for p in decision.document["policies"]] == ["b-older"]
    assert next(r.config_hash for r in decision.reports if r.name == "a-newer") == ""


def test_policies_of_the_same_second_go_by_name() -> None:
    decision = plan_gateway(a_gateway(a_policy("b"), a_policy("a")))
    assert [p["name"] for p in decision.document["policies"]] == ["a"]


def test_a_refused_policy_claims_nothing() -> None:
    """It asks for two models of which one is taken; the other is free for the next."""
    first, second, third = (
        a_policy("first", ("x",), created="2026-01-01T00:00:00Z"),
        a_policy("second", ("x", "y"), created="2026-01-02T00:00:00Z"),
        a_policy("third", ("y",), created="2026-01-03T00:00:00Z"),
    )
    decision = plan_gateway(a_gateway(first, second, third))
    assert [p["name"] for p in decision.document["policies"]] == ["first", "third"]


# what they may route to


def test_an_unknown_pool_is_named_and_left_out() -> None:
    decision = plan_gateway(a_gateway(a_policy(pool="gone")))
    assert said(decision, "ResolvedRefs") == ("False", "UnknownPool")
    assert condition(decision, "ResolvedRefs").message.startswith("there is no InferencePool default/gone")
    assert decision.document["policies"][0]["rules"][0]["route"] == [] and decision.document["pools"] == {}


def test_an_unknown_class_is_named() -> None:
    decision = plan_gateway(a_gateway(a_policy(classify={"defaultClass": "gone"})))
    assert said(decision, "ResolvedRefs") == ("False", "UnknownClass")


@pytest.mark.parametrize(
    ("allowed", "labels", "open_"),
    [
        ({}, {}, False),
        ({"from": "Same"}, {}, False),
        ({"from": "All"}, {}, True),
        ({"from": "Selector", "matchLabels": {"team": "search"}}, {"team": "search", "more": "x"}, True),
        ({"from": "Selector", "matchLabels": {"team": "search"}}, {"team": "ads"}, False),
        ({"from": "Selector", "matchLabels": {"team": "search"}}, {}, False),
        ({"from": "Selector"}, {}, False),
    ],
)
def test_pools_of_other_namespaces_say_who_may_use_them(allowed: dict[str, Any], labels: dict[str, str], open_: bool) -> None:
    policy = a_policy(rules=[{"name": "all", "route": [{"pool": "llama", "namespace": "models"}]}])
    theirs = a_pool(namespace="models", allowedPolicies={"namespaces": allowed})
    decision = plan_gateway(a_gateway(policy, pools=(theirs,), namespace_labels={"default": labels}))
    assert said(decision, "ResolvedRefs") == (("True", "Resolved") if open_ else ("False", "PolicyNotAllowed"))
    assert list(decision.document["pools"]) == (["models/llama"] if open_ else [])
    assert {o["metadata"]["namespace"] for o in objects(decision, "Role")} == ({"default", "models"} if open_ else {"default"})


def test_a_pool_is_always_open_to_its_own_namespace() -> None:
    assert said(plan_gateway(a_gateway(a_policy())), "ResolvedRefs") == ("True", "Resolved")


# the document


def test_the_document_is_sealed_and_repeatable() -> None:
    snapshot = a_gateway(a_policy())
    document = plan_gateway(snapshot).document
    assert document["hash"] == short_hash({k: v for k, v in document.items() if k != "hash"})
    assert plan_gateway(GatewaySnapshot.model_validate_json(snapshot.model_dump_json(by_alias=True))).document == document


def test_the_order_in_which_objects_are_seen_changes_nothing() -> None:
    policies, pools = (a_policy("a"), a_policy("b", ("x",), "other")), (a_pool(), a_pool("other"))
    one = plan_gateway(a_gateway(*policies, pools=pools))
    other = plan_gateway(a_gateway(*reversed(policies), pools=tuple(reversed(pools))))
    assert one.document == other.document and one.actions == other.actions


def test_classes_are_those_of_its_pools_and_policies() -> None:
    classes = {name: a_class() for name in ("interactive", "batch", "unused")}
    document = plan_gateway(a_gateway(a_policy(), pools=(a_pool(classes=["interactive", "batch", "gone"]),), classes=classes)).document
    assert list(document["classes"]) == ["batch", "interactive"]
    assert document["pools"]["default/llama"]["classes"] == ["interactive", "batch"]


def test_a_rules_cache_replaces_the_policys() -> None:
    rules = [
        {"name": "fresh", "match": {"tenant": {"in": ["acme"]}}, "route": [{"pool": "llama"}], "cache": {"exact": {"mode": "Disabled"}}},
        {"name": "rest", "route": [{"pool": "llama", "weight": 3}]},
    ]
    policy = a_policy(rules=rules, cache={"exact": {"mode": "Always", "ttl": "5m"}})
    compiled = plan_gateway(a_gateway(policy)).document["policies"][0]["rules"]
    assert [r["cache"]["exact"]["mode"] for r in compiled] == ["Disabled", "Always"] and compiled[1]["cache"]["exact"]["ttlSeconds"] == 300
    assert compiled[0]["match"] == {"tenant": ["acme"]} and compiled[1]["route"] == [{"pool": "default/llama", "weight": 3}]


@pytest.mark.parametrize(
    ("policy", "pools", "classes"),
    [
        (a_policy(pool="gone"), (), ["interactive"]),
        (a_policy(classify={"defaultClass": "gone"}), (a_pool(),), ["interactive"]),
        (a_policy(), (a_pool(),), []),
        (a_policy(tenants=[]), (a_pool(),), ["interactive"]),
        (
            a_policy(rules=[{"name": "all", "match": {"batchClass": {"in": ["gone"]}}, "route": [{"pool": "llama"}]}]),
            (a_pool(),),
            ["interactive"],
        ),
    ],
    ids=["no pool", "no default class", "no class", "no tenant", "no class of a rule"],
)
def test_what_is_missing_for_one_policy_stops_no_other(policy: PolicyView, pools: tuple[PoolView, ...], classes: list[str]) -> None:
    """A gateway refuses a document as a whole, so none may be compiled that it would refuse."""
    document = plan_gateway(a_gateway(policy, pools=pools, classes={name: a_class() for name in classes})).document
    assert [p.name for p in config.parse(document).policies] == ["support"]


# the objects


def test_no_secret_is_read_or_shared_between_tenants() -> None:
    tenants = [{"name": n, "apiKeysFrom": {"secretRef": f"keys-of-{n}"}} for n in ("acme", "globex")]
    decision = plan_gateway(a_gateway(a_policy(tenants=tenants)))
    assert all("secrets" not in rule["resources"] for role in objects(decision, "Role") for rule in role["rules"])
    pod = objects(decision, "Deployment")[0]["spec"]["template"]["spec"]
    secrets = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    mounted = {m["mountPath"]: secrets[m["name"]] for m in pod["containers"][0]["volumeMounts"] if m["name"] in secrets}
    assert mounted == {"/etc/forebay/keys/support/acme": "keys-of-acme", "/etc/forebay/keys/support/globex": "keys-of-globex"}


def test_volumes_of_tenants_never_share_a_name() -> None:
    """Hyphens are allowed in both names: a + b-c and a-b + c."""
    tenants = {"a": "b-c", "a-b": "c"}
    policies = [
        a_policy(policy, (policy,), tenants=[{"name": tenant, "apiKeysFrom": {"secretRef": "s"}}]) for policy, tenant in tenants.items()
    ]
    volumes = objects(plan_gateway(a_gateway(*policies)), "Deployment")[0]["spec"]["template"]["spec"]["volumes"]
    assert len({v["name"] for v in volumes}) == 3 and all(len(v["name"]) <= 63 for v in volumes)


def test_the_replica_count_is_left_to_whoever_scales_it() -> None:
    assert "replicas" not in objects(plan_gateway(a_gateway(a_policy())), "Deployment")[0]["spec"]


def test_every_object_goes_with_the_last_policy() -> None:
    decision = plan_gateway(a_gateway(a_policy("a"), a_policy("b", ("x",))))
    for action in decision.actions:
        assert [o["uid"] for o in action.body["metadata"]["ownerReferences"]] == ["uid-a", "uid-b"]


def test_access_is_taken_back_before_it_is_forgotten() -> None:
    elsewhere = a_pool("llama", "models", allowedPolicies={"namespaces": {"from": "All"}}).model_copy(update={"uid": "uid-pool"})
    there = a_policy(rules=[{"name": "all", "route": [{"pool": "llama", "namespace": "models"}]}])
    routed = plan_gateway(a_gateway(there, pools=(elsewhere,), access_in=("models",)))
    assert objects(routed, "Deployment")[0]["metadata"]["annotations"] == {"forebay.dev/access-in": "models"}
    foreign = [o for o in objects(routed, "Role") if o["metadata"]["namespace"] == "models"]
    assert [(o["kind"], o["uid"]) for o in foreign[0]["metadata"]["ownerReferences"]] == [("InferencePool", "uid-pool")]
    gone = plan_gateway(a_gateway(a_policy(), pools=(a_pool(), elsewhere), access_in=("models",)))
    last = [(a.verb, a.ref.kind, a.ref.namespace, a.ref.name) for a in gone.actions[-3:]]
    name = "forebay-gateway-default.default"
    assert last == [
        ("delete", "RoleBinding", "models", name),
        ("delete", "Role", "models", name),
        ("apply", "Deployment", "default", "forebay-gateway-default"),
    ]
    assert gone.actions[-1].body["metadata"]["annotations"] == {"forebay.dev/access-in": ""}


def test_access_in_other_namespaces_is_told_apart_by_gateway() -> None:
    policy = a_policy(rules=[{"name": "all", "route": [{"pool": "llama", "namespace": "models"}]}])
    theirs = a_pool(namespace="models", allowedPolicies={"namespaces": {"from": "All"}})
    names = set()
    for namespace, name in (("b-c", "a"), ("c", "a-b")):
        own = policy.model_copy(update={"namespace": namespace})
        decision = plan_gateway(a_gateway(own, pools=(theirs,), namespace=namespace, name=name))
        names |= {o["metadata"]["name"] for o in objects(decision, "RoleBinding") if o["metadata"]["namespace"] == "models"}
    assert len(names) == 2


# what is live


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [
        ((), ("False", "ConfigPending")),
        ((("a", False, "live"),), ("False", "ConfigPending")),
        ((("a", True, "live"),), ("True", "ConfigLoaded")),
        ((("a", True, "live"), ("b", True, "")), ("False", "ConfigPending")),
        ((("a", True, "live"), ("b", False, "")), ("True", "ConfigLoaded")),
    ],
)
def test_programmed_when_every_ready_replica_has_loaded_it(replicas: tuple[tuple[str, bool, str], ...], expected: tuple[str, str]) -> None:
    live = plan_gateway(a_gateway(a_policy())).document["hash"]
    seen = tuple(GatewayReplica(name=n, ready=ready, loaded_hash=live if h == "live" else h) for n, ready, h in replicas)
    decision = plan_gateway(a_gateway(a_policy(), replicas=seen))
    assert said(decision, "Programmed") == expected
    assert decision.requeue_after_s == (60 if expected[0] == "True" else 5)


def test_a_gateway_without_policies_is_left_to_the_garbage_collector() -> None:
    assert plan_gateway(a_gateway()).actions == ()

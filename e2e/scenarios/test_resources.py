"""The three kinds as a person at a terminal meets them: apply, get, explain, wait, scale, and words that say what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from e2e import resources
from e2e.controlplane.client import Object
from e2e.controlplane.cluster import ControlPlane, KubectlFailed
from e2e.forebay import Forebay
from e2e.waiting import eventually


def test_what_kubectl_shows(forebay: Forebay) -> None:
    batch_class = f"{forebay.namespace}-fast"
    forebay.apply(
        resources.batch_class(batch_class, priority=7),
        resources.keys(forebay.namespace),
        resources.pool(forebay.namespace, classes=[batch_class]),
        resources.policy(forebay.namespace, classify={"defaultClass": batch_class}),
    )
    forebay.wait("fpool/chat")
    forebay.wait("froute/support", "Programmed")
    header, row = lines(forebay.kubectl("get", "fpool", "-o", "wide"))
    assert header == "NAME READY REPLICAS ONDEMAND SPOT P95 TTFT $/H AGE MODEL PLAN"
    assert row.startswith("chat True 1 0 1 20.00 ") and row.endswith(" sim-chat has 0 on-demand + 1 spot")
    header, row = lines(forebay.kubectl("get", "froute"))
    assert header == "NAME GATEWAY MODELS ACCEPTED RESOLVED PROGRAMMED AGE"
    assert row.startswith("support default support-chat True True True ")
    header, row = lines(forebay.kubectl("get", "fclass", batch_class))
    assert header == "NAME TIER PRIORITY POOLS ACCEPTED AGE"
    assert row.startswith(f"{batch_class} Interactive 7 1 True ")
    everything = forebay.kubectl("get", "forebay", "-o", "name").split()
    assert {"inferencepool.forebay.dev/chat", "routingpolicy.forebay.dev/support", f"batchclass.forebay.dev/{batch_class}"} <= {*everything}


def lines(table: str) -> list[str]:
    return [" ".join(line.split()) for line in table.splitlines()]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("inferencepool.spec.scaling.minReplicas", "Fewest replicas"),
        ("inferencepool.spec.profiles.iteration", "base + n * (perToken * c + perKvToken * m)"),
        ("inferencepool.spec.capacity.spot.returnAfter", "before it is tried again"),
        ("routingpolicy.spec.resilience.retryBudget", "token bucket"),
        ("batchclass.spec.objectives.timeToFirstToken.quantile", "Share of requests"),
    ],
)
def test_explain_is_worth_reading(control_plane: ControlPlane, crds: None, path: str, words: str) -> None:
    def explained() -> str:
        try:
            return control_plane.kubectl("explain", path)
        except KubectlFailed:
            return ""  # the schema is published a moment after the kind is served

    assert words in " ".join(eventually(f"{path} is explained", explained, 15).split())


def changed(*keys: str, **values: Any) -> Callable[[Object], None]:
    """A change of a spec: the fields `values` at the path `keys`."""

    def change(spec: Object) -> None:
        for key in keys:
            spec = spec.setdefault(key, {})
        spec.update(values)

    return change


PROFILE = {"accelerator": "a100", "maxConcurrency": 4, "iteration": {"base": "10ms", "perToken": "1ms"}}
GENERATION = {"key": "generation", "operator": "Gt", "values": ["four"]}
REFUSED = [
    ("fpool", changed("scaling", minReplicas=9), "minReplicas must not exceed maxReplicas: lower the first or raise the second"),
    ("fpool", changed("scaling", minReplicas=-1), "spec.scaling.minReplicas in body should be greater than or equal to 0"),
    ("fpool", changed("scaling", "scaleDown", stabilization="5 minutes"), "must be Auto, or a duration such as 250ms, 30s or 1h30m"),
    ("fpool", changed("scaling", "scaleDown", maxPerStep="half"), "spec.scaling.scaleDown.maxPerStep in body should match"),
    ("fpool", changed("scaling", warmStandby=-1), "spec.scaling.warmStandby in body should be greater than or equal to 0"),
    ("fpool", changed("capacity", nodes={"backend": "Karpenter"}), "backend Karpenter needs nodeClassRef"),
    ("fpool", changed(profiles=[PROFILE]), "every profile's accelerator must be the name of an entry in capacity.accelerators"),
    ("fpool", changed("server", template={"spec": {}}), "server.template needs spec.containers with the model server's container first"),
    ("fpool", changed(partitioning={"mode": "Static"}), "mode Static needs layout, such as {3g.40gb: 2}"),
    ("fpool", changed("allowedPolicies", namespaces={"from": "Selector"}), "from Selector needs matchLabels of the namespaces"),
    ("fpool", changed("scaling", maxReplica=3), 'unknown field "spec.scaling.maxReplica"'),
    ("fpool", changed("allowedPolicies", namespaces={"from": "All", "matchLabels": {}}), "matchLabels goes with from Selector only"),
    ("fpool", changed("capacity", accelerators=[{"name": "a", "requirements": [GENERATION]}]), "Gt and Lt compare with one whole number"),
    ("fpool", changed("scaling", "scaleDown", stabilization="9999999999h"), "of at most 9 digits a unit"),
    ("fpool", changed("model", name="two\nlines"), "spec.model.name in body should match"),
    ("fpool", changed(mode="Enforced"), 'supported values: "Enforce", "Recommend"'),
    ("froute", changed(rules=[{"name": "a", "route": [{"pool": "chat", "weight": 0}]}]), "at least one route needs a weight above 0"),
    ("froute", changed(rules=[]), "spec.rules in body should have at least 1 items"),
    ("froute", changed("resilience", "timeouts", firstByte="0s"), "must be longer than 0s"),
    ("fclass", changed("batching", window="61s"), "must be at most 1m: requests wait for it"),
    ("fclass", changed("objectives", "timeToFirstToken", target="0ms"), "must be longer than 0s"),
    ("fclass", changed(objectives={}), "objectives is empty: set timeToFirstToken, interTokenLatency or endToEnd"),
    ("fclass", changed(tier="Soon"), 'supported values: "Interactive", "NearRealTime", "Deferred"'),
]


@pytest.mark.parametrize(("kind", "change", "words"), REFUSED, ids=[f"{kind}-{words[:40]}" for kind, _, words in REFUSED])
def test_refusal_says_how_to_mend_it(
    control_plane: ControlPlane, crds: None, kind: str, change: Callable[[Object], None], words: str
) -> None:
    good = {"fpool": resources.pool("default"), "froute": resources.policy("default"), "fclass": resources.batch_class("good")}[kind]
    bad: Object = json.loads(json.dumps(good))
    change(bad["spec"])
    with pytest.raises(KubectlFailed) as refusal:
        control_plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(bad))
    assert words in str(refusal.value)


def test_scale_moves_the_least_replicas(forebay: Forebay) -> None:
    batch_class = f"{forebay.namespace}-fast"
    forebay.apply(resources.batch_class(batch_class), resources.pool_without_nodes(forebay.namespace, classes=[batch_class]))
    eventually("a replica", lambda: len(forebay.replicas()) == 1)
    forebay.kubectl("scale", "inferencepools.forebay.dev/chat", "--replicas=3")
    assert forebay.pool()["spec"]["scaling"]["minReplicas"] == 3
    eventually("three replicas", lambda: len(forebay.replicas()) == 3)
    scale = eventually("the scale shows them", lambda: s if (s := forebay.scale())["status"].get("replicas") == 3 else {})
    assert scale["status"]["selector"] == "forebay.dev/pool=chat"
    with pytest.raises(KubectlFailed, match="minReplicas must not exceed maxReplicas"):
        forebay.kubectl("scale", "inferencepools.forebay.dev/chat", "--replicas=9")

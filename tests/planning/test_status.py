"""What a decision says about itself: status, conditions, Events, and how much of them there may be."""

from __future__ import annotations

from typing import Any

import pytest
from tests.planning.builders import (
    NOW,
    POOL,
    a_node,
    a_pod,
    a_snapshot,
    a_spec,
    demand,
    done,
    on_karpenter,
    reclaimed,
    running,
    said,
    settled,
    together,
    verdict,
)

from forebay.api.admission import validate
from forebay.planning.decision import Plan
from forebay.planning.measured import ClassDemand, Demand
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot
from forebay.planning.status import conflict_verdict


def test_ready_means_as_many_as_are_wanted() -> None:
    two = a_spec(scaling={"minReplicas": 2, "maxReplicas": 4})
    assert said(plan(a_snapshot(spec=two)), "Ready") == ("False", "NoReplicas")
    assert said(plan(a_snapshot(spec=two, **running(1, 1))), "Ready") == ("False", "ReplicasPending")
    assert said(plan(a_snapshot(spec=two, **running(2))), "Ready") == ("True", "ReplicasReady")


def test_why_replicas_do_not_answer() -> None:
    """A pool said only `none of 1 replicas answers yet` while its container crashed, or its image could not be pulled."""
    crash, missing = "server ended with exit code 1 and is started again", "server waits: ErrImagePull: not found"
    there = running(1, 5)
    troubles = ("", crash, missing, missing, "server waits: RunContainerError", crash)
    there["pods"] = tuple(p.model_copy(update={"trouble": t}) for p, t in zip(there["pods"], troubles, strict=True))
    gone = there["pods"][5].model_copy(update={"deleting": True})
    decision = plan(a_snapshot(spec=a_spec(scaling={"minReplicas": 6}), **there | {"pods": (*there["pods"][:5], gone)}))
    name = "llama-h100-on-demand"
    assert verdict(decision, "Ready").message == (f"1 of 6 replicas answer; {name}-2, {name}-3: {missing}; {name}-1: {crash}"), (
        "what most of them say comes first, two of it are enough, and one that is on its way out says nothing"
    )
    refused = running(0)
    refused["deployments"] = (refused["deployments"][0].model_copy(update={"trouble": "exceeded quota: gpus"}),)
    message = verdict(plan(a_snapshot(**refused)), "Ready").message
    assert message == "none of 1 replicas answers yet; llama-h100-on-demand: exceeded quota: gpus"


def test_a_pool_that_grows_stays_ready() -> None:
    """Else every step up would show as degraded."""
    decision = plan(a_snapshot(**running(1, 3), demand=demand(rps=20)))
    assert said(decision, "Ready") == ("True", "ReplicasPending")


def test_replicas_that_are_being_deleted_do_not_count() -> None:
    there = running(2)
    there["pods"] = tuple(p.model_copy(update={"deleting": True}) for p in there["pods"])
    decision = plan(a_snapshot(**there))
    assert said(decision, "Ready") == ("False", "NoReplicas")
    assert decision.status.replicas == decision.status.ready_replicas == 0


def test_a_pool_without_any_known_class_does_not_claim_to_have_scaled() -> None:
    """An Event said `ScaledUp 0 → 1` and the status a price, while nothing was started."""
    decision = plan(a_snapshot(classes={}))
    assert not decision.actions and decision.replicas == decision.status.desired.on_demand == 0
    assert [n.reason for n in decision.notes] == ["UnknownClass"]
    assert decision.status.rate.usd_per_hour == "0.00"
    assert said(decision, "Ready") == ("False", "UnknownClass")
    known = plan(a_snapshot(memory=decision.memory))
    assert [n.message.partition(":")[0] for n in known.notes] == ["0 → 1 replicas"], "told when it comes about"
    lost = plan(a_snapshot(classes={}, **running(2), memory=settled(2)))
    assert lost.replicas == 2, "what runs is held"


def test_what_was_held_back_is_told_when_the_pause_is_over() -> None:
    """The pool grew after a pause without an Event: it had been noted as grown while it was paused."""
    grown = {**running(1), "demand": demand(rps=20)}
    scaling = {"minReplicas": 1, "maxReplicas": 20}
    paused = plan(a_snapshot(spec=a_spec(scaling={**scaling, "paused": True}), **grown, memory=settled(1)))
    assert not paused.actions and "ScaledUp" not in [n.reason for n in paused.notes]
    freed = plan(a_snapshot(spec=a_spec(scaling=scaling), **grown, memory=paused.memory))
    assert [n.message.partition(":")[0] for n in freed.notes] == [f"1 → {freed.replicas} replicas"]


def test_missing_classes_are_named() -> None:
    spec = a_spec(classes=["interactive", "gone", "lost"])
    decision = plan(a_snapshot(spec=spec))
    assert said(decision, "ResolvedRefs") == ("False", "UnknownClass")
    assert "there is no BatchClass named gone, lost" in verdict(decision, "ResolvedRefs").message
    assert decision.actions, "the classes that exist are served"
    assert [(n.type, n.reason) for n in decision.notes if "gone, lost" in n.message] == [("Warning", "UnknownClass")]


def test_no_class_at_all_starts_nothing() -> None:
    decision = plan(a_snapshot(classes={}))
    assert decision.actions == () and said(decision, "Ready") == ("False", "UnknownClass")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"demand": None}, ("Unknown", "NoSamples")),
        ({"demand": demand(age_s=46)}, ("False", "Stale")),
        ({"demand": demand(age_s=44)}, ("True", "Fresh")),
    ],
)
def test_how_old_the_measurements_are(fields: dict[str, Any], expected: tuple[str, str]) -> None:
    assert said(plan(a_snapshot(**fields)), "MetricsFresh") == expected


def test_where_replicas_stand() -> None:
    waiting = running(0, 2, node="")
    assert said(plan(a_snapshot(**waiting)), "CapacityProvisioned") == ("False", "Provisioning")
    assert said(plan(a_snapshot(**running(1))), "CapacityProvisioned") == ("True", "ExistingNodes")
    karpenter = a_spec(capacity=on_karpenter())
    assert said(plan(a_snapshot(spec=karpenter, **running(1))), "CapacityProvisioned") == ("True", "Provisioned")
    missing = plan(a_snapshot(spec=karpenter, backend_installed=False))
    assert said(missing, "CapacityProvisioned") == ("False", "BackendMissing")
    nameless = a_spec(profiles=[], capacity=on_karpenter(accelerators=[]))
    message = verdict(plan(a_snapshot(spec=nameless, **waiting)), "CapacityProvisioned").message
    assert "2 replicas wait for a node" in message and "capacity.accelerators is empty" in message


def dry(**spec: Any) -> Plan:
    return plan(a_snapshot(spec=a_spec(**spec), **running(1), demand=demand(rps=20), memory=settled(1)))


def test_recommend_says_what_it_would_do() -> None:
    decision = dry(mode="Recommend")
    assert decision.dry and decision.actions == () and decision.replicas > 1
    assert said(decision, "Paused") == ("True", "RecommendOnly") and said(decision, "Ready") == ("True", "RecommendOnly")
    assert [n.reason for n in decision.notes] == ["RecommendedUp"]


def test_paused_says_nothing_new() -> None:
    decision = dry(scaling={"minReplicas": 1, "maxReplicas": 20, "paused": True})
    assert decision.dry and decision.actions == () and decision.notes == ()
    assert said(decision, "Paused") == ("True", "Paused")


def test_events_name_the_figures() -> None:
    decision = plan(a_snapshot(**running(1), demand=demand(rps=20), memory=settled(1)))
    note = decision.notes[0]
    assert note.reason == "ScaledUp" and note.message.startswith(f"1 → {decision.replicas} replicas: h100/full: ")


def test_an_interruption_is_told_once() -> None:
    """The replicas are unrouted in the same round, so the next one finds them known."""
    there = together(running(1), running(2, capacity_type="spot", node="node-2"))
    there["nodes"] = (a_node(), reclaimed("node-2"))
    first = plan(a_snapshot(**there, memory=settled(3)))
    assert "Interrupted" in [n.reason for n in first.notes]
    off = tuple(p.model_copy(update={"routed": p.capacity_type != "spot"}) for p in there["pods"])
    again = plan(a_snapshot(**{**there, "pods": off}, memory=settled(3)))
    assert "Interrupted" not in [n.reason for n in again.notes]


def test_the_worst_class_is_shown() -> None:
    classes = {
        "fast": ClassDemand(requests_per_s=1.234, p95_time_to_first_token_s=0.1234, objectives_met=0.99),
        "slow": ClassDemand(requests_per_s=2, p95_time_to_first_token_s=1.5, objectives_met=0.9),
    }
    measured = Demand(measured_at=NOW, window_s=45, source="scrape", replicas_reporting=1, classes=classes)
    status = plan(a_snapshot(demand=measured)).status
    assert (status.objective.p95_time_to_first_token, status.objective.attainment) == ("1.5s", 0.9)
    assert status.demand.requests_per_second == 3.23


@pytest.mark.parametrize("known", [None, demand(rps=100, age_s=500)], ids=["never measured", "stale"])
def test_demand_that_is_not_known_is_not_shown_as_none(known: Demand | None) -> None:
    shown = plan(a_snapshot(**running(1), demand=known, memory=settled(1))).status.demand
    assert shown.model_dump(exclude_none=True, by_alias=True) == {"forecast": []}
    assert plan(a_snapshot(**running(1), demand=demand(0), memory=settled(1))).status.demand.requests_per_second == 0


def test_unknown_prices_are_shown_as_unknown() -> None:
    spec = a_spec(capacity={"accelerators": [{"name": "h100"}]})
    assert plan(a_snapshot(spec=spec)).status.rate.usd_per_hour == "unknown"


def test_conflicts_are_bounded() -> None:
    assert conflict_verdict(()).status == "False"
    many = conflict_verdict(tuple(f"Pod p{i}: {'x' * 980}" for i in range(1000)))
    assert many.status == "True" and len(many.message) < 32768 and "and 992 more" in many.message


def a_mass_interruption(nodes: int) -> Snapshot:
    """Every node of a large pool goes, each for a reason of its own."""
    names = [f"node-{i}" for i in range(nodes)]
    pods = tuple(a_pod(f"llama-h100-spot-{i}", "spot", node=name) for i, name in enumerate(names))
    marks = ("karpenter.sh/disrupted", "cloud.google.com/impending-node-termination", "ToBeDeletedByClusterAutoscaler")
    going = tuple(
        reclaimed(name).model_copy(update={"taints": (reclaimed().taints[0].model_copy(update={"key": marks[i % 3]}),)})
        for i, name in enumerate(names)
    )
    capacity = {"accelerators": [{"name": "h100"}], "spot": {"enabled": True}}
    spec = a_spec(scaling={"minReplicas": nodes, "maxReplicas": nodes}, capacity=capacity)
    return a_snapshot(spec=spec, pods=pods, nodes=going, memory=settled(nodes))


def test_a_mass_interruption_fits_the_status() -> None:
    """The API server refuses a status with too many reasons, and with it the whole report."""
    decision = plan(a_mass_interruption(300))
    assert len(decision.why) <= 64 and len(decision.notes) <= 8
    status = decision.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    status["plan"] = {"why": [w[:1024] for w in decision.why]}
    status["conditions"] = [
        {**v.model_dump(mode="json", by_alias=True), "lastTransitionTime": "2026-01-01T00:00:00Z"} for v in decision.verdicts
    ]
    pool = {
        "apiVersion": "forebay.dev/v1alpha1",
        "kind": "InferencePool",
        "metadata": {"name": POOL.name, "namespace": POOL.namespace},
        "spec": a_spec().model_dump(mode="json", by_alias=True, exclude_none=True),
        "status": status,
    }
    assert validate(pool, strict_unknown=True)[1] == []
    assert len([a for a in done(decision) if a[0] == "patch"]) == 0, "nobody else could take their requests"


def test_the_reasons_of_a_stale_pool_name_no_load() -> None:
    why = plan(a_snapshot(**running(1), demand=demand(rps=100, age_s=500), memory=settled(1))).why
    assert not any("forebay_sidecar_arrivals_total" in w for w in why)

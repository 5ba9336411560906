"""Snapshots of all kinds, for what must always hold."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tests.planning.builders import NODE_CLASS, NOW, a_class, a_profile, a_snapshot, a_spec

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.interruption import interruption
from forebay.planning.measured import AtGateways, ClassDemand, Demand
from forebay.planning.memory import DemandPoint, Memory, Recommendation, Rest
from forebay.planning.snapshot import (
    ON_DEMAND,
    SPOT,
    CapacityType,
    DeploymentView,
    NodePoolView,
    NodeView,
    PodView,
    PoolIdentity,
    Snapshot,
    Taint,
)
from forebay.planning.variants import node_pool_name

POOL = PoolIdentity(namespace="default", name="llama", uid="uid-1", generation=3)
ACCELERATORS = ("h100", "a100")
SPEED = {"h100": "20ms", "a100": "45ms"}
CAPACITY_TYPES: tuple[CapacityType, ...] = (ON_DEMAND, SPOT)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def specs(draw: st.DrawFn) -> InferencePoolSpec:
    names = draw(st.lists(st.sampled_from(ACCELERATORS), unique=True, max_size=2))
    price = st.fixed_dictionaries({}, optional={"onDemand": st.sampled_from([10, 55]), "spot": st.sampled_from([4, 20])})
    accelerators = [{"name": n, "gpusPerNode": draw(st.sampled_from([1, 8])), "usdPerHour": draw(price)} for n in names]
    profiles = [
        a_profile(n, gpus=draw(st.sampled_from([0, 1, 4, 8])), iteration={"base": SPEED[n], "perToken": "0.05ms"})
        for n in names
        if draw(st.integers(0, 4))
    ]
    fewest = draw(st.integers(0, 4))
    spot = {"enabled": draw(st.booleans()), "maxShare": draw(st.sampled_from([0, 0.3, 0.5, 1]))}
    limits = {"gpus": draw(maybe(st.integers(0, 64))), "usdPerHour": draw(maybe(st.sampled_from([0, 30, 100, 300])))}
    nodes = {"backend": draw(st.sampled_from(["None", "Karpenter"])), "nodeClassRef": NODE_CLASS, "limits": limits}
    scaling = {"minReplicas": fewest, "maxReplicas": draw(st.integers(max(1, fewest), 12)), "paused": draw(st.integers(0, 9)) == 0}
    return a_spec(
        mode="Recommend" if draw(st.integers(0, 9)) == 0 else "Enforce",
        classes=draw(st.sampled_from([["interactive"], ["interactive", "batch"]])),
        profiles=profiles,
        scaling=scaling,
        capacity={"accelerators": accelerators, "spot": spot, "onDemand": {"baseReplicas": draw(st.integers(0, 3))}, "nodes": nodes},
    )


@st.composite
def classes(draw: st.DrawFn) -> dict[str, BatchClassSpec]:
    target = draw(st.sampled_from(["1ms", "300ms", "2s"]))
    strict = {"capacity": {"maxSpotShare": draw(st.sampled_from([0.25, 1]))}}
    both = {
        "interactive": a_class(objectives={"timeToFirstToken": {"quantile": 0.95, "target": target}}, **strict),
        "batch": a_class(tier="Deferred", objectives=None),
    }
    return {name: both[name] for name in draw(st.sampled_from([["interactive", "batch"], ["interactive"], ["batch"], []]))}


@st.composite
def demands(draw: st.DrawFn) -> Demand | None:
    if draw(st.integers(0, 5)) == 0:
        return None

    def one() -> ClassDemand:
        rps = draw(st.sampled_from([0.0, 0.01, 1.0, 7.5, 40.0]))
        return ClassDemand(
            requests_per_s=rps,
            completed_per_s=draw(st.sampled_from([0.0, rps])),
            input_tokens_per_s=rps * draw(st.sampled_from([10.0, 400.0])),
            output_tokens_per_s=rps * draw(st.sampled_from([1.0, 150.0])),
            queued=draw(st.sampled_from([0.0, 3.0, 200.0])),
        )

    names = draw(st.lists(st.sampled_from(["interactive", "batch", "stranger"]), unique=True))
    age_s = draw(st.sampled_from([0.0, 0.0, 10.0, 100.0]))
    reporting = draw(st.sampled_from([0, 3, 1000]))
    return Demand(
        measured_at=NOW - age_s,
        window_s=45,
        source="scrape",
        replicas_reporting=reporting,
        in_flight_variance=draw(st.sampled_from([None, 0.0, 4.0, 1e9])) if reporting > 1 else None,
        classes={name: one() for name in names},
    )


@st.composite
def node_views(draw: st.DrawFn, name: str, accelerator: str, capacity_type: CapacityType) -> NodeView:
    labels = {"karpenter.sh/nodepool": node_pool_name(POOL, accelerator, capacity_type)}
    taints = (Taint(key="karpenter.sh/disrupted", effect="NoSchedule"),) if draw(st.integers(0, 3)) == 0 else ()
    return NodeView(
        name=name, own=draw(st.booleans()), capacity_type=capacity_type, ready=draw(st.integers(0, 5)) > 0, labels=labels, taints=taints
    )


@st.composite
def supplies(draw: st.DrawFn) -> dict[str, Any]:
    """Deployments with their pods and nodes, of wanted and unwanted variants alike."""
    deployments: list[DeploymentView] = []
    pods: list[PodView] = []
    nodes: list[NodeView] = []
    for accelerator in ACCELERATORS:
        for capacity_type in CAPACITY_TYPES:
            replicas = draw(st.sampled_from([0, 0, 1, 3, 6]))
            if replicas == 0:
                continue
            variant = f"{accelerator}-{capacity_type}"
            host = f"{variant}-node"
            nodes.append(draw(node_views(host, accelerator, capacity_type)))
            mine = [draw(pod_views(f"llama-{variant}-{i}", variant, capacity_type, host)) for i in range(replicas)]
            pods += mine
            deployments.append(
                DeploymentView(
                    name=f"llama-{variant}", variant=variant, capacity_type=capacity_type, accelerator=accelerator, replicas=replicas,
                    ready=sum(p.ready for p in mine), rolling=draw(st.booleans()), template_hash=draw(st.sampled_from(["", "old"])),
                )
            )  # fmt: skip
    return {"deployments": tuple(deployments), "pods": tuple(pods), "nodes": tuple(nodes)}


@st.composite
def pod_views(draw: st.DrawFn, name: str, variant: str, capacity_type: CapacityType, host: str) -> PodView:
    created_at = NOW - draw(st.sampled_from([5.0, 90.0, 5000.0]))
    ready = draw(st.booleans())
    return PodView(
        name=name, variant=variant, capacity_type=capacity_type, node=draw(st.sampled_from([host, host, "", "gone"])), ready=ready,
        deleting=draw(st.integers(0, 5)) == 0, routed=draw(st.booleans()), created_at=created_at,
        ready_at=created_at + draw(st.sampled_from([1.0, 30.0, 4000.0])) if ready else None,
    )  # fmt: skip


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    points = tuple(DemandPoint(at=NOW - 15 * i, requests_per_s=draw(st.sampled_from([0.0, 5.0, 30.0]))) for i in range(5, 0, -1))
    return Memory(
        history={"interactive": points} if draw(st.booleans()) else {},
        recommendations=tuple(Recommendation(at=NOW - at, replicas=draw(st.integers(1, 12))) for at in (400, 200, 20)),
        observed_since=draw(st.sampled_from([None, NOW - 10, NOW - 10_000])),
        start_times_s=draw(st.sampled_from([(), (20.0,), (400.0, 500.0)])),
        spot_hold_until=draw(st.sampled_from([0.0, NOW - 1, NOW + 500])),
        target=draw(st.integers(0, 12)),
        mix=draw(st.sampled_from([{}, {"h100/full": 3}, {"a100/full": 2}, {"h100/full": 1, "a100/full": 4}])),
        better_since=draw(st.sampled_from([None, NOW - 10, NOW - 10_000])),
        rest=draw(st.sampled_from([None, Rest(), Rest(idle_since=NOW - 350), Rest(idle_since=NOW - 9000, pauses_s=(400.0,) * 5)])),
    )


@st.composite
def doors(draw: st.DrawFn) -> AtGateways:
    asked = draw(st.integers(0, 3))
    answered = draw(st.integers(0, asked))
    held = {"interactive": draw(st.sampled_from([1, 40]))} if answered and draw(st.booleans()) else {}
    return AtGateways(asked=asked, answered=answered, held=held, passed_over=bool(answered) and draw(st.booleans()))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Any pool at any moment."""
    spec = draw(specs())
    names = [node_pool_name(POOL, a, ct) for a in ACCELERATORS for ct in CAPACITY_TYPES]
    return a_snapshot(
        pool=POOL,
        spec=spec,
        classes={name: c for name, c in draw(classes()).items() if name in spec.classes},
        demand=draw(demands()),
        gateways=draw(doors()) if spec.scaling.min_replicas == 0 else None,
        memory=draw(memories()),
        backend_installed=draw(st.integers(0, 4)) > 0,
        node_pools=tuple(NodePoolView(name=name) for name in draw(st.lists(st.sampled_from(names), unique=True))),
        **draw(supplies()),
    )


def with_more_demand(snapshot: Snapshot, factor: float) -> Snapshot:
    """The same moment with so many times the requests, and no other kind of them."""
    if snapshot.demand is None:
        return snapshot
    more = {
        name: c.model_copy(
            update={
                field: getattr(c, field) * factor
                for field in ("requests_per_s", "completed_per_s", "input_tokens_per_s", "output_tokens_per_s", "queued")
            }
        )
        for name, c in snapshot.demand.classes.items()
    }
    return snapshot.model_copy(update={"demand": snapshot.demand.model_copy(update={"classes": more})})


def going(snapshot: Snapshot) -> set[str]:
    """Nodes that are about to go."""
    return {node.name for node in snapshot.nodes if interruption(node)}

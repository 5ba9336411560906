"""GPUs are partitioned anew one node at a time, while the others serve: every request is answered to its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e import resources
from e2e.controlplane.client import Object
from e2e.controlplane.cluster import ControlPlane
from e2e.forebay import Forebay, Load
from e2e.mig_manager import CONFIG, NAMESPACE, PRODUCT, STATE, Fault, MigManager
from e2e.waiting import eventually

HALVES, SEVENTHS = {"3g.40gb": 2}, {"1g.10gb": 7}
STEP = {"base": "40ms", "perToken": "0.01ms", "perKvToken": "0.1us"}
CONCURRENCY, TOKENS, RPS, IN_FLIGHT = 16, 120, 4.0, 16
REPLICAS = 4


@pytest.fixture
def mig_manager(control_plane: ControlPlane) -> Iterator[MigManager]:
    """A mig-manager that is set up to read the operator's layouts."""
    running = MigManager(control_plane.api, delay_s=0.5, config_map="forebay-mig-config")
    running.start()
    yield running
    running.close()


@pytest.fixture
def nodes(forebay: Forebay, control_plane: ControlPlane, mig_manager: MigManager) -> Iterator[list[str]]:
    """Two nodes of two GPUs each that belong to the namespace's pool, with a mig-manager at work on them."""
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    names = [f"{forebay.namespace[-6:]}-{index}" for index in range(2)]
    for name in names:
        labels = {"forebay.dev/pool": f"{forebay.namespace}.chat", PRODUCT: "NVIDIA-H100-80GB-HBM3", "gpu": "h100"}
        control_plane.add_node(name, labels, {"nvidia.com/gpu": "2"})
    yield names
    forebay.kubectl("delete", "inferencepool.forebay.dev", "chat", "--ignore-not-found")
    control_plane.kubectl("delete", "node", *names)


def pool(namespace: str, layout: dict[str, int]) -> Object:
    """A pool whose replicas each have one partition of its own nodes."""
    (partition,) = layout
    template = resources.engine("sim-chat", base=STEP["base"], max_concurrency=str(CONCURRENCY))
    h100 = {"name": "h100", "requirements": [{"key": "gpu", "operator": "In", "values": ["h100"]}], "gpusPerNode": 2}
    return resources.pool(
        namespace,
        server={"engine": "VLLM", "port": resources.PORT, "template": template},
        profiles=[{"accelerator": "h100", "partition": partition, "maxConcurrency": CONCURRENCY, "iteration": STEP}],
        scaling={"minReplicas": REPLICAS, "maxReplicas": REPLICAS},
        capacity={"accelerators": [h100], "nodes": {"backend": "None"}},
        partitioning={"mode": "Static", "layout": layout},
    )


def apply(forebay: Forebay, layout: dict[str, int]) -> None:
    forebay.apply(
        resources.batch_class("interactive"),
        resources.keys(forebay.namespace),
        pool(forebay.namespace, layout),
        resources.policy(forebay.namespace),
    )


def node(forebay: Forebay, name: str) -> Object:
    return forebay.plane.api.get(f"/api/v1/nodes/{name}") or {}


def partitions(forebay: Forebay, name: str) -> dict[str, str]:
    allocatable = node(forebay, name)["status"]["allocatable"]
    return {key.removeprefix("nvidia.com/"): count for key, count in allocatable.items() if key.startswith("nvidia.com/mig-")}


def partitioned(forebay: Forebay) -> Object:
    """The condition, once it speaks of what was applied last."""
    found = forebay.condition("inferencepools", "Partitioned", "chat")
    return found if found.get("observedGeneration") == forebay.pool()["metadata"]["generation"] else {}


def expect_layout(forebay: Forebay, nodes: list[str], layout: dict[str, int]) -> None:
    """All nodes show it and take pods, and as many replicas as wanted run on its partitions."""
    (partition, count), resource = *layout.items(), f"nvidia.com/mig-{next(iter(layout))}"
    eventually("Partitioned", lambda: partitioned(forebay).get("status") == "True", 90)
    assert all(partitions(forebay, name) == {f"mig-{partition}": str(2 * count)} for name in nodes)

    def served() -> bool:
        ready = forebay.ready_replicas()
        limits = [pod["spec"]["containers"][0]["resources"]["limits"] for pod in ready]
        return len(ready) == REPLICAS and all(limit == {resource: "1"} for limit in limits)

    eventually(f"replicas on {partition}", served, 90)
    assert not any(node(forebay, name)["spec"].get("unschedulable") for name in nodes)


def node_writes(forebay: Forebay, names: list[str]) -> list[tuple[str, str]]:
    """What the operator did to nodes, in its order: node, and cordon, label or uncordon."""
    steps = []
    for event in forebay.operator.writes():
        if event["objectRef"]["resource"] == "nodes" and event["objectRef"]["name"] in names and event["verb"] == "patch":
            body = event.get("requestObject") or {}
            step = "label" if body.get("metadata", {}).get("labels") else "cordon" if body["spec"]["unschedulable"] else "uncordon"
            steps.append((event["objectRef"]["name"], step))
    return steps


def test_one_node_after_the_other_and_no_stream_is_lost(forebay: Forebay, nodes: list[str]) -> None:
    apply(forebay, HALVES)
    expect_layout(forebay, nodes, HALVES)
    forebay.wait("routingpolicy/support", "Programmed")
    assert node_writes(forebay, nodes) == [(name, step) for name in nodes for step in ("cordon", "label", "uncordon")]
    before = len(node_writes(forebay, nodes))
    with Load(forebay.gateway(), rps=RPS, tokens=TOKENS) as load:
        eventually("streams in flight", lambda: load.in_flight >= IN_FLIGHT, 30)
        apply(forebay, SEVENTHS)
        expect_layout(forebay, nodes, SEVENTHS)
    assert set(load.counts) == {"finished"} and load.counts["finished"] > IN_FLIGHT, load.counts
    steps = node_writes(forebay, nodes)[before:]
    # A node whose replicas would be missed goes last.
    order = sorted(nodes, key=lambda name: steps.index((name, "cordon")))
    assert steps == [(name, step) for name in order for step in ("cordon", "label", "uncordon")]


def test_node_that_fails_is_named_and_left_and_the_other_serves(forebay: Forebay, nodes: list[str], mig_manager: MigManager) -> None:
    apply(forebay, HALVES)
    expect_layout(forebay, nodes, HALVES)
    forebay.wait("routingpolicy/support", "Programmed")
    mig_manager.faults.update(dict.fromkeys(nodes, Fault.FAIL))
    before = len(node_writes(forebay, nodes))
    with Load(forebay.gateway(), rps=2, tokens=TOKENS) as load:
        apply(forebay, SEVENTHS)
        eventually("it is said", lambda: partitioned(forebay).get("reason") == "PartitioningFailed", 60)
        failed = node_writes(forebay, nodes)[before][0]
        other = next(name for name in nodes if name != failed)
        assert partitioned(forebay)["status"] == "False" and failed in partitioned(forebay)["message"]
        finished = load.counts["finished"]
        eventually("the other node serves", lambda: load.counts["finished"] >= finished + 20, 60)
    assert set(load.counts) == {"finished"}, load.counts
    assert node_writes(forebay, nodes)[before:] == [(failed, "cordon"), (failed, "label")], "no loop, and the other node is left alone"
    assert node(forebay, failed)["metadata"]["labels"][STATE] == "failed" and partitions(forebay, other) == {"mig-3g.40gb": "4"}
    assert CONFIG in node(forebay, failed)["metadata"]["labels"] and "PartitioningFailed" in forebay.events("chat")

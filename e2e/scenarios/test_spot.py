"""Spot that goes away takes no accepted request with it, and spot that cannot be had is stood in for and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from e2e import resources
from e2e.controlplane.client import Object
from e2e.controlplane.instances import Outage
from e2e.forebay import Forebay, Load
from e2e.waiting import eventually

CAPACITY_TYPE, NODE_POOL = "karpenter.sh/capacity-type", "karpenter.sh/nodepool"
STEP = {"base": "40ms", "perToken": "0.01ms", "perKvToken": "0.1us"}
CONCURRENCY, TOKENS, RPS, IN_FLIGHT = 16, 180, 4.0, 20
REPLICAS, BASE = 4, 1


def apply(forebay: Forebay) -> None:
    """A pool with one replica on demand and three on spot, whose streams take seven seconds."""
    template = resources.engine("sim-chat", base=STEP["base"], max_concurrency=str(CONCURRENCY))
    capacity = resources.pool(forebay.namespace)["spec"]["capacity"]
    pool = resources.pool(
        forebay.namespace,
        server={"engine": "VLLM", "port": resources.PORT, "template": template},
        profiles=[{"accelerator": "h100", "maxConcurrency": CONCURRENCY, "iteration": STEP}],
        scaling={"minReplicas": REPLICAS, "maxReplicas": REPLICAS},
        capacity={**capacity, "onDemand": {"baseReplicas": BASE}, "spot": {"enabled": True, "maxShare": 1, "returnAfter": "10s"}},
    )
    forebay.apply(resources.batch_class("interactive"), resources.keys(forebay.namespace), pool, resources.policy(forebay.namespace))
    eventually("all replicas", lambda: len(forebay.ready_replicas()) == REPLICAS, 90)
    forebay.wait("routingpolicy/support", "Programmed")


def on(forebay: Forebay, capacity_type: str) -> list[Object]:
    """Ready replicas of a capacity type."""
    return [p for p in forebay.ready_replicas() if p["metadata"]["labels"][CAPACITY_TYPE] == capacity_type]


def spot_node(forebay: Forebay) -> str:
    (node,) = {pod["spec"]["nodeName"] for pod in on(forebay, "spot")}
    return str(node)


def addresses(pods: list[Object]) -> set[str]:
    return {pod["status"]["podIP"] for pod in pods}


def endpoints(forebay: Forebay) -> set[str]:
    """Addresses to which the gateways send new requests."""
    path = (
        f"/apis/discovery.k8s.io/v1/namespaces/{forebay.namespace}/endpointslices?labelSelector=kubernetes.io/service-name%3Dchat-forebay"
    )
    every = [one for found in forebay.plane.api.items(path) for one in found.get("endpoints") or []]
    return {ip for one in every if one["conditions"].get("ready") and not one["conditions"].get("terminating") for ip in one["addresses"]}


def delete_node_claim(forebay: Forebay, node: str) -> None:
    """What follows a notice: Karpenter drains the node and ends the machine."""
    claims = forebay.plane.api.items("/apis/karpenter.sh/v1/nodeclaims")
    (name,) = [claim["metadata"]["name"] for claim in claims if claim.get("status", {}).get("nodeName") == node]
    forebay.kubectl("delete", "nodeclaim", name, "--wait=false")


def expect_moved(forebay: Forebay, node: str) -> None:
    """All spot replicas stand, ready and routed, on other nodes than this."""

    def moved() -> bool:
        ready = [p for p in on(forebay, "spot") if p["spec"]["nodeName"] != node]
        return len(ready) >= REPLICAS - BASE and addresses(ready) <= endpoints(forebay)

    eventually("replaced on a new node", moved, 60)


@contextmanager
def streams(forebay: Forebay) -> Iterator[Load]:
    """At least twenty streams under way; at the end none of all that were accepted is lost."""
    with Load(forebay.gateway(), rps=RPS, tokens=TOKENS) as load:
        eventually("twenty streams in flight", lambda: load.in_flight >= IN_FLIGHT, 30)
        yield load
        assert load.in_flight >= IN_FLIGHT
    assert load.counts["finished"] > IN_FLIGHT and set(load.counts) == {"finished"}, load.counts


def test_notice_moves_replicas_to_a_new_node_and_loses_no_stream(forebay: Forebay) -> None:
    apply(forebay)
    with streams(forebay):
        node, going = spot_node(forebay), addresses(on(forebay, "spot"))
        forebay.kubectl("taint", "node", node, "aws-node-termination-handler/spot-itn=1:NoSchedule")
        noticed = time.monotonic()
        eventually("unrouted", lambda: not going & endpoints(forebay), 10)
        assert time.monotonic() - noticed < 5, "a notice is acted on when it comes, not when the next plan is due"
        expect_moved(forebay, node)
        delete_node_claim(forebay, node)
        eventually("the node is gone", lambda: forebay.plane.api.get(f"/api/v1/nodes/{node}") is None, 60)
        eventually("as many as wanted", lambda: len(forebay.replicas()) == REPLICAS == len(forebay.ready_replicas()), 60)
    assert "Interrupted" in forebay.events("chat")


def test_node_that_goes_without_notice_is_drained_of_its_streams(forebay: Forebay) -> None:
    """Karpenter's own taint and its drain are all the notice there is."""
    apply(forebay)
    with streams(forebay):
        node = spot_node(forebay)
        delete_node_claim(forebay, node)
        expect_moved(forebay, node)
        eventually("the node is gone", lambda: forebay.plane.api.get(f"/api/v1/nodes/{node}") is None, 60)


def test_on_demand_stands_in_while_spot_cannot_be_had(forebay: Forebay) -> None:
    apply(forebay)
    forebay.plane.outage(Outage(capacity_type="spot"))
    try:
        delete_node_claim(forebay, spot_node(forebay))
        eventually("on-demand stands in", lambda: len(on(forebay, "on-demand")) == REPLICAS, 120)
        assert "SpotUnavailable" in forebay.events("chat")
    finally:
        forebay.plane.outage()
    eventually("spot is back", lambda: (len(on(forebay, "on-demand")), len(on(forebay, "spot"))) == (BASE, REPLICAS - BASE), 90)
    eventually("no stand-in is left", lambda: len(forebay.replicas()) == REPLICAS, 30)

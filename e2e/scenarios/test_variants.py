"""Two kinds of GPU on a real Karpenter: the cheaper one is taken, and where its nodes do not come the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from e2e import resources
from e2e.controlplane.client import Object
from e2e.controlplane.instances import Outage
from e2e.forebay import Forebay
from e2e.waiting import eventually

VARIANT = "forebay.dev/variant"


def accelerator(name: str, usd: float) -> dict[str, Any]:
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": [f"{name}x8"]}
    return {"name": name, "requirements": [requirement], "gpusPerNode": 8, "usdPerHour": {"onDemand": usd}}


def a_pool(forebay: Forebay) -> Object:
    """Both kinds are as fast; the one that is listed first costs more."""
    capacity: dict[str, Any] = resources.pool(forebay.namespace)["spec"]["capacity"]
    kinds = [accelerator("h100", 55.0), accelerator("a100", 32.8)]
    profile = {"maxConcurrency": resources.CONCURRENCY, "iteration": resources.STEP}
    return resources.pool(
        forebay.namespace,
        profiles=[{"accelerator": kind["name"], **profile} for kind in kinds],
        scaling={"minReplicas": 1, "maxReplicas": 4, "scaleDown": {"stabilization": "5s"}},
        capacity={**capacity, "accelerators": kinds, "spot": {"enabled": False}},
    )


def ready_on(forebay: Forebay) -> list[str]:
    """Variants of the replicas that answer."""
    return sorted(pod["metadata"]["labels"][VARIANT] for pod in forebay.ready_replicas())


@pytest.fixture
def outage(forebay: Forebay) -> Iterator[None]:
    """No node of the cheaper kind can be had."""
    forebay.plane.outage(Outage(instance_type="a100x8"))
    yield
    forebay.plane.outage()


def test_the_cheaper_kind_is_taken(forebay: Forebay) -> None:
    forebay.apply(resources.batch_class("interactive"), a_pool(forebay))
    eventually("a replica", lambda: ready_on(forebay) == ["a100-on-demand"], 120)
    assert forebay.status()["rate"]["usdPerHour"] == "32.80"


def test_another_kind_is_taken_where_nodes_do_not_come(outage: None, forebay: Forebay) -> None:
    """The wait for a node is three minutes at least; then what waits is released and the next accelerator is asked for."""
    forebay.apply(resources.batch_class("interactive"), a_pool(forebay))
    eventually(
        "it waits for the cheaper kind", lambda: [p["metadata"]["labels"][VARIANT] for p in forebay.replicas()] == ["a100-on-demand"]
    )
    eventually("a replica of the other kind", lambda: ready_on(forebay) == ["h100-on-demand"], 300)
    assert "a100-on-demand" in forebay.told("VariantUnavailable")
    eventually("nothing waits any more", lambda: len(forebay.replicas()) == 1, 60)
    assert forebay.status()["rate"]["usdPerHour"] == "55.00"

"""A limit that two pools share, on real nodes: together they never have more, and what one gives back the other gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from e2e import resources
from e2e.controlplane.client import Object
from e2e.forebay import Forebay
from e2e.waiting import eventually, holds

NODES, GPUS = 3, 24


@pytest.fixture
def shared(forebay: Forebay) -> Iterator[Forebay]:
    """An operator under which the pools of this namespace have three nodes together."""
    forebay.operator.upgrade(sharedLimits=[{"name": "team", "namespaces": [forebay.namespace], "gpus": GPUS}])
    yield forebay
    forebay.operator.upgrade()


def a_pool(forebay: Forebay, name: str, replicas: int) -> Object:
    """A pool of so many replicas, each with a node of its own."""
    capacity: dict[str, Any] = resources.pool(forebay.namespace)["spec"]["capacity"]
    return resources.pool(
        forebay.namespace,
        name,
        profiles=[{"accelerator": "h100", "gpus": 8, "maxConcurrency": resources.CONCURRENCY, "iteration": resources.STEP}],
        scaling={"minReplicas": replicas, "maxReplicas": 4, "scaleDown": {"stabilization": "5s"}},
        capacity={**capacity, "spot": {"enabled": False}},
    )


def ready(forebay: Forebay) -> list[int]:
    return [len(forebay.ready_replicas(name)) for name in ("a", "b")]


def test_two_pools_fighting_for_the_last_node_share_what_there_is(shared: Forebay) -> None:
    shared.apply(resources.batch_class("interactive"), a_pool(shared, "a", 2), a_pool(shared, "b", 2))
    eventually("three replicas", lambda: sorted(ready(shared)) == [1, 2], 120)
    short = "a" if ready(shared)[0] == 1 else "b"
    message = shared.says("BudgetRespected", "SharedLimit", short)
    assert message.startswith("2 replicas are wanted; its share (gpus 8) allows 1. shared limit team (gpus 24): ")
    holds("no more nodes than the limit", lambda: len(shared.nodes()) <= NODES and sorted(ready(shared)) == [1, 2], 20)

    shared.kubectl("patch", "inferencepool", "b" if short == "a" else "a", "--type=merge", "-p", '{"spec":{"scaling":{"minReplicas":1}}}')
    eventually("one pod less", lambda: sum(len(shared.replicas(name)) for name in ("a", "b")) == 2, 60)
    holds("what is given back is not taken before its node is gone", lambda: ready(shared) == [1, 1] and len(shared.nodes()) == NODES, 10)
    (empty,) = set(shared.nodes()) - {pod["spec"]["nodeName"] for name in ("a", "b") for pod in shared.replicas(name)}
    shared.kubectl("delete", "node", empty, "--wait=false")
    seen = []

    def moved() -> bool:
        seen.append(len(shared.nodes()))
        return len(shared.ready_replicas(short)) == 2

    eventually("the other pool's second replica", moved, 120)
    assert max(seen) <= NODES, seen
    assert shared.says("BudgetRespected", "WithinLimits", short)

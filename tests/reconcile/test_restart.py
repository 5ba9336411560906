"""The operator may die at any moment: what it was about to do comes about all the same, once, and nothing shrinks for it."""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.reconcile.deaths import Mortal
from tests.reconcile.worlds import Lab, Operator, a_class, a_policy, a_pool, in_lab, on_karpenter

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object
from forebay.reconcile.keys import pool_key

OURS = (
    kinds.DEPLOYMENTS, kinds.SERVICES, kinds.CONFIG_MAPS, kinds.NODE_POOLS, kinds.ROLES, kinds.ROLE_BINDINGS, kinds.SERVICE_ACCOUNTS,
    kinds.PODS, kinds.NODES,
)  # fmt: skip


def timeless(obj: Object) -> Object:
    """An object without what differs between any two runs."""
    obj = copy.deepcopy(obj)
    for name in ("uid", "resourceVersion", "creationTimestamp", "generation"):
        obj["metadata"].pop(name, None)
    for owner in obj["metadata"].get("ownerReferences", []):
        owner.pop("uid")
    obj["metadata"].get("labels", {}).pop("forebay.dev/owner-uid", None)
    obj.pop("status", None)
    if obj["kind"] == "Pod":
        obj["metadata"].pop("name")
        obj["spec"] = {"nodeName": obj["spec"]["nodeName"]}
    elif obj["metadata"]["name"].endswith("-memory"):
        obj.pop("data")
    if obj["kind"] == "Deployment" and "forebay.dev/pool" in obj["metadata"]["labels"]:
        pod = obj["spec"]["template"]["spec"]
        pod["initContainers"][0].pop("args")
        pod["containers"][0].pop("lifecycle")
    return obj


async def everything(lab: Lab) -> list[tuple[str, list[str]]]:
    """All objects that exist, in a form that two runs can be compared by."""
    listed = []
    for kind in OURS:
        found = sorted(json.dumps(timeless(obj), sort_keys=True) for obj in await lab.cluster.list(kind))
        listed.append((kind.name, found))
    return listed


Scene = Callable[[Lab], Awaitable[None]]


async def beginning(lab: Lab) -> None:
    """All three resources are applied to an empty cluster."""
    capacity = on_karpenter(spot={"enabled": True, "maxShare": 0.5})
    await lab.apply(a_class(), a_pool(capacity=capacity, scaling={"minReplicas": 2, "maxReplicas": 9}), a_policy())


async def growth(lab: Lab) -> None:
    """A pool that runs is asked for more."""
    await beginning(lab)
    lab.demand(rps=0)
    async with lab.operator() as operator:
        await operator.quiet()
        await lab.run_pods()
        await operator.quiet()
    await lab.clock.advance(15)
    lab.demand(rps=30)


async def new_template(lab: Lab) -> None:
    """A pool that runs gets another image and loses its spot."""
    await growth(lab)
    server = {"template": {"spec": {"containers": [{"name": "server", "image": "engine:2"}]}}}
    await lab.apply(a_pool(capacity=on_karpenter(), scaling={"minReplicas": 2, "maxReplicas": 9}, server=server))


async def interruption(lab: Lab) -> None:
    """The node of a pool's spot replicas is reclaimed."""
    await growth(lab)
    taint = {"spec": {"taints": [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]}}
    await lab.cluster.patch(kinds.NODES, None, "node-of-chat-h100-spot", taint)


async def end(lab: Lab) -> None:
    """A pool that runs is deleted while nobody looks."""
    await growth(lab)
    await lab.cluster.delete(kinds.INFERENCE_POOLS, "default", "chat")


SCENES = [beginning, growth, new_template, interruption, end]


async def settled(lab: Lab) -> list[tuple[str, list[str]]]:
    """What comes about once an operator works undisturbed."""
    async with lab.operator() as operator:
        await operator.again(pool_key("default", "chat"))
    return await everything(lab)


@pytest.mark.parametrize("arrives", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda s: s.__name__)
def test_killed_at_each_write_in_turn_it_converges_without_a_duplicate(scene: Scene, arrives: bool) -> None:
    async def test(undisturbed: Lab) -> None:
        await scene(undisturbed)
        expected = await settled(undisturbed)
        deaths = 0
        for lives in range(1, 200):
            lab = Lab()
            await scene(lab)
            mortal: Any = Mortal(lab.cluster, lives, arrives=arrives)
            async with lab.operator(mortal):
                pass
            assert await settled(lab) == expected, f"killed at write {lives}"
            if not mortal.dead.is_set():
                break
            deaths += 1
        assert deaths >= 1 and lives < 199

    in_lab(test)


def test_killed_again_and_again_it_still_gets_there() -> None:
    """Each life is a little longer than what there is to be written once."""

    async def test(lab: Lab) -> None:
        await beginning(lab)
        for life in range(60):
            mortal: Any = Mortal(lab.cluster, 2 + life)
            async with lab.operator(mortal):
                pass
            if not mortal.dead.is_set():
                break
        else:
            raise AssertionError("it never got there")
        assert len(await lab.replicas()) == 3

    in_lab(test)


async def nothing_shrinks(lab: Lab, operator: Operator, grown: int) -> None:
    """For a window in which nobody asks."""
    for _ in range(20):
        lab.demand(rps=0)
        await operator.again()
        assert sum((await lab.replicas()).values()) == grown
        await lab.clock.advance(14.9)


def test_after_a_restart_nothing_shrinks_for_a_window() -> None:
    """Knative #4795: whoever begins to look sees no load at first."""

    async def test(lab: Lab) -> None:
        await growth(lab)
        async with lab.operator() as operator:
            await operator.again()
        grown = sum((await lab.replicas()).values())
        assert grown > 4
        await lab.clock.advance(3600)
        lab.demand(rps=0)
        async with lab.operator() as operator:
            await nothing_shrinks(lab, operator, grown)
            for _ in range(3):
                await lab.clock.advance(15)
                lab.demand(rps=0)
                await operator.again()
            assert sum((await lab.replicas()).values()) < grown

    in_lab(test)


def test_after_a_restart_of_a_moment_nothing_shrinks_for_a_window() -> None:
    """Not all that was seen is saved: that less was enough must be seen for a whole window by who looks now."""

    async def test(lab: Lab) -> None:
        await growth(lab)
        async with lab.operator() as operator:
            await operator.again()
            grown = sum((await lab.replicas()).values())
            for _ in range(18):
                await lab.clock.advance(15)
                lab.demand(rps=0)
                await operator.again()
        assert sum((await lab.replicas()).values()) == grown > 4
        async with lab.operator() as operator:
            await nothing_shrinks(lab, operator, grown)

    in_lab(test)


@pytest.mark.parametrize("lives", range(1, 12))
def test_a_restart_right_after_growing_does_not_undo_it(lives: int) -> None:
    """Nothing is measured at first, so what was decided must not be forgotten."""

    async def test(lab: Lab) -> None:
        await growth(lab)
        mortal: Any = Mortal(lab.cluster, lives)
        async with lab.operator(mortal):
            pass
        before = await lab.replicas()
        lab.metrics.answers.clear()
        async with lab.operator() as operator:
            await operator.again()
        after = await lab.replicas()
        assert all(after[name] >= count for name, count in before.items())

    in_lab(test)


def test_what_is_remembered_outlives_a_restart() -> None:
    async def test(lab: Lab) -> None:
        await growth(lab)
        async with lab.operator() as operator:
            await operator.again()
            before = operator.world.pools["default", "chat"].memory
        async with lab.operator() as operator:
            await operator.again()
            after = operator.world.pools["default", "chat"].memory
        assert (after.target, after.mix, after.start_times_s) == (before.target, before.mix, before.start_times_s)

    in_lab(test)


@pytest.mark.parametrize("data", [{"memory.json": "{"}, {"memory.json": '{"target": "many"}'}, {}, None])
def test_memory_that_cannot_be_read_is_started_anew(data: dict[str, str] | None) -> None:
    async def test(lab: Lab) -> None:
        await growth(lab)
        saved = await lab.get(kinds.CONFIG_MAPS, "chat-forebay-memory")
        await lab.cluster.patch(
            kinds.CONFIG_MAPS, "default", "chat-forebay-memory", {"data": {**dict.fromkeys(saved["data"]), **(data or {})}}
        )
        async with lab.operator() as operator:
            await operator.again()
            assert operator.world.pools["default", "chat"].memory.target > 2

    in_lab(test)


def test_memory_of_a_former_pool_of_the_same_name_is_not_taken() -> None:
    async def test(lab: Lab) -> None:
        await lab.apply(a_class(), a_pool())
        stranger = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "chat-forebay-memory", "namespace": "default"}}
        await lab.cluster.create({**stranger, "data": {"memory.json": '{"target": 17}'}})
        async with lab.operator() as operator:
            await operator.again()
        assert await lab.replicas() == {"chat-h100-on-demand": 1}

    in_lab(test)


def test_node_pools_of_a_pool_that_went_while_nobody_looked_are_swept() -> None:
    async def test(lab: Lab) -> None:
        await beginning(lab)
        async with lab.operator():
            pass
        assert len(await lab.names(kinds.NODE_POOLS)) == 2
        await lab.cluster.delete(kinds.INFERENCE_POOLS, "default", "chat")
        assert len(await lab.names(kinds.NODE_POOLS)) == 2
        async with lab.operator():
            pass
        assert await lab.names(kinds.NODE_POOLS) == set()

    in_lab(test)


def _kinds_of(listed: list[tuple[str, list[str]]]) -> dict[str, int]:
    return {kind: len(found) for kind, found in listed}


def test_the_scenes_are_what_they_say() -> None:
    async def test(lab: Lab) -> None:
        await end(lab)
        assert _kinds_of(await settled(lab))["NodePool"] == 0
        other = Lab()
        await interruption(other)
        assert _kinds_of(await settled(other))["NodePool"] == 2
        assert (await other.replicas())["chat-h100-spot"] > 1

    in_lab(test)

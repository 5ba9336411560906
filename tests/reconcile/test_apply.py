"""Writes: what another manager owns is left to it, what fails for good is said, and nothing is written twice without need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import ClusterError, Conflict, Invalid, Object, Unavailable
from forebay.adapters.memory import MemoryCluster
from forebay.planning.decision import Action, Ref
from forebay.planning.decision import apply as applying
from forebay.reconcile.apply import APPLY_AGAIN_S, Outcome, apply, due, remember
from forebay.reconcile.view import ObjectView
from forebay.reconcile.world import Applied


def a_config(name: str = "c", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def a_deployment(replicas: int, image: str = "i:1") -> Object:
    pod = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "d"}}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"}, "spec": spec}


def scaling(replicas: int, name: str = "d") -> Action:
    ref = Ref(api_version="apps/v1", kind="Deployment", namespace="default", name=name)
    return Action(verb="scale", ref=ref, body={"spec": {"replicas": replicas}})


def removing(kind: str, name: str, api_version: str = "v1") -> Action:
    return Action(verb="delete", ref=Ref(api_version=api_version, kind=kind, namespace="default", name=name))


def on_cluster(test: Callable[[MemoryCluster], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test(MemoryCluster()))


def test_a_field_of_another_manager_is_left_to_it_and_the_rest_goes_on() -> None:
    async def test(cluster: MemoryCluster) -> None:
        await cluster.apply(a_config("theirs", key="their"), manager="somebody")
        outcome = await apply((applying(a_config("theirs", key="our")), applying(a_config("ours", key="our"))), cluster)
        assert outcome.conflicts == (
            'ConfigMap theirs: Apply failed with 1 conflict: conflict with "somebody": .data.key',
        ) and outcome.error is None  # fmt: skip
        assert [a.ref.name for a in outcome.done] == ["ours"]
        found = await cluster.get(kinds.CONFIG_MAPS, "default", "theirs")
        assert found and found["data"] == {"key": "their"}

    on_cluster(test)


def test_our_own_scaling_is_overruled() -> None:
    """What `scale` wrote counts as another manager of the same name."""

    async def test(cluster: MemoryCluster) -> None:
        await apply((applying(a_deployment(1)), scaling(4), applying(a_deployment(2, "i:2"))), cluster)
        found = await cluster.get(kinds.DEPLOYMENTS, "default", "d")
        assert found and found["spec"]["replicas"] == 2
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "i:2"

    on_cluster(test)


def test_what_is_gone_already_is_no_failure() -> None:
    async def test(cluster: MemoryCluster) -> None:
        ref = Ref(api_version="v1", kind="Pod", namespace="default", name="p")
        gone = (
            scaling(1),
            removing("ConfigMap", "c"),
            Action(verb="patch", ref=ref, body={"metadata": {"labels": {"a": "b"}}}),
            Action(verb="evict", ref=ref),
        )
        outcome = await apply((*gone, applying(a_config())), cluster)
        assert outcome.error is None and outcome.conflicts == () and outcome.done[-1].verb == "apply"

    on_cluster(test)


class Refusing(MemoryCluster):
    """Refuses to apply one object."""

    def __init__(self, name: str, error: ClusterError) -> None:
        super().__init__()
        self._name, self._error = name, error

    async def apply(self, obj: Object, **options: Any) -> Object:
        if obj["metadata"]["name"] == self._name:
            raise self._error
        return await super().apply(obj, **options)


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (Invalid("spec.x: not so", 422), "ConfigMap b: spec.x: not so"),
        (ClusterError("who knows"), "ConfigMap b: who knows"),
        (Unavailable("etcd is away", 503), ""),
        (Conflict("the object has been modified", 409), ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_ends_the_round_and_is_named_where_it_is_for_good(error: ClusterError, refusal: str) -> None:
    async def test() -> None:
        cluster = Refusing("b", error)
        outcome = await apply(tuple(applying(a_config(name)) for name in "abc"), cluster)
        assert [a.ref.name for a in outcome.done] == ["a"] and outcome.error is error and outcome.refusal == refusal
        assert await cluster.get(kinds.CONFIG_MAPS, "default", "c") is None
        with pytest.raises(type(error)):
            outcome.raise_error()

    asyncio.run(test())


def test_a_kind_that_is_not_installed_is_a_failure() -> None:
    async def test() -> None:
        cluster = MemoryCluster(without=(kinds.NODE_POOLS,))
        pool = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "n"}, "spec": {}}
        outcome = await apply((applying(pool),), cluster)
        assert outcome.error is not None and outcome.refusal.startswith("NodePool n: ")

    asyncio.run(test())


def test_messages_are_bounded() -> None:
    async def test() -> None:
        outcome = await apply((applying(a_config("b")),), Refusing("b", Invalid("x" * 100_000, 422)))
        assert len(outcome.refusal) == 1000

    asyncio.run(test())


# what need not be written again


def _due(actions: tuple[Action, ...], applied: Applied, now: float, view: ObjectView | None = None) -> list[str]:
    return [a.ref.name for a in due(actions, applied, view or ObjectView(), now)]


def test_what_was_applied_just_so_a_short_while_ago_is_not_applied_again() -> None:
    applied: Applied = {}
    actions = (applying(a_config("a", k="1")), removing("ConfigMap", "z"))
    remember(Outcome(actions), applied, 1000.0)
    assert _due(actions, applied, 1001.0) == ["z"], "only what is applied is known to be there"
    assert _due((applying(a_config("a", k="2")),), applied, 1001.0) == ["a"]
    assert _due(actions[:1], applied, 1000.0 + APPLY_AGAIN_S) == ["a"], "somebody may have changed it meanwhile"


def test_what_is_watched_and_gone_is_applied_again_at_once() -> None:
    applied, view = dict[str, tuple[str, float]](), ObjectView()
    action = applying(a_deployment(1))
    remember(Outcome((action,)), applied, 1000.0)
    assert _due((action,), applied, 1001.0, view) == ["d"]
    view.put(kinds.DEPLOYMENTS, a_deployment(1))
    assert _due((action,), applied, 1001.0, view) == []


def test_what_was_not_done_is_due() -> None:
    applied: Applied = {}
    first, second = applying(a_config("a")), applying(a_config("b"))
    remember(Outcome((first,), ("ConfigMap b: conflict",)), applied, 1000.0)
    assert _due((first, second), applied, 1001.0) == ["b"]


def test_what_was_deleted_is_forgotten() -> None:
    applied: Applied = {}
    action = applying(a_config("a"))
    remember(Outcome((action, removing("ConfigMap", "a"))), applied, 1000.0)
    assert _due((action,), applied, 1001.0) == ["a"]

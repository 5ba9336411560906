"""What the operator knows of the cluster without asking."""

from __future__ import annotations

from typing import Any

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object
from forebay.reconcile.view import ObjectView


def a_pod(name: str, pool: str = "chat", node: str | None = None, namespace: str = "default", **labels: str) -> Object:
    spec: dict[str, Any] = {"nodeName": node} if node else {}
    return {"metadata": {"name": name, "namespace": namespace, "labels": {"forebay.dev/pool": pool, **labels}}, "spec": spec}


def names(objects: list[Object]) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in objects)


def test_objects_are_found_by_name_pool_gateway_and_node() -> None:
    view = ObjectView()
    view.put(kinds.PODS, a_pod("a", node="n1"))
    view.put(kinds.PODS, a_pod("b", namespace="other"))
    view.put(kinds.PODS, {"metadata": {"name": "g", "namespace": "default", "labels": {"forebay.dev/gateway": "default"}}, "spec": {}})
    assert names(view.all(kinds.PODS)) == ["a", "b", "g"]
    assert names(view.of_pool(kinds.PODS, "default", "chat")) == ["a"]
    assert names(view.of_gateway(kinds.PODS, "default", "default")) == ["g"]
    assert names(view.pods_on("n1")) == ["a"]
    assert view.get(kinds.PODS, "other", "b") is not None and view.get(kinds.PODS, "default", "b") is None


def test_a_change_moves_an_object_between_groups() -> None:
    view = ObjectView()
    view.put(kinds.PODS, a_pod("a"))
    view.put(kinds.PODS, a_pod("a", node="n1"))
    assert names(view.pods_on("n1")) == ["a"]
    view.put(kinds.PODS, a_pod("a", pool="other", node="n2"))
    assert view.pods_on("n1") == [] and view.of_pool(kinds.PODS, "default", "chat") == []
    assert names(view.of_pool(kinds.PODS, "default", "other")) == ["a"]


def test_what_is_removed_leaves_nothing_behind() -> None:
    view = ObjectView()
    for index in range(100):
        view.put(kinds.PODS, a_pod(f"p{index}", pool=f"pool-{index}", node=f"n{index}"))
    for index in range(100):
        # The last state may lack what the object was found by.
        view.remove(kinds.PODS, {"metadata": {"name": f"p{index}", "namespace": "default"}})
    assert view.all(kinds.PODS) == [] and view._groups == {}


def test_removing_what_was_never_seen_is_nothing() -> None:
    ObjectView().remove(kinds.PODS, a_pod("a"))


def test_cluster_scoped_objects_are_found_by_their_pool_too() -> None:
    view = ObjectView()
    view.put(kinds.NODES, {"metadata": {"name": "n", "labels": {"forebay.dev/pool": "default.chat"}}, "spec": {}})
    assert names(view.of_pool(kinds.NODES, "", "default.chat")) == ["n"]

"""Which work a change of an object concerns."""

from __future__ import annotations

from typing import Any

from tests.reconcile.worlds import a_class, a_policy, a_pool

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Kind, Object
from forebay.planning.variants import qualified
from forebay.reconcile.keys import MIG_CONFIG, SWEEP, Asked, Key, asked, chores, concerned, pool_key
from forebay.reconcile.view import ObjectView

CHAT = pool_key("default", "chat")
GATEWAY = Key("gateway", "default", "default")


def a_view(*objects: tuple[Kind, Object]) -> ObjectView:
    view = ObjectView()
    for kind, obj in objects:
        view.put(kind, obj)
    return view


def all_three() -> ObjectView:
    return a_view((kinds.INFERENCE_POOLS, a_pool()), (kinds.ROUTING_POLICIES, a_policy()), (kinds.BATCH_CLASSES, a_class()))


def labelled(name: str, namespace: str = "", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec}


def test_a_pool_concerns_itself_its_classes_and_the_gateways() -> None:
    assert set(concerned(kinds.INFERENCE_POOLS, a_pool(), all_three())) == {
        CHAT,
        GATEWAY,
        Key("class", "", "interactive"),
    }


def test_a_pool_concerns_the_whole_cluster_only_when_it_goes_or_its_layout_changes() -> None:
    """Both list every pool there is: done at each change, a thousand pools would list a thousand pools each."""
    layout = {"1g.10gb": 7}
    plain, laid = Asked("u1", 1, False, {}), Asked("u1", 2, False, layout)
    assert chores(None, plain) == chores(plain, plain._replace(generation=2)) == set()
    assert chores(plain, None) == chores(plain, plain._replace(uid="u2")) == {SWEEP}
    assert chores(plain, laid) == chores(None, laid) == chores(laid, plain) == {MIG_CONFIG}
    assert chores(laid, None) == {SWEEP, MIG_CONFIG}


def test_a_layout_counts_only_where_it_is_asked_for() -> None:
    pool = a_pool(partitioning={"mode": "Static", "layout": {"1g.10gb": 7}})
    pool["metadata"] |= {"uid": "u1", "generation": 3}
    assert asked(pool) == Asked("u1", 3, False, {"1g.10gb": 7})
    pool["spec"]["partitioning"]["mode"] = "Disabled"
    assert asked(pool).layout == {}


def test_a_class_concerns_the_pools_that_serve_it() -> None:
    view = all_three()
    view.put(kinds.INFERENCE_POOLS, a_pool("other", classes=["batch"]))
    assert set(concerned(kinds.BATCH_CLASSES, a_class(), view)) == {Key("class", "", "interactive"), CHAT, GATEWAY}


def test_a_policy_concerns_every_gateway_that_is_named() -> None:
    moved = a_policy(gateway={"name": "second"})
    assert set(concerned(kinds.ROUTING_POLICIES, moved, all_three())) == {GATEWAY, Key("gateway", "default", "second")}


def test_pods_and_deployments_concern_their_pool_or_gateway() -> None:
    view = all_three()
    assert concerned(kinds.PODS, labelled("p", "default", {"forebay.dev/pool": "chat"}), view) == [CHAT]
    assert concerned(kinds.DEPLOYMENTS, labelled("d", "default", {"forebay.dev/gateway": "default"}), view) == [GATEWAY]
    assert concerned(kinds.PODS, labelled("p", "default"), view) == []


def test_a_node_concerns_those_whose_replicas_it_carries() -> None:
    view = all_three()
    view.put(kinds.PODS, labelled("p", "default", {"forebay.dev/pool": "chat"}, nodeName="n1"))
    assert concerned(kinds.NODES, labelled("n1"), view) == {CHAT}
    assert concerned(kinds.NODES, labelled("n2"), view) == set()
    assert concerned(kinds.NODES, labelled("n3", labels={"forebay.dev/pool": "default.chat"}), view) == {CHAT}


def test_cluster_scoped_objects_name_their_pool_also_where_the_name_is_hashed() -> None:
    namespace, name = "n" * 40, "p" * 40
    view = a_view((kinds.INFERENCE_POOLS, a_pool(name, namespace)))
    label = qualified(namespace, name)
    assert len(label) <= 63 and label != f"{namespace}.{name}"
    found = concerned(kinds.NODE_POOLS, labelled("np", labels={"forebay.dev/pool": label}), view)
    assert list(found) == [pool_key(namespace, name)]
    assert concerned(kinds.NODES, labelled("n", labels={"forebay.dev/pool": label}), view) == {pool_key(namespace, name)}


def test_labels_that_name_no_pool_concern_nobody() -> None:
    view = all_three()
    assert concerned(kinds.NODES, labelled("n", labels={"forebay.dev/pool": "nonsense"}), view) == set()
    assert concerned(kinds.NODES, labelled("n", labels={"forebay.dev/pool": ""}), view) == set()
    assert list(concerned(kinds.NODE_POOLS, labelled("np"), view)) == []


def test_a_node_pool_whose_pool_is_gone_is_swept() -> None:
    """Also one that was made while its pool went; others are swept every minute without being looked at here."""
    pool = a_pool()
    pool["metadata"]["uid"] = "u1"
    view = a_view((kinds.INFERENCE_POOLS, pool))

    def of(owner: str) -> Object:
        return labelled("np", labels={"forebay.dev/pool": "default.chat", "forebay.dev/owner-uid": owner})

    assert list(concerned(kinds.NODE_POOLS, of("u1"), view)) == [CHAT]
    assert list(concerned(kinds.NODE_POOLS, of("u0"), view)) == [CHAT, SWEEP]

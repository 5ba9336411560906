"""Work that belongs to no single object."""

from __future__ import annotations

import yaml
from tests.reconcile.worlds import Lab, a_class, a_pool, in_lab, on_karpenter

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object
from forebay.planning.mig import CONFIG_MAP, config_name
from forebay.reconcile.chores import sweep_node_pools, write_mig_config
from forebay.reconcile.keys import MIG_CONFIG


def a_node_pool(name: str, **labels: str) -> Object:
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name, "labels": labels}, "spec": {}}


async def some_node_pools(lab: Lab) -> None:
    """One of a pool that lives, one of a pool that is gone, one of somebody else, one of ours that says nothing about its pool."""
    await lab.apply(a_pool())
    uid = (await lab.get(kinds.INFERENCE_POOLS, "chat"))["metadata"]["uid"]
    ours, label, where = {"app.kubernetes.io/managed-by": "forebay"}, "forebay.dev/owner-uid", "forebay.dev/owner-namespace"
    for name, labels in (
        ("alive", {**ours, label: uid, where: "default"}),
        ("orphan", {**ours, label: "gone", where: "default"}),
        ("elsewhere", {**ours, label: "gone", where: "other"}),
        ("theirs", {label: "gone"}),
        ("nameless", ours),
    ):
        await lab.cluster.create(a_node_pool(name, **labels))


def test_only_node_pools_whose_pool_is_gone_are_swept() -> None:
    async def test(lab: Lab) -> None:
        await some_node_pools(lab)
        assert await sweep_node_pools(lab.cluster) == 3
        assert await lab.names(kinds.NODE_POOLS) == {"alive", "theirs"}

    in_lab(test)


def test_an_operator_of_some_namespaces_sweeps_only_those() -> None:
    """Pools of other namespaces may be another operator's: it cannot know whether they live."""

    async def test(lab: Lab) -> None:
        await some_node_pools(lab)
        assert await sweep_node_pools(lab.cluster, ("default",)) == 1
        assert await lab.names(kinds.NODE_POOLS) == {"alive", "elsewhere", "theirs", "nameless"}

    in_lab(test)


def test_uninstalling_sweeps_all_of_ours() -> None:
    async def test(lab: Lab) -> None:
        await some_node_pools(lab)
        await sweep_node_pools(lab.cluster, keep=False)
        assert await lab.names(kinds.NODE_POOLS) == {"theirs"}

    in_lab(test)


def test_nothing_is_swept_where_karpenter_is_not_installed() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool(capacity=on_karpenter()))
            await operator.quiet()
            assert len(await lab.replicas()) == 1

    in_lab(test, karpenter=False)


def a_cordoned_node(name: str, pool: str) -> Object:
    marks = {"labels": {"forebay.dev/pool": pool}, "annotations": {"forebay.dev/cordoned-for": "forebay-0123456789abcdef"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, **marks}, "spec": {"unschedulable": True}}


def test_nodes_that_a_deleted_pool_left_cordoned_are_given_back() -> None:
    async def test(lab: Lab) -> None:
        await lab.apply(a_cordoned_node("left", "default.gone"), a_cordoned_node("in-work", "default.chat"))
        theirs = a_cordoned_node("theirs", "default.gone")
        del theirs["metadata"]["annotations"]
        await lab.apply(theirs, a_pool(partitioning={"mode": "Static", "layout": {"3g.40gb": 2}}), a_class())
        async with lab.operator():
            pass
        found = {n["metadata"]["name"]: n["spec"].get("unschedulable", False) for n in await lab.cluster.list(kinds.NODES)}
        assert found == {"left": False, "in-work": True, "theirs": True}

    in_lab(test)


def test_layouts_of_all_pools_are_in_one_configuration_once_each() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool("plain"))
            await operator.again(MIG_CONFIG)
            assert await lab.cluster.get(kinds.CONFIG_MAPS, "gpu-operator", CONFIG_MAP) is None
            for name, layout in (("a", {"3g.40gb": 2}), ("b", {"3g.40gb": 2}), ("c", {"1g.10gb": 7})):
                await lab.apply(a_pool(name, partitioning={"mode": "Static", "layout": layout}))
            await operator.quiet()
            found = yaml.safe_load((await lab.get(kinds.CONFIG_MAPS, CONFIG_MAP, "gpu-operator"))["data"]["config.yaml"])
            assert len(found["mig-configs"]) == 3 and "all-disabled" in found["mig-configs"]

    in_lab(test)


def test_operators_of_different_namespaces_keep_each_others_layouts() -> None:
    """Each wrote only its own into the one ConfigMap that mig-manager reads: nodes of the other's pools failed."""

    async def layouts(lab: Lab) -> set[str]:
        found = await lab.get(kinds.CONFIG_MAPS, CONFIG_MAP, "gpu-operator")
        return set(yaml.safe_load(found["data"]["config.yaml"])["mig-configs"])

    async def test(lab: Lab) -> None:
        for namespace, layout in (("one", {"3g.40gb": 2}), ("two", {"1g.10gb": 7})):
            await lab.apply(a_pool("p", namespace, partitioning={"mode": "Static", "layout": layout}))
        both = {"all-disabled", config_name({"3g.40gb": 2}), config_name({"1g.10gb": 7})}
        async with lab.operator() as first, lab.operator() as second:
            first.world.namespaces, second.world.namespaces = ("one",), ("two",)
            for operator in (first, second, first):
                await write_mig_config(operator.world)
            assert await layouts(lab) == both
            await lab.cluster.delete(kinds.INFERENCE_POOLS, "two", "p")
            await write_mig_config(first.world)
            assert await layouts(lab) == both, "it cannot know whether the other's are still used"

    in_lab(test)


def test_uninstalling_the_operator_of_one_namespace_leaves_the_others_nodes() -> None:
    async def test(lab: Lab) -> None:
        await some_node_pools(lab)
        await sweep_node_pools(lab.cluster, ("default",), keep=False)
        assert await lab.names(kinds.NODE_POOLS) == {"elsewhere", "theirs", "nameless"}

    in_lab(test)

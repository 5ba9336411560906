"""What every `Cluster` does, in memory and on a real API server alike: objects, patches, and how objects end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.adapters.contract_objects import (
    Run,
    a_budget,
    a_class,
    a_config_map,
    a_deployment,
    a_pod,
    a_pool,
    found,
    unique,
    version,
)

from forebay.adapters.cluster import (
    BATCH_CLASSES,
    CONFIG_MAPS,
    INFERENCE_POOLS,
    NODE_POOLS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    Cluster,
    Conflict,
    Invalid,
    NotFound,
    Unavailable,
)


def test_a_new_object_gets_its_identity(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        made = await cluster.create(a_pool(ns))
        metadata = made["metadata"]
        assert metadata["uid"] and metadata["resourceVersion"] and metadata["generation"] == 1
        assert metadata["creationTimestamp"].endswith("Z")
        assert await cluster.get(INFERENCE_POOLS, ns, "p") == made
        config = await cluster.create(a_config_map(ns, data={"a": "1"}))
        assert "generation" not in config["metadata"]
        assert config["data"] == {"a": "1"}

    run(check)


def test_names_are_unique_generated_and_valid(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_config_map(ns))
        with pytest.raises(Conflict, match='configmaps "c" already exists'):
            await cluster.create(a_config_map(ns))
        generated = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": ns, "generateName": "made-"}}
        names = {(await cluster.create(generated))["metadata"]["name"] for _ in range(2)}
        assert len(names) == 2 and all(name.startswith("made-") for name in names)
        with pytest.raises(Invalid, match="a lowercase RFC 1123 subdomain must consist of"):
            await cluster.create(a_config_map(ns, "No_Name"))
        with pytest.raises(Invalid, match="name or generateName is required"):
            await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": ns}})

    run(check)


def test_what_cannot_be_created(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        with pytest.raises(Invalid, match="resourceVersion should not be set"):
            await cluster.create(a_config_map(ns, resourceVersion="1"))
        with pytest.raises(Invalid, match=r"metadata\.namespace"):
            await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
        with pytest.raises(NotFound, match="Nonsense"):
            await cluster.create({"apiVersion": "v1", "kind": "Nonsense", "metadata": {"name": "c"}})
        with pytest.raises(Invalid, match=r"metadata\.labels.*c d"):
            await cluster.create(a_config_map(ns, labels={"a": "c d"}))
        with pytest.raises(Invalid, match="`selector` does not match template `labels`"):
            deployment = a_deployment(ns)
            deployment["spec"]["selector"] = {"matchLabels": {"app": "other"}}
            await cluster.create(deployment)

    run(check)


def test_a_kind_that_is_not_installed(run: Run) -> None:
    """Karpenter's kinds may be missing; asking for one object then says there is none, all else says why."""

    async def check(cluster: Cluster, ns: str) -> None:
        node_pool = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "n"}, "spec": {}}
        assert await cluster.get(NODE_POOLS, None, "n") is None
        assert await cluster.delete(NODE_POOLS, None, "n") is False
        for call in (cluster.list(NODE_POOLS), cluster.create(node_pool), cluster.apply(node_pool, manager="m")):
            with pytest.raises(NotFound):
                await call
        with pytest.raises(NotFound):
            await anext(aiter(cluster.watch(NODE_POOLS)))

    run(check)


def test_what_is_handed_out_is_a_copy(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        given = a_config_map(ns, data={"a": "1"})
        made = await cluster.create(given)
        given["data"]["a"] = made["data"]["a"] = "changed"
        [listed] = await cluster.list(CONFIG_MAPS, ns)
        listed["data"]["a"] = "changed too"
        assert (await found(cluster, CONFIG_MAPS, ns, "c"))["data"] == {"a": "1"}

    run(check)


def test_lists_by_namespace_and_label(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        other = unique("ns")
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}, manager="m")
        app = unique()
        for namespace, name, tier in ((ns, "b", "x"), (ns, "a", "y"), (other, "a", "x")):
            await cluster.create(a_config_map(namespace, name, labels={"app": app, "tier": tier}))

        async def names(*args: Any) -> list[tuple[str, str]]:
            return [(obj["metadata"]["namespace"], obj["metadata"]["name"]) for obj in await cluster.list(CONFIG_MAPS, *args)]

        assert await names(ns, {"app": app}) == [(ns, "a"), (ns, "b")]
        assert sorted(await names(None, {"app": app})) == sorted([(ns, "a"), (ns, "b"), (other, "a")])
        assert await names(ns, {"app": app, "tier": "x"}) == [(ns, "b")]
        assert await names(ns, {"app": "nobody"}) == []
        [obj] = await cluster.list(CONFIG_MAPS, ns, {"app": app, "tier": "x"})
        assert (obj["apiVersion"], obj["kind"]) == ("v1", "ConfigMap")

    run(check)


def test_cluster_scoped_objects_ignore_namespaces(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        obj = a_class(tier="Deferred")
        name = obj["metadata"]["name"]
        made = await cluster.create(obj)
        assert "namespace" not in made["metadata"]
        assert await cluster.get(BATCH_CLASSES, None, name) == made
        assert name in [item["metadata"]["name"] for item in await cluster.list(BATCH_CLASSES)]
        assert await cluster.delete(BATCH_CLASSES, None, name) is True

    run(check)


def test_errors_carry_their_status(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_config_map(ns))
        with pytest.raises(Conflict) as conflict:
            await cluster.create(a_config_map(ns))
        with pytest.raises(NotFound) as missing:
            await cluster.patch(CONFIG_MAPS, ns, "nope", {})
        with pytest.raises(Invalid) as invalid:
            await cluster.create(a_pool(ns, classes=[]))
        assert (conflict.value.status, missing.value.status, invalid.value.status) == (409, 404, 422)
        assert not isinstance(conflict.value, Unavailable)

    run(check)


def test_a_merge_patch_sets_removes_and_replaces(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_config_map(ns, data={"a": "1", "b": "2"}, finalizers=["a.b/c"]))
        patch = {"metadata": {"labels": {"x": "y"}, "finalizers": ["d.e/f"]}, "data": {"a": None, "c": "3"}}
        patched = await cluster.patch(CONFIG_MAPS, ns, "c", patch)
        assert patched["data"] == {"b": "2", "c": "3"}
        assert patched["metadata"]["labels"] == {"x": "y"}
        assert patched["metadata"]["finalizers"] == ["d.e/f"]
        with pytest.raises(NotFound, match='configmaps "nope" not found'):
            await cluster.patch(CONFIG_MAPS, ns, "nope", {"data": {}})
        with pytest.raises(Invalid, match="does not match the name on the URL"):
            await cluster.patch(CONFIG_MAPS, ns, "c", {"metadata": {"name": "d"}})
        with pytest.raises(Invalid, match=r"metadata\.uid"):
            await cluster.patch(CONFIG_MAPS, ns, "c", {"metadata": {"uid": "other"}})

    run(check)


def test_a_write_that_changes_nothing_leaves_no_trace(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_config_map(ns, data={"a": "1"}))
        applied = await cluster.apply(a_config_map(ns, data={"a": "1"}), manager="m")
        assert version(await cluster.apply(a_config_map(ns, data={"a": "1"}), manager="m")) == version(applied)
        assert version(await cluster.patch(CONFIG_MAPS, ns, "c", {"data": {"a": "1"}})) == version(applied)
        assert version(await cluster.patch(CONFIG_MAPS, ns, "c", {"data": {"a": "2"}})) != version(applied)

    run(check)


def test_a_patch_with_a_resource_version_is_conditional(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        first = await cluster.create(a_config_map(ns, data={"a": "1"}))
        patch = {"metadata": {"resourceVersion": version(first)}, "data": {"a": "2"}}
        second = await cluster.patch(CONFIG_MAPS, ns, "c", patch)
        with pytest.raises(Conflict, match="the object has been modified"):
            await cluster.patch(CONFIG_MAPS, ns, "c", patch)
        with pytest.raises(Conflict, match="the object has been modified"):
            await cluster.apply(a_config_map(ns, resourceVersion=version(first)), manager="m")
        stale = {"metadata": {"resourceVersion": version(first)}, "status": {"replicas": 1}}
        await cluster.create(a_pool(ns))
        with pytest.raises(Conflict):
            await cluster.patch(INFERENCE_POOLS, ns, "p", stale, subresource="status")
        assert (await found(cluster, CONFIG_MAPS, ns, "c"))["data"] == second["data"] == {"a": "2"}

    run(check)


def test_of_many_conditional_patches_one_wins(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        first = await cluster.create(a_config_map(ns, data={}))
        patches = [{"metadata": {"resourceVersion": version(first)}, "data": {"winner": str(n)}} for n in range(8)]
        outcomes = await asyncio.gather(*(cluster.patch(CONFIG_MAPS, ns, "c", patch) for patch in patches), return_exceptions=True)
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 7
        [winner] = [outcome for outcome in outcomes if isinstance(outcome, dict)]
        assert (await found(cluster, CONFIG_MAPS, ns, "c"))["data"] == winner["data"]

    run(check)


def test_delete_says_whether_there_was_something_to_delete(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        made = await cluster.create(a_config_map(ns))
        assert await cluster.delete(CONFIG_MAPS, ns, "c", uid="another") is False
        assert await cluster.delete(CONFIG_MAPS, ns, "c", uid=made["metadata"]["uid"]) is True
        assert await cluster.get(CONFIG_MAPS, ns, "c") is None
        assert await cluster.delete(CONFIG_MAPS, ns, "c") is False
        again = await cluster.create(a_config_map(ns))
        assert again["metadata"]["uid"] != made["metadata"]["uid"]

    run(check)


def test_finalizers_hold_an_object_until_they_are_gone(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        pool = a_pool(ns)
        pool["metadata"]["finalizers"] = ["a.b/c"]
        await cluster.create(pool)
        assert await cluster.delete(INFERENCE_POOLS, ns, "p") is True
        ending = await found(cluster, INFERENCE_POOLS, ns, "p")
        assert ending["metadata"]["deletionTimestamp"]
        assert ending["metadata"]["generation"] == 2
        assert await cluster.delete(INFERENCE_POOLS, ns, "p") is True
        assert version(await found(cluster, INFERENCE_POOLS, ns, "p")) == version(ending)
        with pytest.raises(Conflict, match=r"object is being deleted.*already exists"):
            await cluster.create(a_pool(ns))
        with pytest.raises(Invalid, match=r"metadata\.finalizers"):
            await cluster.patch(INFERENCE_POOLS, ns, "p", {"metadata": {"finalizers": ["a.b/c", "d.e/f"]}})
        await cluster.patch(INFERENCE_POOLS, ns, "p", {"status": {"replicas": 1}}, subresource="status")
        await cluster.patch(INFERENCE_POOLS, ns, "p", {"metadata": {"finalizers": None}})
        assert await cluster.get(INFERENCE_POOLS, ns, "p") is None

    run(check)


def test_a_pod_on_a_node_is_given_its_grace(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_pod(ns, nodeName="node-1", terminationGracePeriodSeconds=7))
        await cluster.patch(PODS, ns, "pod", {"status": {"phase": "Running"}}, subresource="status")
        assert await cluster.delete(PODS, ns, "pod") is True
        ending = await found(cluster, PODS, ns, "pod")
        assert ending["metadata"]["deletionTimestamp"]
        assert ending["metadata"]["deletionGracePeriodSeconds"] == 7
        patched = await cluster.patch(PODS, ns, "pod", {"status": {"reason": "Stopping"}}, subresource="status")
        assert patched["metadata"]["deletionTimestamp"] == ending["metadata"]["deletionTimestamp"]
        assert await cluster.delete(PODS, ns, "pod", grace_s=60) is True
        assert (await found(cluster, PODS, ns, "pod"))["metadata"]["deletionGracePeriodSeconds"] == 7
        assert await cluster.delete(PODS, ns, "pod", grace_s=0) is True
        assert await cluster.get(PODS, ns, "pod") is None

    run(check)


def test_a_pod_without_a_node_or_with_its_work_done_goes_at_once(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_pod(ns, "unscheduled"))
        await cluster.create(a_pod(ns, "done", nodeName="node-1"))
        await cluster.patch(PODS, ns, "done", {"status": {"phase": "Succeeded"}}, subresource="status")
        for name in ("unscheduled", "done"):
            assert await cluster.delete(PODS, ns, name) is True
            assert await cluster.get(PODS, ns, name) is None

    run(check)


def test_eviction_asks_the_budgets(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        await cluster.create(a_pod(ns, nodeName="node-1"))
        await cluster.patch(PODS, ns, "pod", ready, subresource="status")
        await cluster.create(a_budget(ns, {"app": "pod"}, minAvailable=1))
        assert await cluster.evict(ns, "pod") is False
        assert "deletionTimestamp" not in (await found(cluster, PODS, ns, "pod"))["metadata"]
        await cluster.delete(POD_DISRUPTION_BUDGETS, ns, "budget")
        assert await cluster.evict(ns, "pod") is True
        assert (await found(cluster, PODS, ns, "pod"))["metadata"]["deletionTimestamp"]
        assert await cluster.evict(ns, "nobody") is True

    run(check)

"""What every `Cluster` does, in memory and on a real API server alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from contract_objects import (
    Check,
    a_budget,
    a_class,
    a_condition,
    a_config_map,
    a_deployment,
    a_pod,
    a_policy,
    a_pool,
    status_of,
    unique,
)

from forebay.adapters.cluster import (
    BATCH_CLASSES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    INFERENCE_POOLS,
    LEASES,
    NODE_POOLS,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    ROUTING_POLICIES,
    Cluster,
    Conflict,
    Event,
    Invalid,
    Kind,
    NotFound,
    Object,
    Unavailable,
)

Run = Callable[[Check], None]


def version(obj: Object) -> str:
    return str(obj["metadata"]["resourceVersion"])


# ---------------------------------------------------------------------------------------------------------------- identity


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


async def found(cluster: Cluster, kind: Kind, ns: str | None, name: str) -> Object:
    obj = await cluster.get(kind, ns, name)
    assert obj is not None
    return obj


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


# ------------------------------------------------------------------------------------------------------------------ patches


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


# ----------------------------------------------------------------------------------------------- generation, status, scale


def test_generation_counts_changes_of_the_spec_only(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        for kind, obj, spec, status in (
            (INFERENCE_POOLS, a_pool(ns), {"mode": "Recommend"}, {"replicas": 2}),
            (DEPLOYMENTS, a_deployment(ns), {"replicas": 3}, {"replicas": 2}),
            (ROUTING_POLICIES, a_policy(ns), {"gateway": {"name": "other"}}, {"configHash": "x"}),
        ):
            name = (await cluster.create(obj))["metadata"]["name"]

            async def generation(patch: Object, subresource: str | None = None, kind: Kind = kind, name: str = name) -> int:
                return int((await cluster.patch(kind, ns, name, patch, subresource=subresource))["metadata"]["generation"])

            assert await generation({"metadata": {"labels": {"a": "b"}}}) == 1
            assert await generation({"status": status}, "status") == 1
            assert await generation({"spec": spec}) == 2
            assert await generation({"spec": spec}) == 2

    run(check)


def test_status_is_written_through_its_subresource_only(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        made = await cluster.create({**a_pool(ns), "status": {"replicas": 7}})
        assert "status" not in made
        assert version(await cluster.patch(INFERENCE_POOLS, ns, "p", {"status": {"replicas": 7}})) == version(made)
        applied = await cluster.apply({**a_pool(ns), "status": {"replicas": 8}}, manager="m")
        assert "status" not in applied
        patch = {"metadata": {"labels": {"a": "b"}}, "spec": {"mode": "Recommend"}, "status": {"replicas": 9}}
        patched = await cluster.patch(INFERENCE_POOLS, ns, "p", patch, subresource="status")
        assert patched["status"] == {"replicas": 9}
        assert patched["spec"] == made["spec"]
        assert "labels" not in patched["metadata"]
        await cluster.patch(INFERENCE_POOLS, ns, "p", {"spec": {"mode": "Recommend"}})
        assert (await found(cluster, INFERENCE_POOLS, ns, "p"))["status"] == {"replicas": 9}
        with pytest.raises(NotFound):
            await cluster.patch(CONFIG_MAPS, ns, "c", {"status": {}}, subresource="status")

    run(check)


def test_status_of_built_in_kinds(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_deployment(ns))
        status = {"replicas": 2, "readyReplicas": 2, "observedGeneration": 1}
        assert (await cluster.patch(DEPLOYMENTS, ns, "d", {"status": status}, subresource="status"))["status"] == status
        assert (await cluster.patch(DEPLOYMENTS, ns, "d", {"status": {"replicas": 9}}))["status"] == status
        pod = await cluster.create({**a_pod(ns), "status": {"phase": "Running"}})
        assert pod["status"]["phase"] == "Pending"
        pod = await cluster.patch(PODS, ns, "pod", {"status": {"phase": "Running", "podIP": "10.1.2.3"}}, subresource="status")
        assert pod["status"]["phase"] == "Running"
        node_status = {"allocatable": {"nvidia.com/gpu": "8"}, "capacity": {"nvidia.com/gpu": "8"}}
        name = unique("node")
        node = await cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": node_status})
        assert node["status"]["allocatable"] == {"nvidia.com/gpu": "8"}
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        node = await cluster.patch(NODES, None, name, ready, subresource="status")
        assert node["status"]["conditions"][0]["type"] == "Ready"
        node = await cluster.patch(NODES, None, name, {"spec": {"unschedulable": True}, "status": {"capacity": None}})
        assert node["spec"]["unschedulable"] is True
        assert node["status"]["capacity"] == {"nvidia.com/gpu": "8"}

    run(check)


def test_scale_is_one_number_behind_one_door(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_pool(ns))
        await cluster.create(a_deployment(ns))
        for kind, name in ((INFERENCE_POOLS, "p"), (DEPLOYMENTS, "d")):
            scale = await cluster.patch(kind, ns, name, {"spec": {"replicas": 4}}, subresource="scale")
            assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 4})
            assert (await found(cluster, kind, ns, name))["metadata"]["generation"] == 2
            with pytest.raises(Invalid):
                await cluster.patch(kind, ns, name, {"spec": {"replicas": -1}}, subresource="scale")
        assert (await found(cluster, INFERENCE_POOLS, ns, "p"))["spec"]["scaling"]["minReplicas"] == 4
        assert (await found(cluster, DEPLOYMENTS, ns, "d"))["spec"]["replicas"] == 4
        with pytest.raises(Invalid, match="minReplicas must not exceed maxReplicas"):
            await cluster.patch(INFERENCE_POOLS, ns, "p", {"spec": {"replicas": 40}}, subresource="scale")
        with pytest.raises(NotFound):
            await cluster.patch(CONFIG_MAPS, ns, "c", {"spec": {"replicas": 1}}, subresource="scale")

    run(check)


def test_a_deployments_selector_is_immutable(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_deployment(ns))
        labels = {"app": "other"}
        patch = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
        with pytest.raises(Invalid, match=r"spec\.selector.*field is immutable"):
            await cluster.patch(DEPLOYMENTS, ns, "d", patch)

    run(check)


# -------------------------------------------------------------------------------------------------------- server-side apply


def test_apply_creates_merges_and_removes_what_is_no_longer_sent(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        made = await cluster.apply(a_config_map(ns, data={"a": "1", "b": "2"}), manager="m")
        assert made["data"] == {"a": "1", "b": "2"}
        await cluster.patch(CONFIG_MAPS, ns, "c", {"data": {"hand": "made"}}, manager="someone")
        dropped = await cluster.apply(a_config_map(ns, data={"b": "3"}), manager="m")
        assert dropped["data"] == {"b": "3", "hand": "made"}
        emptied = await cluster.apply(a_config_map(ns), manager="m")
        assert emptied["data"] == {"hand": "made"}

    run(check)


def test_what_two_managers_apply_stays_until_both_let_go(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.apply(a_config_map(ns, data={"a": "1", "b": "2"}), manager="m")
        await cluster.apply(a_config_map(ns, data={"a": "1"}), manager="n")
        assert (await cluster.apply(a_config_map(ns, data={"b": "2"}), manager="m"))["data"] == {"a": "1", "b": "2"}
        assert (await cluster.apply(a_config_map(ns), manager="n"))["data"] == {"b": "2"}

    run(check)


def test_a_conflict_names_the_other_manager_and_the_field(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.apply(a_config_map(ns, data={"a": "1", "b": "2"}), manager="argocd")
        with pytest.raises(Conflict, match=r'^Apply failed with 1 conflict: conflict with "argocd": \.data\.a$'):
            await cluster.apply(a_config_map(ns, data={"a": "9"}), manager="forebay")
        with pytest.raises(Conflict, match=r'^Apply failed with 2 conflicts: conflicts with "argocd":\n- \.data\.a\n- \.data\.b$'):
            await cluster.apply(a_config_map(ns, data={"a": "9", "b": "9"}), manager="forebay")
        taken = await cluster.apply(a_config_map(ns, data={"a": "9"}), manager="forebay", force=True)
        assert taken["data"] == {"a": "9", "b": "2"}
        with pytest.raises(Conflict, match=r'conflict with "forebay": \.data\.a'):
            await cluster.apply(a_config_map(ns, data={"a": "1", "b": "2"}), manager="argocd")

    run(check)


def test_a_plain_write_takes_ownership(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.apply(a_config_map(ns, data={"a": "1"}, labels={"l": "1"}), manager="m")
        await cluster.patch(CONFIG_MAPS, ns, "c", {"data": {"a": "2"}, "metadata": {"labels": {"l": "2"}}}, manager="kubectl-edit")
        with pytest.raises(Conflict, match=r'conflict with "kubectl-edit" using v1: \.data\.a'):
            await cluster.apply(a_config_map(ns, data={"a": "1"}), manager="m")
        assert (await cluster.apply(a_config_map(ns), manager="m"))["data"] == {"a": "2"}

    run(check)


def test_scaling_takes_the_number_from_who_applied_it(run: Run) -> None:
    """An autoscaler and a GitOps tool on the same field: the second apply must not win silently."""

    async def check(cluster: Cluster, ns: str) -> None:
        pool = a_pool(ns, scaling={"minReplicas": 2})
        deployment = a_deployment(ns)
        deployment["spec"]["replicas"] = 2
        for kind, obj, field in ((INFERENCE_POOLS, pool, "scaling.minReplicas"), (DEPLOYMENTS, deployment, "replicas")):
            await cluster.apply(obj, manager="argocd")
            await cluster.patch(kind, ns, obj["metadata"]["name"], {"spec": {"replicas": 5}}, subresource="scale", manager="hpa")
            with pytest.raises(Conflict, match=f'conflict with "hpa" with subresource "scale" using {kind.api_version}: .spec.{field}'):
                await cluster.apply(obj, manager="argocd")

    run(check)


def test_a_default_that_nobody_applied_belongs_to_nobody(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.apply(a_pool(ns), manager="m")
        await cluster.patch(INFERENCE_POOLS, ns, "p", {"spec": {"replicas": 3}}, subresource="scale", manager="person")
        applied = await cluster.apply(a_pool(ns, mode="Recommend"), manager="m")
        assert applied["spec"]["scaling"]["minReplicas"] == 3
        assert (await cluster.apply(a_pool(ns), manager="m"))["spec"]["mode"] == "Enforce"

    run(check)


def test_an_object_that_is_no_longer_applied_falls_back_to_its_defaults(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        applied = await cluster.apply(a_pool(ns, scaling={"minReplicas": 2, "maxReplicas": 3}), manager="m")
        assert applied["spec"]["scaling"]["minReplicas"] == 2
        applied = await cluster.apply(a_pool(ns), manager="m")
        assert applied["spec"]["scaling"] == {
            "minReplicas": 1,
            "maxReplicas": 10,
            "paused": False,
            "scaleDown": {"stabilization": "5m"},
        }

    run(check)


def test_lists_of_our_kinds_merge_by_their_keys(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.apply(a_pool(ns, classes=["a", "b"], capacity={"accelerators": [{"name": "h100", "gpusPerNode": 8}]}), manager="m")
        other: Object = {"apiVersion": "forebay.dev/v1alpha1", "kind": "InferencePool", "metadata": {"namespace": ns, "name": "p"}}
        other["spec"] = {"classes": ["c"], "capacity": {"accelerators": [{"name": "h100", "usdPerHour": {"spot": 9}}, {"name": "l4"}]}}
        merged = await cluster.apply(other, manager="n")
        assert merged["spec"]["classes"] == ["a", "b", "c"]
        h100, l4 = merged["spec"]["capacity"]["accelerators"]
        assert (h100["name"], h100["gpusPerNode"], h100["usdPerHour"]) == ("h100", 8, {"spot": 9})
        assert l4["name"] == "l4"
        merged = await cluster.apply(a_pool(ns, classes=["b"], capacity={"accelerators": [{"name": "h100"}]}), manager="m")
        assert merged["spec"]["classes"] == ["b", "c"]
        assert [item["name"] for item in merged["spec"]["capacity"]["accelerators"]] == ["h100", "l4"]
        assert merged["spec"]["capacity"]["accelerators"][0]["gpusPerNode"] == 1

    run(check)


def test_conditions_of_two_managers_live_side_by_side(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        pool = await cluster.create(a_pool(ns))

        async def report(manager: str, *conditions: Object, **status: Any) -> Object:
            applied = status_of(pool, conditions=list(conditions), **status) if conditions else status_of(pool, **status)
            return (await cluster.apply(applied, manager=manager, subresource="status"))["status"]

        await report("one", a_condition("Ready"), replicas=1)
        status = await report("two", a_condition("Paused"))
        assert [condition["type"] for condition in status["conditions"]] == ["Ready", "Paused"]
        status = await report("one", a_condition("Ready", "False"), replicas=2)
        assert {condition["type"]: condition["status"] for condition in status["conditions"]} == {"Ready": "False", "Paused": "True"}
        status = await report("one", replicas=3)
        assert [condition["type"] for condition in status["conditions"]] == ["Paused"]
        with pytest.raises(Conflict, match=r'conflict with "two" with subresource "status": \.status\.conditions\[type="Paused"\]\.status'):
            await report("one", a_condition("Paused", "False"))
        with pytest.raises(NotFound, match=r'inferencepools\.forebay\.dev "nope" not found'):
            await cluster.apply(status_of({**pool, "metadata": {"namespace": ns, "name": "nope"}}), manager="m", subresource="status")

    run(check)


def test_containers_and_their_parts_merge_as_kubernetes_says(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        mine = {"args": ["a", "b"], "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]}
        await cluster.apply(a_deployment(ns, **mine), manager="m")
        theirs = a_deployment(ns, env=[{"name": "B", "value": "2"}], ports=[{"containerPort": 81, "name": "http"}])
        theirs["spec"]["template"]["spec"]["containers"].append({"name": "proxy", "image": "p"})
        merged = await cluster.apply(theirs, manager="n")
        main, proxy = merged["spec"]["template"]["spec"]["containers"]
        assert (main["name"], main["args"], proxy["name"]) == ("main", ["a", "b"], "proxy")
        assert [variable["name"] for variable in main["env"]] == ["A", "B"]
        assert [port["containerPort"] for port in main["ports"]] == [80, 81]
        with pytest.raises(Conflict, match=r'conflict with "m": \.spec\.template\.spec\.containers\[name="main"\]\.args'):
            await cluster.apply(a_deployment(ns, args=["c"]), manager="n")
        merged = await cluster.apply(a_deployment(ns, args=["c"]), manager="m")
        main, proxy = merged["spec"]["template"]["spec"]["containers"]
        assert main["args"] == ["c"]
        assert [variable["name"] for variable in main["env"]] == ["B"]
        await cluster.apply(a_deployment(ns), manager="n")
        [main] = (await found(cluster, DEPLOYMENTS, ns, "d"))["spec"]["template"]["spec"]["containers"]
        assert not main.get("env")

    run(check)


def test_what_apply_refuses(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        with pytest.raises(Invalid, match=r"spec\.modle"):
            await cluster.apply(a_pool(ns, modle={}), manager="m")
        with pytest.raises(Conflict, match="no existing object was found"):
            await cluster.apply(a_config_map(ns, uid="5f0c"), manager="m")
        with pytest.raises(Invalid, match="managedFields must be nil"):
            await cluster.apply(a_config_map(ns, managedFields=[{"manager": "x"}]), manager="m")
        await cluster.create(a_config_map(ns))
        with pytest.raises(Invalid, match="field is immutable"):
            await cluster.apply(a_config_map(ns, uid="5f0c"), manager="m")

    run(check)


# ----------------------------------------------------------------------------------------------------------- ends of objects


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


# ------------------------------------------------------------------------------------------------------------------ watches


class Watcher:
    """Follows a watch in the background and waits for what a test expects of it."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._task = asyncio.create_task(self._follow(events))

    async def _follow(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            await self._queue.put(event)

    async def next(self) -> tuple[str, str]:
        event = await asyncio.wait_for(self._queue.get(), 15)
        return event.type, event.object["metadata"]["name"] if event.object else ""

    async def next_object(self) -> tuple[str, Object]:
        event = await asyncio.wait_for(self._queue.get(), 15)
        return event.type, event.object

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def watching(cluster: Cluster, kind: Kind, *args: Any) -> AsyncIterator[Watcher]:
    watcher = Watcher(cluster.watch(kind, *args))
    try:
        yield watcher
    finally:
        await watcher.close()


def test_a_watch_begins_with_what_exists_and_goes_on(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        for name in ("b", "a"):
            await cluster.create(a_config_map(ns, name, data={"n": "1"}))
        async with watching(cluster, CONFIG_MAPS, ns) as watcher:
            assert sorted([await watcher.next(), await watcher.next()]) == [("ADDED", "a"), ("ADDED", "b")]
            assert await watcher.next() == ("SYNCED", "")
            created = await cluster.create(a_config_map(ns, "c", data={"n": "1"}))
            assert await watcher.next_object() == ("ADDED", created)
            patched = await cluster.patch(CONFIG_MAPS, ns, "c", {"data": {"n": "2"}})
            assert await watcher.next_object() == ("MODIFIED", patched)
            await cluster.patch(CONFIG_MAPS, ns, "c", {"data": {"n": "2"}})
            await cluster.delete(CONFIG_MAPS, ns, "c")
            kind, gone = await watcher.next_object()
            assert (kind, gone["metadata"]["uid"], gone["data"]) == ("DELETED", created["metadata"]["uid"], {"n": "2"})
            await cluster.create(a_config_map(ns, "c"))
            assert await watcher.next() == ("ADDED", "c")

    run(check)


def test_a_watch_of_labels_sees_objects_come_and_go_as_they_match(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_config_map(ns, "other", labels={"app": "y"}))
        async with watching(cluster, CONFIG_MAPS, ns, {"app": "x"}) as watcher:
            assert await watcher.next() == ("SYNCED", "")
            await cluster.create(a_config_map(ns, "c", labels={"app": "x"}))
            assert await watcher.next() == ("ADDED", "c")
            await cluster.patch(CONFIG_MAPS, ns, "c", {"metadata": {"labels": {"app": "y"}}})
            assert await watcher.next() == ("DELETED", "c")
            await cluster.patch(CONFIG_MAPS, ns, "other", {"metadata": {"labels": {"app": "x"}}})
            assert await watcher.next() == ("ADDED", "other")
            await cluster.patch(CONFIG_MAPS, ns, "other", {"metadata": {"annotations": {"a": "b"}}})
            assert await watcher.next() == ("MODIFIED", "other")

    run(check)


def test_a_watch_sees_its_namespace_and_its_kind_only(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        other, name = unique("ns"), unique("lease")
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}, manager="m")
        async with watching(cluster, LEASES, ns) as one, watching(cluster, LEASES) as every:
            while (await every.next())[0] != "SYNCED":
                pass
            assert await one.next() == ("SYNCED", "")
            for namespace in (other, ns):
                lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"namespace": namespace, "name": name}}
                await cluster.create(lease)
            await cluster.create(a_config_map(ns))
            kind, seen = await one.next_object()
            assert (kind, seen["metadata"]["namespace"]) == ("ADDED", ns)
            seen_everywhere = [await every.next_object(), await every.next_object()]
            assert [obj["metadata"]["namespace"] for _, obj in seen_everywhere if obj["metadata"]["name"] == name] == [other, ns]

    run(check)


def test_a_watch_sees_an_object_end_slowly(run: Run) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        await cluster.create(a_config_map(ns, finalizers=["a.b/c"]))
        async with watching(cluster, CONFIG_MAPS, ns) as watcher:
            assert [await watcher.next(), await watcher.next()] == [("ADDED", "c"), ("SYNCED", "")]
            await cluster.delete(CONFIG_MAPS, ns, "c")
            kind, ending = await watcher.next_object()
            assert kind == "MODIFIED" and ending["metadata"]["deletionTimestamp"]
            await cluster.patch(CONFIG_MAPS, ns, "c", {"metadata": {"finalizers": None}})
            assert await watcher.next() == ("DELETED", "c")

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

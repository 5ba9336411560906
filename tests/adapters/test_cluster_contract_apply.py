"""What every `Cluster` does, in memory and on a real API server alike: generation, status, scale, and server-side apply."""

from __future__ import annotations

from typing import Any

import pytest
from tests.adapters.contract_objects import (
    Run,
    a_condition,
    a_config_map,
    a_deployment,
    a_pod,
    a_policy,
    a_pool,
    found,
    status_of,
    unique,
    version,
)

from forebay.adapters.cluster import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    INFERENCE_POOLS,
    NODES,
    PODS,
    ROUTING_POLICIES,
    Cluster,
    Conflict,
    Invalid,
    Kind,
    NotFound,
    Object,
)


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
            "warmStandby": 0,
            "scaleDown": {"stabilization": "Auto", "maxPerStep": "100%"},
            "forecast": {"mode": "Auto", "history": "336h"},
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
        mine: dict[str, Any] = {"args": ["a", "b"], "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]}
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

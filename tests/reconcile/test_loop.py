"""The loop on a cluster in memory: what is applied comes about, what changes is followed, and what is refused is said."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.reconcile.worlds import Lab, a_class, a_policy, a_pool, in_lab, on_karpenter

from forebay.adapters import cluster as kinds
from forebay.adapters.metrics import Target
from forebay.planning.measured import Demand
from forebay.planning.mig import CONFIG_MAP
from forebay.reconcile.keys import Key

CHAT, SUPPORT = (
    a_pool(capacity=on_karpenter(spot={"enabled": True, "maxShare": 0.5}), scaling={"minReplicas": 2, "maxReplicas": 9}),
    a_policy(),
)
NODE_POOLS = {"forebay.default.chat.h100.on-demand", "forebay.default.chat.h100.spot"}


def test_three_resources_become_everything_that_runs_them() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), CHAT, SUPPORT)
            await operator.quiet()
            assert await lab.replicas() == {"chat-h100-on-demand": 1, "chat-h100-spot": 1, "forebay-gateway-default": 1}
            assert await lab.names(kinds.SERVICES) == {"chat-forebay", "forebay-gateway-default"}
            assert await lab.names(kinds.CONFIG_MAPS) == {"chat-forebay-sidecar", "chat-forebay-memory", "forebay-gateway-default"}
            assert await lab.names(kinds.NODE_POOLS) == NODE_POOLS
            for kind in (kinds.ROLES, kinds.ROLE_BINDINGS, kinds.SERVICE_ACCOUNTS):
                assert await lab.names(kind) == {"forebay-gateway-default"}
            compiled = json.loads((await lab.get(kinds.CONFIG_MAPS, "chat-forebay-sidecar"))["data"]["sidecar.json"])
            assert [c["name"] for c in compiled["classes"]] == ["interactive"]
            assert (await lab.condition("Ready"))["reason"] == "NoReplicas"
            assert (await lab.condition("ResolvedRefs", "interactive", kinds.BATCH_CLASSES))["status"] == "True"
            assert (await lab.condition("Programmed", "support", kinds.ROUTING_POLICIES))["reason"] == "ConfigPending"

    in_lab(test)


def test_what_runs_is_reported() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), CHAT, SUPPORT)
            await operator.quiet()
            await lab.run_pods()
            await operator.quiet()
            status = await lab.status()
            assert (status["replicas"], status["readyReplicas"], status["selector"]) == (2, 2, "forebay.dev/pool=chat")
            assert status["observedGeneration"] == 1 and (await lab.condition("Ready"))["status"] == "True"
            config = await lab.status("support", kinds.ROUTING_POLICIES)
            (gateway,) = await lab.cluster.list(kinds.PODS, labels={"forebay.dev/gateway": "default"})
            lab.loaded.hashes[gateway["status"]["podIP"]] = config["configHash"]
            await operator.again(Key("gateway", "default", "default"))
            assert (await lab.condition("Programmed", "support", kinds.ROUTING_POLICIES))["status"] == "True"

    in_lab(test)


def test_measured_demand_changes_the_replica_count() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            await operator.quiet()
            await lab.run_pods()
            lab.demand(rps=30)
            await operator.again()
            grown = (await lab.replicas())["chat-h100-on-demand"]
            assert grown > 1
            await lab.run_pods()
            assert "ScaledUp" in {e["reason"] for e in await lab.cluster.list(kinds.EVENTS)}
            for _ in range(25):
                await lab.clock.advance(15)
                lab.demand(rps=0)
                await operator.again()
            assert (await lab.replicas())["chat-h100-on-demand"] == 1

    in_lab(test)


def test_a_class_that_comes_later_starts_the_pool_and_one_that_goes_stops_nothing() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_pool(scaling={"minReplicas": 3, "maxReplicas": 9}))
            await operator.quiet()
            assert await lab.replicas() == {} and (await lab.condition("ResolvedRefs"))["reason"] == "UnknownClass"
            await lab.apply(a_class())
            await operator.quiet()
            assert await lab.replicas() == {"chat-h100-on-demand": 3}
            await lab.run_pods()
            await lab.cluster.delete(kinds.BATCH_CLASSES, None, "interactive")
            await operator.quiet()
            for _ in range(30):
                await lab.clock.advance(15)
                lab.demand(rps=0)
                await operator.again()
            assert await lab.replicas() == {"chat-h100-on-demand": 3}
            assert (await lab.condition("ResolvedRefs"))["reason"] == "UnknownClass"
            assert operator.world.pools["default", "chat"].memory.looked_at == lab.clock.now(), "it is planned in every round"

    in_lab(test)


def test_scaling_by_hand_is_undone() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            await operator.quiet()
            scale = {"spec": {"replicas": 7}}
            await lab.cluster.patch(kinds.DEPLOYMENTS, "default", "chat-h100-on-demand", scale, subresource="scale", manager="kubectl")
            await operator.quiet()
            assert await lab.replicas() == {"chat-h100-on-demand": 1}

    in_lab(test)


def test_what_somebody_deletes_comes_back() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), CHAT)
            await operator.quiet()
            await lab.cluster.delete(kinds.DEPLOYMENTS, "default", "chat-h100-spot")
            await lab.cluster.delete(kinds.NODE_POOLS, None, "forebay.default.chat.h100.spot")
            await operator.quiet()
            assert "chat-h100-spot" in await lab.names(kinds.DEPLOYMENTS) and await lab.names(kinds.NODE_POOLS) == NODE_POOLS
            await lab.cluster.delete(kinds.SERVICES, "default", "chat-forebay")
            await lab.clock.advance(61)
            await operator.again()
            assert "chat-forebay" in await lab.names(kinds.SERVICES)

    in_lab(test)


def test_a_pool_that_is_deleted_takes_everything_along() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), CHAT)
            await operator.quiet()
            await lab.cluster.delete(kinds.INFERENCE_POOLS, "default", "chat")
            await operator.quiet()
            for kind in (kinds.DEPLOYMENTS, kinds.SERVICES, kinds.CONFIG_MAPS, kinds.NODE_POOLS):
                assert await lab.names(kind) == set(), kind.name
            assert (await lab.condition("ResolvedRefs", "interactive", kinds.BATCH_CLASSES))["reason"] == "NoPoolServes"
            assert operator.world.pools == {} and lab.metrics.answers == {}

    in_lab(test)


def test_a_pool_made_anew_under_the_same_name_remembers_nothing() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool())
            await operator.quiet()
            lab.demand(rps=40)
            await operator.again()
            assert (await lab.replicas())["chat-h100-on-demand"] > 1
            await lab.cluster.delete(kinds.INFERENCE_POOLS, "default", "chat")
            await lab.apply(a_pool())
            lab.demand(rps=0)
            await operator.quiet()
            assert await lab.replicas() == {"chat-h100-on-demand": 1}

    in_lab(test)


def test_without_karpenter_the_pool_works_with_existing_nodes() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), CHAT)
            await operator.quiet()
            assert (await lab.condition("CapacityProvisioned"))["reason"] == "BackendMissing"
            assert sum((await lab.replicas()).values()) == 2

    in_lab(test, karpenter=False)


def test_layouts_are_written_for_mig_manager() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool(partitioning={"mode": "Static", "layout": {"3g.40gb": 2}}))
            await operator.quiet()
            assert "3g.40gb: 2" in (await lab.get(kinds.CONFIG_MAPS, CONFIG_MAP, "gpu-operator"))["data"]["config.yaml"]
            assert (await lab.condition("Partitioned"))["reason"] == "NotPartitioned"

    in_lab(test)


def test_recommend_writes_nothing_but_status_and_events() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), {**CHAT, "spec": {**CHAT["spec"], "mode": "Recommend"}})
            await operator.quiet()
            lab.demand(rps=30)
            await operator.again()
            for kind in (kinds.DEPLOYMENTS, kinds.SERVICES, kinds.CONFIG_MAPS, kinds.NODE_POOLS):
                assert await lab.names(kind) == set(), kind.name
            assert (await lab.status())["plan"]["summary"].startswith("would have ")
            assert {e["reason"] for e in await lab.cluster.list(kinds.EVENTS)} == {"RecommendedUp"}

    in_lab(test)


def test_a_gateway_goes_with_its_last_policy() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool(), SUPPORT, a_policy("second", models=[{"name": "other"}]))
            await operator.quiet()
            await lab.cluster.delete(kinds.ROUTING_POLICIES, "default", "support")
            await operator.quiet()
            assert "forebay-gateway-default" in await lab.names(kinds.DEPLOYMENTS)
            await lab.cluster.delete(kinds.ROUTING_POLICIES, "default", "second")
            await operator.quiet()
            for kind in (kinds.DEPLOYMENTS, kinds.SERVICES, kinds.ROLES, kinds.SERVICE_ACCOUNTS):
                assert "forebay-gateway-default" not in await lab.names(kind), kind.name

    in_lab(test)


@pytest.mark.parametrize("goes", ["route", "policy", "route, while the operator is down"])
def test_access_to_another_namespace_goes_with_the_route(goes: str) -> None:
    """The Role and RoleBinding stayed: no owner of another namespace can take them along."""
    open_ = a_pool("big", "models", allowedPolicies={"namespaces": {"from": "All"}})
    there = a_policy(rules=[{"name": "all", "route": [{"pool": "big", "namespace": "models"}]}])

    async def given(lab: Lab) -> set[str]:
        kinds_ = (kinds.ROLES, kinds.ROLE_BINDINGS)
        return {f"{k.name}/{o['metadata']['namespace']}" for k in kinds_ for o in await lab.cluster.list(k)}

    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool(), open_, there)
            await operator.quiet()
            assert await given(lab) == {"Role/default", "RoleBinding/default", "Role/models", "RoleBinding/models"}
            if goes == "route":
                await lab.apply(a_policy())
            elif goes == "policy":
                await lab.cluster.delete(kinds.ROUTING_POLICIES, "default", "support")
            await operator.quiet()
        if goes.startswith("route,"):
            await lab.apply(a_policy())
            async with lab.operator() as operator:
                await operator.quiet()
        assert await given(lab) == (set() if goes == "policy" else {"Role/default", "RoleBinding/default"})

    in_lab(test)


def test_only_what_decisions_look_at_is_a_reason_to_plan() -> None:
    """Nodes have a heartbeat, NodePools count their nodes, and our own status comes back to us."""

    async def test(lab: Lab) -> None:
        rounds = 0
        ask = lab.metrics.demand

        async def counted(namespace: str, pool: str, targets: list[Target], now: float) -> Demand | None:
            nonlocal rounds
            rounds += 1
            return await ask(namespace, pool, targets, now)

        lab.metrics.demand = counted  # type: ignore[method-assign]
        async with lab.operator() as operator:
            await lab.apply(a_class(), CHAT)
            await operator.quiet()
            await lab.run_pods()
            await operator.quiet()
            before = rounds
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-of-chat-h100-spot"}}
            for beat in range(10):
                ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": f"2026-01-01T00:00:0{beat}Z"}
                await lab.cluster.apply({**node, "status": {"conditions": [ready]}}, manager="kubelet", subresource="status", force=True)
                for kind, name, status in (
                    (kinds.NODE_POOLS, "forebay.default.chat.h100.spot", {"nodes": beat}),
                    (kinds.INFERENCE_POOLS, "chat", {"replicas": beat}),
                ):
                    await lab.cluster.patch(kind, "default" if kind.namespaced else None, name, {"status": status}, subresource="status")
                await operator.quiet()
            assert rounds == before
            ready = {"type": "Ready", "status": "False"}
            await lab.cluster.apply({**node, "status": {"conditions": [ready]}}, manager="kubelet", subresource="status", force=True)
            await operator.quiet()
            assert rounds > before

    in_lab(test)


def test_rounds_of_many_pools_do_not_wait_for_each_other() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), *(a_pool(f"pool-{i}") for i in range(30)))
            await operator.quiet()
            assert len(await lab.replicas()) == 30
        await asyncio.sleep(0)

    in_lab(test)

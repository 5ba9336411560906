"""A pool without replicas is woken by what its gateways hold: at once, by its own gateways alone, and after a restart as well."""

from __future__ import annotations

import json
from typing import Any

from tests.reconcile.worlds import Lab, Operator, a_class, a_policy, a_pool, in_lab

from forebay.adapters import cluster as kinds
from forebay.adapters.held import HeldFor
from forebay.planning.gateway_workload import LABEL_GATEWAY
from forebay.reconcile.keys import WAKE, Key, pool_key

ZERO = {"minReplicas": 0, "maxReplicas": 20, "scaleDown": {"stabilization": "60s"}}
CHAT = "chat-h100-on-demand"
GATEWAY = Key("gateway", "default", "default")


async def gateway_pods(lab: Lab, namespace: str = "default", **labels: str) -> list[str]:
    """Addresses of a gateway's replicas."""
    found = await lab.cluster.list(kinds.PODS, namespace, labels or {LABEL_GATEWAY: "default"})
    return [pod["status"]["podIP"] for pod in found]


async def scene(lab: Lab, operator: Operator, **pool: Any) -> str:
    """A pool that sleeps from the beginning, and the address of its gateway's replica, which holds nothing."""
    await lab.apply(a_class(), a_pool(scaling=ZERO, **pool), a_policy())
    await operator.quiet()
    await lab.run_pods()
    await operator.again(GATEWAY, pool_key("default", "chat"))
    (address,) = await gateway_pods(lab)
    lab.held.answers[address] = {}
    return address


async def look(lab: Lab, operator: Operator, seconds: float = 1.0) -> None:
    """The next look at what is held."""
    await lab.clock.advance(seconds)
    await operator.again(WAKE)


def test_a_held_request_wakes_the_pool_at_once() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            address = await scene(lab, operator)
            assert CHAT not in await lab.replicas()
            await look(lab, operator)
            await operator.again()
            assert (await lab.condition("Ready"))["reason"] == "Asleep"
            assert (await lab.condition("MetricsFresh"))["status"] == "True"
            lab.held.answers[address] = {"default/chat": HeldFor({"interactive": 1})}
            await look(lab, operator)
            assert (await lab.replicas())[CHAT] == 1
            decided = next(r for r in operator.decisions.records if r["plan"]["replicas"] == 1)
            assert decided["snapshot"]["gateways"] == {
                "routed": True,
                "asked": 1,
                "answered": 1,
                "held": {"interactive": 1},
                "passedOver": False,
            }

    in_lab(test)


def test_a_gateway_is_believed_of_its_own_pools_alone() -> None:
    """A tenant who runs a gateway, or what looks like one, wakes nobody else's pool."""

    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await scene(lab, operator)
            await lab.apply(a_pool("other", "elsewhere", scaling=ZERO), a_policy("theirs", "elsewhere", "other"))
            await operator.quiet()
            await lab.run_pods()
            await operator.again(Key("gateway", "elsewhere", "default"))
            (theirs,) = await gateway_pods(lab, "elsewhere")
            lab.held.answers[theirs] = {"default/chat": HeldFor({"interactive": 9}), "elsewhere/other": HeldFor({"interactive": 1})}
            await look(lab, operator)
            assert CHAT not in await lab.replicas()
            assert (await lab.replicas())["other-h100-on-demand"] == 1

    in_lab(test)


def test_operator_restart_at_zero() -> None:
    """Whoever takes over knows nothing of the pool but what was saved, and wakes it all the same."""

    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            address = await scene(lab, operator)
        lab.held.answers[address] = {"default/chat": HeldFor({"interactive": 1})}
        await lab.clock.advance(100)
        async with lab.operator() as operator:
            await operator.again(GATEWAY)
            await look(lab, operator)
            assert (await lab.replicas())[CHAT] == 1

    in_lab(test)


def test_it_goes_to_sleep_again_and_the_next_gateway_configuration_has_the_learned_start_time() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            address = await scene(lab, operator)
            lab.held.answers[address] = {"default/chat": HeldFor({"interactive": 1})}
            await look(lab, operator)
            await lab.run_pods()
            lab.held.answers[address] = {}
            for _ in range(6):
                await lab.clock.advance(15)
                lab.demand(0.0, reporting=1)
                await operator.again()
            assert (await lab.replicas())[CHAT] == 0
            await lab.run_pods()
            await operator.again()
            assert (await lab.condition("Ready"))["reason"] == "Asleep"
            await operator.again(GATEWAY)
            config = await lab.get(kinds.CONFIG_MAPS, "forebay-gateway-default")
            hold = json.loads(config["data"]["gateway.json"])["pools"]["default/chat"]["hold"]
            assert hold == {"startSeconds": 0.1, "classes": {"interactive": {"maxWaitSeconds": 30.1, "maxRequests": 512}}}

    in_lab(test)


def test_a_pool_that_never_sleeps_has_no_hold_and_is_never_asked_for() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool(), a_policy())
            await operator.quiet()
            await lab.run_pods()
            await operator.again(GATEWAY, WAKE)
            config = await lab.get(kinds.CONFIG_MAPS, "forebay-gateway-default")
            assert "hold" not in json.loads(config["data"]["gateway.json"])["pools"]["default/chat"]
            assert operator.world.heard == {}
            assert operator.decisions.records[-1]["snapshot"]["gateways"] is None

    in_lab(test)


def test_a_wake_that_the_limits_refuse_is_not_asked_for_every_second() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            capacity = {"accelerators": a_pool()["spec"]["capacity"]["accelerators"], "nodes": {"limits": {"gpus": 0}}}
            address = await scene(lab, operator, capacity=capacity)
            lab.held.answers[address] = {"default/chat": HeldFor({"interactive": 1})}
            await look(lab, operator)
            assert (await lab.condition("BudgetRespected"))["reason"] == "Limited"
            shown = operator.world.pools["default", "chat"].memory
            for _ in range(5):
                await look(lab, operator)
            assert operator.world.pools["default", "chat"].memory is shown

    in_lab(test)


def test_a_gateway_whose_replicas_do_not_run_is_told_from_a_policy_that_is_missing() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_pool(scaling=ZERO), a_policy())
            await operator.quiet()
            await operator.again(GATEWAY, pool_key("default", "chat"))
            assert (await lab.condition("MetricsFresh"))["reason"] == "GatewaysSilent"
            assert "no replica of the gateway that routes here runs" in (await lab.condition("Ready"))["message"]

    in_lab(test)


def test_a_policy_that_goes_takes_its_gateway_out_of_those_that_are_asked() -> None:
    async def test(lab: Lab) -> None:
        async with lab.operator() as operator:
            await scene(lab, operator)
            await look(lab, operator)
            await lab.cluster.delete(kinds.ROUTING_POLICIES, "default", "support")
            await operator.quiet()
            await operator.again(GATEWAY)
            assert (operator.world.routes, operator.world.heard) == ({}, {})
            await operator.again()
            assert (await lab.condition("MetricsFresh"))["reason"] == "NoGateway"

    in_lab(test)

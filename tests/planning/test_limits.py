"""Limits are never exceeded: not by growth, by replacements, by what is on its way out, or by rollouts."""

from __future__ import annotations

from typing import Any

from tests.planning.builders import (
    A100,
    H100,
    NOW,
    a_deployment,
    a_node,
    a_pod,
    a_profile,
    a_snapshot,
    a_spec,
    actions,
    as_planned,
    demand,
    desired,
    done,
    on_karpenter,
    reclaimed,
    running,
    said,
    settled,
    verdict,
)

from forebay.planning.planner import plan
from forebay.planning.snapshot import PodView, Snapshot


def spot_pod(index: int, **fields: Any) -> PodView:
    return a_pod(f"llama-h100-spot-{index}", "spot", **{"node": "node-1", **fields})


def limited(replicas: int, limits: dict[str, Any], gpus: int = 8, **capacity: Any) -> Any:
    """A pool on Karpenter; by default a replica takes a whole node of 8 GPUs, which costs 55 $ on-demand and 20 $ on spot."""
    return a_spec(
        scaling={"minReplicas": replicas, "maxReplicas": 20},
        profiles=[a_profile(gpus=gpus)],
        capacity=on_karpenter(limits=limits, **capacity),
    )


def bounds(decision: Any) -> dict[str, str]:
    """GPUs that each NodePool may have."""
    return {a.ref.name.rpartition(".")[2]: a.body["spec"]["limits"]["nvidia.com/gpu"] for a in actions(decision, "apply", "NodePool")}


def test_gpus_are_never_more_than_the_limit() -> None:
    decision = plan(a_snapshot(spec=limited(5, {"gpus": 16})))
    assert desired(decision) == (2, 0) and decision.replicas == 2 and bounds(decision) == {"on-demand": "16"}
    assert said(decision, "BudgetRespected") == ("True", "Limited")
    assert verdict(decision, "BudgetRespected").message.startswith("5 replicas are wanted; limits (gpus 16) allow 2.")
    assert decision.memory.target == 5 and decision.memory.placed == 2


def test_dollars_are_never_more_than_the_limit() -> None:
    assert desired(plan(a_snapshot(spec=limited(5, {"usdPerHour": 120})))) == (2, 0)
    spot = {"enabled": True}
    assert desired(plan(a_snapshot(spec=limited(5, {"usdPerHour": 65}, spot=spot)))) == (0, 3)


def test_whole_nodes_are_counted_where_they_are_made() -> None:
    decision = plan(a_snapshot(spec=limited(9, {"gpus": 8}, gpus=1)))
    assert desired(decision) == (8, 0) and decision.status.rate.usd_per_hour == "55.00"
    existing = a_spec(scaling={"minReplicas": 9, "maxReplicas": 20}, capacity={"accelerators": [H100], "nodes": {"limits": {"gpus": 8}}})
    decision = plan(a_snapshot(spec=existing))
    assert desired(decision) == (8, 0) and decision.status.rate.usd_per_hour == "55.00"


def test_a_limit_of_nothing_allows_nothing() -> None:
    decision = plan(a_snapshot(spec=limited(2, {"gpus": 0})))
    assert desired(decision) == (0, 0)
    assert "nodes.limits allow none" in verdict(decision, "Ready").message


def test_unknown_prices_fail_closed() -> None:
    spec = a_spec(
        scaling={"minReplicas": 3, "maxReplicas": 9}, capacity=on_karpenter(accelerators=[{"name": "h100"}], limits={"usdPerHour": 100})
    )
    fresh = plan(a_snapshot(spec=spec))
    assert desired(fresh) == (0, 0)
    assert (
        said(fresh, "BudgetRespected") == ("Unknown", "PriceUnknown")
        and "set usdPerHour of h100" in verdict(fresh, "BudgetRespected").message
    )
    grown = plan(a_snapshot(spec=spec, **running(2), memory=settled(2)))
    assert desired(grown) == (2, 0) and bounds(grown) == {"on-demand": "0"}, "nodes that exist may stay, none may come"
    doomed = {**running(2), "nodes": (reclaimed(),)}
    assert desired(plan(a_snapshot(spec=spec, **doomed, memory=settled(2)))) == (2, 0)


def test_a_price_that_is_missing_for_spot_alone_stops_growth() -> None:
    accelerator = {"name": "h100", "usdPerHour": {"onDemand": 55}}
    spec = a_spec(capacity=on_karpenter(accelerators=[accelerator], spot={"enabled": True}, limits={"usdPerHour": 1000}))
    assert said(plan(a_snapshot(spec=spec)), "BudgetRespected") == ("Unknown", "PriceUnknown")


def test_limits_without_a_profile_count_a_node_for_each_replica() -> None:
    spec = a_spec(profiles=[], scaling={"minReplicas": 5, "maxReplicas": 9}, capacity=on_karpenter(limits={"gpus": 16}))
    decision = plan(a_snapshot(spec=spec))
    assert desired(decision) == (2, 0)
    assert [a.body["spec"]["limits"] for a in actions(decision, "apply", "NodePool")] == [{"nodes": "2"}]


def test_limits_without_any_accelerator_fail_closed() -> None:
    spec = a_spec(profiles=[], capacity={"nodes": {"limits": {"gpus": 16}}})
    assert said(plan(a_snapshot(spec=spec)), "BudgetRespected") == ("Unknown", "PriceUnknown")


def test_within_full_limits_doomed_replicas_are_replaced_once_they_are_gone() -> None:
    spec = limited(2, {"gpus": 16}, spot={"enabled": True})
    two = {**running(1, capacity_type="spot"), "nodes": (a_node("node-1", "spot"), reclaimed("node-2"))}
    pods = (spot_pod(0), spot_pod(1, node="node-2"))
    decision = plan(a_snapshot(spec=spec, **{**two, "pods": pods, "deployments": (a_deployment(2, "spot"),)}, memory=settled(2)))
    assert desired(decision) == (0, 2)
    assert "are replaced once they are gone" in verdict(decision, "BudgetRespected").message


def test_nodes_that_still_exist_leave_no_room_in_the_limits() -> None:
    """Spot did not come and on-demand stands in; but the nodes of before are there, and paid for, until they are empty."""
    spec = limited(2, {"gpus": 16}, spot={"enabled": True})
    label = {"karpenter.sh/nodepool": "forebay.default.llama.h100.spot"}
    nodes = tuple(a_node(f"spot-{i}", "spot", own=True, labels=label) for i in range(2))
    held = settled(2, spot_hold_until=NOW + 100)
    full = plan(a_snapshot(spec=spec, nodes=nodes, memory=held))
    assert desired(full) == (2, 0) and bounds(full) == {"on-demand": "0", "spot": "0"}
    half = plan(a_snapshot(spec=spec, nodes=nodes[:1], memory=held))
    assert bounds(half) == {"on-demand": "8", "spot": "0"}


# variants that are no longer wanted, beside limits


def moving(old: int, new: int, limits: dict[str, Any]) -> Snapshot:
    """A pool of two replicas, a node each, that moves from h100 to a100."""
    spec = a_spec(
        scaling={"minReplicas": 2, "maxReplicas": 4}, profiles=[a_profile("a100", gpus=8), a_profile("h100", gpus=8)],
        capacity=on_karpenter(accelerators=[A100, H100], limits=limits),
    )  # fmt: skip
    pods = [a_pod(f"old-{i}", node=f"h{i}") for i in range(old)] + [a_pod(f"new-{i}", accelerator="a100", node=f"a{i}") for i in range(new)]
    nodes = tuple(
        a_node(pod.node, own=True, labels={"karpenter.sh/nodepool": f"forebay.default.llama.{pod.variant.split('-')[0]}.on-demand"})
        for pod in pods
    )
    deployments = tuple(d for d in (a_deployment(new, accelerator="a100"), a_deployment(old)) if d.replicas)
    memory = settled(2, mix={"a100/full": 2})
    return as_planned(a_snapshot(spec=spec, deployments=deployments, pods=tuple(pods), nodes=nodes, memory=memory))


def gpus_of(decision: Any) -> dict[str, int]:
    return {a.ref.name.split(".")[3]: int(a.body["spec"]["limits"]["nvidia.com/gpu"]) for a in actions(decision, "apply", "NodePool")}


def test_moving_between_accelerators_keeps_the_old_nodes_until_the_new_are_ready() -> None:
    decision = plan(moving(2, 0, {}))
    assert gpus_of(decision) == {"a100": 16, "h100": 16}
    assert not actions(decision, "delete")


def test_moving_between_accelerators_within_limits_goes_one_by_one() -> None:
    first = plan(moving(2, 0, {"gpus": 16}))
    assert desired(first) == (1, 0) and ("scale", "Deployment", "llama-h100-on-demand") in done(first)
    assert gpus_of(first) == {"a100": 0, "h100": 8}, "the new node comes when the old one is gone"
    room = plan(moving(1, 0, {"gpus": 16}))
    assert gpus_of(room) == {"a100": 8, "h100": 8}
    starting = moving(1, 1, {"gpus": 16})
    starting = starting.model_copy(update={"pods": tuple(p.model_copy(update={"ready": p.name == "old-0"}) for p in starting.pods)})
    assert desired(plan(starting)) == (1, 0) and not actions(plan(starting), "delete"), "the last that answers stays"
    last = plan(moving(1, 1, {"gpus": 16}))
    assert desired(last) == (2, 0) and ("delete", "Deployment", "llama-h100-on-demand") in done(last), "else the move would never end"
    over = plan(moving(0, 1, {"gpus": 16}))
    assert desired(over) == (2, 0)


def test_moving_where_one_fits_at_all_takes_turns() -> None:
    decision = plan(moving(1, 0, {"gpus": 8}))
    assert desired(decision) == (1, 0) and ("delete", "Deployment", "llama-h100-on-demand") in done(decision)


def test_moving_to_what_the_limits_never_allow_keeps_what_there_is() -> None:
    decision = plan(moving(1, 0, {"usdPerHour": 56}))
    assert desired(decision) == (1, 0)
    dear = moving(1, 0, {"gpus": 4})
    assert desired(plan(dear)) == (0, 0)


def test_memory_keeps_what_was_wanted_not_what_the_limits_allowed() -> None:
    """Else a pool that moves within tight limits would be held at the one replica that had room, once metrics go stale."""
    decision = plan(moving(2, 0, {"gpus": 16}))
    stale = moving(1, 1, {}).model_copy(update={"memory": decision.memory, "demand": demand(age_s=1000)})
    assert plan(stale).replicas == 2


# rollouts


def test_a_rollout_has_room_for_its_surge() -> None:
    """A replica that fills a node cannot be replaced beside itself within NodePools that are bounded to just the replicas."""
    old = as_planned(a_snapshot(spec=limited(4, {}), **running(4), memory=settled(4)))
    assert bounds(plan(old)) == {"on-demand": "32"}
    rolled = old.model_copy(update={"deployments": tuple(d.model_copy(update={"template_hash": "old"}) for d in old.deployments)})
    decision = plan(rolled)
    assert bounds(decision) == {"on-demand": "40"}
    assert actions(decision, "apply", "Deployment")[0].body["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    under_way = old.model_copy(update={"deployments": tuple(d.model_copy(update={"rolling": True}) for d in old.deployments)})
    assert bounds(plan(under_way)) == {"on-demand": "40"} and not actions(plan(under_way), "apply", "Deployment")


def test_a_rollout_without_room_for_a_surge_replaces_one_after_the_other() -> None:
    snapshot = a_snapshot(spec=limited(4, {"gpus": 32}), **running(4), memory=settled(4))
    decision = plan(snapshot)
    assert bounds(decision) == {"on-demand": "32"}
    assert actions(decision, "apply", "Deployment")[0].body["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}

"""Pools of several accelerators: the cheapest mix that holds, held steady, and what is tried when nodes do not come."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planning.builders import (
    A100,
    H100,
    NOW,
    a_class,
    a_deployment,
    a_node,
    a_pod,
    a_profile,
    a_snapshot,
    a_spec,
    actions,
    demand,
    desired,
    done,
    said,
    verdict,
)
from tests.planning.builders import settled as watched

from forebay.planning.candidates import Bounds
from forebay.planning.cheapest import MOST_TRIED, Search, held_rps
from forebay.planning.decision import Plan
from forebay.planning.demand import loads, remembered
from forebay.planning.keeping import kept
from forebay.planning.memory import Memory, Unavailable
from forebay.planning.mix import Fleet, kind
from forebay.planning.planner import plan
from forebay.planning.preview import preview
from forebay.planning.prices import PriceList
from forebay.planning.sizing import Demanded, expected, replicas_for
from forebay.planning.snapshot import Snapshot
from forebay.planning.target import counted_kind, demanded, router_of
from forebay.planning.variants import preferred_profile
from forebay.planning.work import EngineProfile, Load, Promise

FAST = EngineProfile(0.02, 6e-5, 2.5e-8, 64)
SLOW = EngineProfile(0.04, 1.1e-4, 5e-8, 64)


def fleet(rate: float, *engines: EngineProfile, target_s: float = 1.0) -> Fleet:
    classes = (Demanded(Load(rate, 1000, 200, 0.5, 0.5), (Promise("timeToFirstToken", 0.95, target_s), Promise("endToEnd", 0.9, 30.0))),)
    return Fleet(classes, tuple(kind(str(i), classes, engine) for i, engine in enumerate(engines)))


class Dollars:
    in_dollars = True

    def __init__(self, *each: float) -> None:
        self.each = each

    def of(self, counts: tuple[int, ...]) -> float:
        return sum(n * price for n, price in zip(counts, self.each, strict=True))

    def least(self, total: int) -> float:
        return total * min(self.each)


# the model


@pytest.mark.parametrize("rate", [0.5, 4.0, 15.0])
def test_a_fleet_of_one_speed_is_the_pool_that_sizing_knows(rate: float) -> None:
    """Two kinds of the same speed are one kind, and the model of mixes is the model of one."""
    both = fleet(rate, FAST, FAST)
    sizing = replicas_for(both.classes, FAST, max_replicas=50)
    for first in range(sizing.replicas + 1):
        assert not both.failure((first, sizing.replicas - first), rate)
    if sizing.replicas > 1:
        assert both.failure((1, sizing.replicas - 2), rate) == sizing.binding
    mixed, alone = both.expected((1, sizing.replicas), rate), expected(both.classes, FAST, sizing.replicas + 1)
    assert [m.tail_s for m in mixed] == pytest.approx([a.tail_s for a in alone], rel=0.05)


def test_a_slower_replica_gets_fewer_requests() -> None:
    both = fleet(6.0, FAST, SLOW)
    rates = both.rates((2, 3), 6.0)
    assert rates is not None and 2 * rates[0] + 3 * rates[1] == pytest.approx(6.0)
    assert 0.4 < rates[1] / rates[0] < 0.7


@settings(max_examples=25, deadline=None)
@given(rate=st.sampled_from([0.3, 1.5, 4.0, 9.0, 14.0]), slow_usd=st.sampled_from([2.0, 4.5, 5.0, 6.0, 9.0]), fewest=st.integers(1, 3))
def test_the_search_finds_what_an_exhaustive_one_finds(rate: float, slow_usd: float, fewest: int) -> None:
    both, prices = fleet(rate, FAST, SLOW), Dollars(10.0, slow_usd)
    found = Search(both, held_rps(both, 30), prices).cheapest(Bounds((0, 0), (30, 30), fewest, 30))
    every = sorted((c for c in product(range(12), range(22)) if fewest <= sum(c) <= 30), key=prices.of)
    best = next(c for c in every if not both.failure(c, rate))
    assert found is not None and not both.failure(found, rate)
    assert prices.of(found) == pytest.approx(prices.of(best))


def among_many(rate: float, speeds: tuple[float, ...], usd: tuple[float, ...]) -> tuple[Search, Bounds]:
    """Kinds whose steps take so many times as long, at most 300 replicas in all."""
    many = fleet(rate, *(EngineProfile(0.02 * s, 6e-5 * s, 2.5e-8 * s, 64) for s in speeds))
    return Search(many, held_rps(many, 300), Dollars(*usd)), Bounds((0,) * len(speeds), (300,) * len(speeds), 1, 300)


def test_a_search_among_very_many_mixes_costs_hardly_more_than_the_cheapest() -> None:
    search, bounds = among_many(300.0, (1, 1.7, 2.6, 4), (10, 5.8, 3.9, 2.52))
    found = search.cheapest(bounds)
    assert found is not None and not search.fleet.lack(found)
    every = sorted(search.listed(bounds, search.prices.of(found)), key=search.prices.of)
    assert len(every) > MOST_TRIED
    best = next(c for c in every if not search.fleet.lack(c))
    assert search.prices.of(found) <= 1.005 * search.prices.of(best)


def test_a_search_among_very_many_mixes_that_do_not_hold_gives_up_soon() -> None:
    """A pool with four kinds and hundreds of replicas kept its operator from everything else for ten seconds."""
    search, bounds = among_many(200.0, (2.93, 2.79, 2.68, 2.86), (3.71, 3.59, 3.68, 3.65))
    found = search.cheapest(bounds)
    assert found is not None and search.prices.of(found) <= 1.005 * 400.4, "the cheapest of all"
    assert len(search.fleet._lacks) < MOST_TRIED + 100, "of 1,572"


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([0.3, 1.5, 4.0, 9.0, 14.0]),
    slow_usd=st.sampled_from([2.0, 4.5, 6.0, 9.0, 11.0]),
    there=st.tuples(st.integers(0, 6), st.integers(0, 12)),
)
def test_what_is_kept_without_a_search_is_what_one_would_keep(rate: float, slow_usd: float, there: tuple[int, int]) -> None:
    both, prices, bounds = fleet(rate, FAST, SLOW), Dollars(10.0, slow_usd), Bounds((0, 0), (30, 30), 1, 30)
    found = kept(both, prices, bounds, there, sum(there), 0.95)
    if found is None:
        return
    assert not both.failure(found.counts, rate) and all(both.failure(c, rate) for c in found.tried)
    parts = [c for c in product(range(there[0] + 1), range(there[1] + 1)) if sum(c) and prices.of(c) < prices.of(found.counts)]
    others = [c for c in product(range(12), range(22)) if sum(c) and prices.of(c) < 0.95 * prices.of(found.counts)]
    assert all(both.failure(c, rate) for c in (*parts, *others))


@pytest.mark.parametrize("rate", [1.5, 4.0, 9.0])
def test_the_cheapest_is_kept_and_what_is_dear_is_searched_for(rate: float) -> None:
    both, prices, bounds = fleet(rate, FAST, SLOW), Dollars(10.0, 5.0), Bounds((0, 0), (30, 30), 1, 30)
    best = Search(both, held_rps(both, 30), prices).cheapest(bounds)
    assert best is not None
    stays = kept(both, prices, bounds, best, sum(best), 0.95)
    assert stays is not None and stays.counts == best
    assert kept(both, Dollars(10.0, 0.5), bounds, (30, 0), 30, 0.95) is None


def test_a_mix_can_be_cheaper_than_either_alone() -> None:
    """What is left over after whole fast replicas goes to a slow one."""
    cheaper = 0
    for rate in (3.0, 5.0, 7.0, 9.0, 11.0):
        both, prices = fleet(rate, FAST, SLOW), Dollars(10.0, 5.2)
        search, bounds = Search(both, held_rps(both, 30), prices), Bounds((0, 0), (30, 30), 1, 30)
        best, alone = search.cheapest(bounds), [search.cheapest(bounds.only(i)) for i in (0, 1)]
        assert best is not None and all(a is not None and prices.of(best) <= prices.of(a) for a in alone)
        cheaper += all(best)
    assert cheaper


# through the planner


def spec(usd: tuple[float | None, float | None] = (10.0, 6.0), **more: Any) -> Any:
    """h100 first, twice as fast as a100; one GPU a node."""
    listed = [
        {"name": name, "gpusPerNode": 1, "usdPerHour": {"onDemand": price} if price is not None else {}}
        for name, price in zip(("h100", "a100"), usd, strict=True)
    ]
    slow = a_profile("a100", iteration={"base": "40ms", "perToken": "0.1ms", "perKvToken": "0.4us"})
    return a_spec(profiles=[a_profile(), slow], capacity={"accelerators": listed, **more.pop("capacity", {})}, **more)


def there(**counts: int) -> dict[str, Any]:
    """Ready replicas, as fields of a snapshot."""
    pods = tuple(a_pod(f"{name}-{i}", accelerator=name, node="node-1") for name, n in counts.items() for i in range(n))
    deployments = tuple(a_deployment(n, accelerator=name, ready=n) for name, n in counts.items() if n)
    mix = {f"{name}/full": n for name, n in counts.items() if n}
    return {"pods": pods, "deployments": deployments, "nodes": (a_node(),), "memory": watched(sum(counts.values()), mix=mix)}


def planned(rps: float, usd: tuple[float | None, float | None] = (10.0, 6.0), **fields: Any) -> Any:
    more = fields.pop("more", {})
    return plan(a_snapshot(spec=spec(usd, **more), demand=demand(rps), **fields))


def test_the_cheaper_accelerator_is_taken_whatever_the_lists_order() -> None:
    assert set(planned(20, (10.0, 3.0)).memory.mix) == {"a100/full"}
    assert set(planned(20, (10.0, 11.0)).memory.mix) == {"h100/full"}


def test_without_prices_the_first_in_the_list_is_taken() -> None:
    assert set(planned(20, (10.0, None)).memory.mix) == {"h100/full"}
    assert planned(20, (None, None)).status.rate.usd_per_hour == "unknown"


def test_the_reasons_name_the_mix_its_price_and_what_else_was_compared() -> None:
    decision = planned(20, (10.0, 3.0))
    count = decision.memory.mix["a100/full"]
    assert any(f"{count} × a100/full at {3 * count:g} $/h: {count} replicas by " in w for w in decision.why)
    assert any("× h100/full at" in w and "compared with" in w for w in decision.why)
    assert decision.status.rate.usd_per_hour == f"{3 * count:.2f}"


def test_an_accelerator_that_cannot_keep_a_promise_has_no_part_in_it() -> None:
    tight = {"interactive": a_class(objectives={"timeToFirstToken": {"quantile": 0.95, "target": "80ms"}})}
    decision = planned(5, (10.0, 1.0), classes=tight)
    assert set(decision.memory.mix) == {"h100/full"} and said(decision, "SloFeasible") == ("True", "Feasible")


def test_more_load_adds_to_what_is_loaded_and_moves_nothing() -> None:
    decision = planned(30, (10.0, 3.0), **there(h100=2))
    assert decision.memory.mix["h100/full"] == 2 and decision.memory.mix["a100/full"] > 0
    assert not actions(decision, "delete")


def test_less_load_gives_back_what_saves_most_after_the_window() -> None:
    many = there(h100=4, a100=2)
    held = planned(0.5, (10.0, 3.0), **{**many, "memory": many["memory"].model_copy(update={"observed_since": NOW - 10})})
    assert held.memory.mix == {"h100/full": 4, "a100/full": 2}
    assert planned(0.5, (10.0, 3.0), **many).memory.mix == {"a100/full": 1}


def test_a_mix_that_is_a_little_cheaper_moves_nothing() -> None:
    used = planned(20, (10.0, 11.0)).memory.mix["h100/full"]
    decision = planned(20, (10.0, 9.0), **there(h100=used))
    assert decision.memory.mix == {"h100/full": used} and decision.memory.better_since is None
    assert planned(20, (10.0, 9.0)).memory.mix == {"h100/full": used - 1, "a100/full": 1}, "which would cost 1 $/h less"


def test_a_much_cheaper_mix_is_moved_to_after_a_window_and_once_its_start_has_paid() -> None:
    used = planned(20, (10.0, 11.0)).memory.mix["h100/full"]
    first = planned(20, (10.0, 2.0), **there(h100=used))
    assert first.memory.mix == {"h100/full": used} and first.memory.better_since == NOW
    assert any("before the pool moves" in w for w in first.why)

    def after(seconds: float, **memory: Any) -> Any:
        fields = there(h100=used)
        fields["memory"] = fields["memory"].model_copy(update={"better_since": NOW - seconds, **memory})
        return planned(20, (10.0, 2.0), **fields)

    moved = after(301)
    assert set(moved.memory.mix) == {"a100/full"} and moved.memory.better_since is None
    assert ("scale", "Deployment", "llama-h100-on-demand") not in done(moved), "the old stay until the new are ready"
    slow = {"starts": {"a100-on-demand": {"ready": (1500.0, 1500.0, 1500.0)}}}
    assert set(after(301, **slow).memory.mix) == {"h100/full"}, "a start of 25 minutes is not paid for in five"
    assert set(after(1201, **slow).memory.mix) == {"a100/full"}


def test_replicas_of_a_kind_of_which_fewer_are_wanted_stay_until_the_others_are_ready() -> None:
    """From three fast ones to one and slow ones that are still starting."""
    fields = there(h100=3)
    fields["memory"] = fields["memory"].model_copy(update={"mix": {"h100/full": 1, "a100/full": 4}, "target": 5})
    decision = planned(20, (10.0, 5.0), **fields)
    wanted = {v.name: v.desired for v in decision.status.variants}
    assert decision.memory.mix["h100/full"] < 3 and decision.memory.mix["a100/full"] > 0
    assert wanted["llama-h100-on-demand"] == 3


def test_limits_choose_a_mix_that_they_allow() -> None:
    """Slow ones are cheaper, but would take more GPUs than there may be."""
    slow = planned(20, (10.0, 3.0)).memory.mix["a100/full"]
    tight = planned(20, (10.0, 3.0), more={"capacity": {"nodes": {"limits": {"gpus": slow - 1}}}})
    assert tight.memory.mix.get("h100/full", 0) > 0 and tight.replicas == sum(tight.memory.mix.values()) <= slow - 1
    assert said(tight, "BudgetRespected") == ("True", "WithinLimits")


def held(snapshot: Snapshot, mix: dict[str, int]) -> float:
    """Requests/s that so many of each kind hold."""
    wanted, choices = demanded(snapshot, loads(snapshot, *remembered(snapshot))), preferred_profile(snapshot.spec)
    kinds = tuple(counted_kind(snapshot, wanted, choice) for choice in choices)
    return Fleet(wanted, kinds, router_of(snapshot)).largest_rate(tuple(mix.get(k.name, 0) for k in kinds))


def let_in(decision: Plan) -> dict[str, int]:
    """Replicas of each kind that are wanted and that the limits let in."""
    return {f"{v.accelerator}/{v.partition}": v.desired for v in decision.status.variants}


@settings(max_examples=60, deadline=None)
@given(
    rps=st.sampled_from([20.0, 60.0, 100.0, 400.0]),
    usd=st.sampled_from([1.0, 4.0, 5.0, 6.0, 11.0]),
    limits=st.sampled_from([{"gpus": 1}, {"gpus": 3}, {"usdPerHour": 12}, {"usdPerHour": 25}, {"gpus": 3, "usdPerHour": 25}]),
)
def test_limits_within_which_nothing_holds_are_filled_with_what_holds_most(rps: float, usd: float, limits: dict[str, int]) -> None:
    snapshot = a_snapshot(spec=spec((10.0, usd), capacity={"nodes": {"limits": limits}}), demand=demand(rps))
    decision = plan(snapshot)
    if said(decision, "BudgetRespected")[1] == "WithinLimits" and said(decision, "SloFeasible")[0] == "True":
        return
    dollars = {"h100/full": 10.0, "a100/full": usd}
    alone = {name: min(20, limits.get("gpus", 20), int(limits.get("usdPerHour", 1e6) / price)) for name, price in dollars.items()}
    most = max(held(snapshot, {name: count}) for name, count in alone.items())
    assert held(snapshot, let_in(decision)) >= 0.98 * most


def test_an_overload_within_limits_gives_up_no_fast_replica_for_cheap_ones() -> None:
    """Without the limit slow ones would be cheaper; of three GPUs they hold half as much."""
    more = {"capacity": {"nodes": {"limits": {"gpus": 3}}}}
    for memory in ({}, {"better_since": NOW - 9000}, {"better_since": NOW - 9000, "mix": {"h100/full": 3, "a100/full": 13}}):
        fields = there(h100=3)
        fields["memory"] = fields["memory"].model_copy(update=memory)
        decision = planned(70, (10.0, 4.0), more=more, **fields)
        assert let_in(decision)["h100/full"] == 3 and said(decision, "BudgetRespected") == ("True", "Limited")


def test_an_overload_within_limits_moves_to_a_faster_kind_after_a_window() -> None:
    more, fields = {"capacity": {"nodes": {"limits": {"gpus": 3}}}}, there(a100=3)
    first = planned(70, (10.0, 4.0), more=more, **fields)
    assert let_in(first) == {"a100/full": 3} and first.memory.better_since == NOW
    assert any("3 × h100/full at 30 $/h would hold more within nodes.limits, and must for 5m before" in w for w in first.why)
    later = fields["memory"].model_copy(update={"better_since": NOW - 301})
    moved = planned(70, (10.0, 4.0), more=more, **{**fields, "memory": later})
    assert moved.memory.mix["h100/full"] >= 3
    assert let_in(moved) == {"h100/full": 1, "a100/full": 2}, "one by one, for there is no room for both"


def test_max_replicas_that_are_too_few_are_of_the_kind_of_which_limits_let_in_most() -> None:
    """Ten fast ones hold more than ten slow ones, but only one of them may be paid for."""
    more = {"capacity": {"nodes": {"limits": {"usdPerHour": 12}}}, "scaling": {"minReplicas": 1, "maxReplicas": 10}}
    assert let_in(planned(500, (10.0, 2.0), more=more)) == {"a100/full": 6}


def test_what_neither_max_replicas_nor_the_limits_hold_is_said_of_both() -> None:
    more = {"capacity": {"nodes": {"limits": {"usdPerHour": 12}}}}
    decision = planned(100, (10.0, 1.0), more=more)
    assert let_in(decision) == {"a100/full": 12} and said(decision, "SloFeasible") == ("False", "MaxReplicas")
    message = verdict(decision, "SloFeasible").message
    assert "replicas of h100/full, which nodes.limits do not allow, or more than maxReplicas 20 of a100/full" in message


def test_max_replicas_that_the_cheap_one_exceeds_are_kept_by_faster_ones() -> None:
    slow = planned(20, (10.0, 3.0)).memory.mix["a100/full"]
    capped = planned(20, (10.0, 3.0), more={"scaling": {"minReplicas": 1, "maxReplicas": slow - 1}})
    assert capped.memory.mix.get("h100/full", 0) > 0 and said(capped, "SloFeasible")[0] == "True"
    never = planned(500, (10.0, 3.0), more={"scaling": {"minReplicas": 1, "maxReplicas": 3}})
    assert never.replicas == 3 and said(never, "SloFeasible") == ("False", "MaxReplicas")
    assert "raise scaling.maxReplicas" in verdict(never, "SloFeasible").message


def test_a_maximum_that_was_lowered_below_what_there_is_is_kept() -> None:
    lowered = planned(20, (10.0, 6.0), more={"scaling": {"minReplicas": 1, "maxReplicas": 2}}, **there(h100=1, a100=4))
    assert sum(lowered.memory.mix.values()) == lowered.memory.target == 2
    assert not any("3 replicas" in why or "5 replicas" in why for why in lowered.why)


def test_a_kind_that_was_wanted_and_not_let_in_is_not_counted_on() -> None:
    """Its price is unknown, so no limit in dollars lets it in; the kind that is there is kept, whatever was wanted last."""
    wanted = {**there(a100=1), "memory": watched(2, mix={"h100/full": 1, "a100/full": 1})}
    for rps in (5.0, 500.0):
        kept = planned(rps, (None, None), more={"capacity": {"nodes": {"limits": {"usdPerHour": 10}}}}, **wanted)
        assert set(kept.memory.mix) == {"a100/full"} and kept.replicas == 1


def test_spot_is_shared_between_accelerators_and_counts_in_the_price() -> None:
    """The share is of all replicas; a cheap spot price makes an accelerator the cheaper one."""
    listed = [
        {"name": "h100", "usdPerHour": {"onDemand": 10, "spot": 1.5}},
        {"name": "a100", "usdPerHour": {"onDemand": 5, "spot": 4.9}},
    ]
    spot = {"accelerators": listed, "spot": {"enabled": True, "maxShare": 1}}
    decision = planned(20, more={"capacity": spot})
    assert set(decision.memory.mix) == {"h100/full"} and desired(decision)[0] == 0
    half = planned(
        20, more={"capacity": {**spot, "spot": {"enabled": True, "maxShare": 0.5}}, "scaling": {"minReplicas": 5, "maxReplicas": 20}}
    )
    assert desired(half)[1] == half.replicas // 2


def test_whole_nodes_are_counted_as_they_are_paid() -> None:
    """One small replica on a node of eight costs the node."""
    h100, a100 = {**H100, "usdPerHour": {"onDemand": 8}}, {**A100, "gpusPerNode": 1, "usdPerHour": {"onDemand": 2}}
    nodes = {"backend": "Karpenter", "nodeClassRef": {"group": "g", "kind": "k", "name": "n"}}
    decision = planned(1, more={"capacity": {"accelerators": [h100, a100], "nodes": nodes}})
    assert set(decision.memory.mix) == {"a100/full"}
    shared = planned(1, more={"capacity": {"accelerators": [h100, a100]}})
    assert set(shared.memory.mix) == {"h100/full"}, "of nodes that exist only the GPUs count: 1 $/h"


def away(until: float = NOW + 500) -> dict[str, Any]:
    return {"h100-on-demand": Unavailable(since=NOW - 100, until=until, reason="late-0 found no node within 180 s")}


def test_an_accelerator_whose_nodes_do_not_come_is_stood_in_for_and_comes_back() -> None:
    """What has come of it stays, the rest is of the other kind until it is tried again; then the pool moves only after a window."""
    fields = there(h100=1)
    for usd in ((10.0, 11.0), (None, None)):
        memory = watched(4, mix={"h100/full": 4}, unavailable=away())
        short = planned(25, usd, **{**fields, "memory": memory})
        assert short.memory.mix["h100/full"] == 1 and short.memory.mix["a100/full"] > 0
        assert any("h100-on-demand is unavailable" in w for w in short.why)
        slow = short.memory.mix["a100/full"]
        both = there(h100=1, a100=slow)
        back = both["memory"].model_copy(update={"unavailable": away(NOW - 1)})
        again = planned(25, usd, **{**both, "memory": back})
        assert again.memory.mix == {"h100/full": 1, "a100/full": slow} and again.memory.better_since == NOW
        late = back.model_copy(update={"better_since": NOW - 1000})
        assert set(planned(25, usd, **{**both, "memory": late}).memory.mix) == {"h100/full"}


def test_stale_metrics_make_no_move_to_another_kind_that_would_shrink_the_pool() -> None:
    """The kind that is wanted costs more than the limit allows, so another would do: but of nothing that was measured."""
    more = {"capacity": {"nodes": {"limits": {"usdPerHour": 30}}}, "scaling": {"minReplicas": 1, "maxReplicas": 2}}
    wanted = {"deployments": (a_deployment(3, accelerator="a100"),), "memory": Memory(mix={"h100/full": 3})}
    assert plan(a_snapshot(spec=spec((55.0, 10.0), **more), demand=None, **wanted)).memory.target == 2


def test_stale_metrics_hold_the_mix_as_it_is() -> None:
    fields = there(h100=2, a100=3)
    decision = plan(a_snapshot(spec=spec((10.0, 1.0)), demand=demand(20, age_s=1000), **fields))
    assert decision.memory.mix == {"h100/full": 2, "a100/full": 3}


def test_a_preview_tells_dollars_and_headroom_of_a_mix() -> None:
    found = preview(a_snapshot(spec=spec((10.0, 3.0)), demand=demand(20), **there(h100=1, a100=1)))
    assert found.usd_per_hour is not None and found.headroom is not None and found.headroom > 0


@settings(max_examples=40, deadline=None)
@given(
    rps=st.sampled_from([0.0, 1.0, 8.0, 20.0, 60.0]),
    h100=st.integers(0, 4),
    a100=st.integers(0, 6),
    usd=st.sampled_from([1.0, 4.0, 6.0, 11.0]),
    limit=st.sampled_from([None, 3, 8]),
)
def test_a_mix_stays_within_bounds_and_its_plan_repeats(rps: float, h100: int, a100: int, usd: float, limit: int | None) -> None:
    more = {"capacity": {"nodes": {"limits": {"gpus": limit}}}} if limit else {}
    snapshot = a_snapshot(spec=spec((10.0, usd), **more), demand=demand(rps), **there(h100=h100, a100=a100))
    decision = plan(snapshot)
    assert decision.model_dump() == plan(snapshot).model_dump()
    total = sum(decision.memory.mix.values())
    assert 1 <= total <= 20 and decision.replicas <= total
    assert limit is None or sum(v.desired for v in decision.status.variants) <= limit


def test_prices_in_the_lists_order_prefer_the_first() -> None:
    snapshot = a_snapshot(spec=spec((None, None)))
    prices = PriceList(snapshot, tuple(preferred_profile(snapshot.spec)))
    assert not prices.in_dollars and prices.of((19, 0)) < prices.of((0, 1))

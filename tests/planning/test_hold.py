"""When a pool may give capacity back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.planning.builders import H100, NOW, a_class, a_snapshot, a_spec, demand, done, running, said, settled

from forebay.planning.hold import MAX_RECOMMENDATIONS, hold, window_s
from forebay.planning.memory import Memory, Recommendation, Shape
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot

STABLE = 300.0


def idle(memory: Memory, **fields: Any) -> Snapshot:
    """Four replicas of which one would do."""
    return a_snapshot(**running(4), memory=memory, **fields)


def test_down_after_a_whole_window_of_less() -> None:
    assert plan(idle(settled(4))).replicas == 1


def test_not_down_before_the_window_is_over() -> None:
    decision = plan(idle(Memory(target=4, observed_since=NOW - STABLE + 1)))
    assert decision.replicas == 4
    assert any("4 held: fewer (1) must be enough for 5m" in w for w in decision.why)


def test_the_most_of_the_window_is_kept() -> None:
    past = (Recommendation(at=NOW - 200, replicas=3), Recommendation(at=NOW - 100, replicas=2))
    assert plan(idle(settled(4, recommendations=past))).replicas == 3
    assert plan(idle(settled(4, recommendations=past)).model_copy(update={"now": NOW + 150, "demand": demand(age_s=-150)})).replicas == 2


def test_the_window_covers_the_measured_start_time() -> None:
    slow = Memory(target=4, observed_since=NOW - 400, starts={"h100-on-demand": {"ready": (500.0,)}}, start_times_s=(500.0,))
    spec = a_spec(scaling={"minReplicas": 1, "maxReplicas": 20, "scaleDown": {"stabilization": "5m"}})
    assert plan(idle(slow, spec=spec)).replicas == 4
    assert plan(idle(slow.model_copy(update={"observed_since": NOW - 501}), spec=spec)).replicas == 1


def paced(per_step: int | str, current: int = 20) -> list[int]:
    """Replicas at one look a minute, of a pool of which one would do."""
    scaling = {"minReplicas": 1, "maxReplicas": 40, "scaleDown": {"maxPerStep": per_step}}
    memory, seen = settled(current), []
    for minute in range(9):
        at = NOW + 60 * minute
        snapshot = a_snapshot(spec=a_spec(scaling=scaling), memory=memory, demand=demand(age_s=-60 * minute)).model_copy(update={"now": at})
        held = hold(snapshot, 1, memory.target)
        memory = held.memory.model_copy(update={"target": held.replicas})
        seen.append(held.replicas)
    return seen


def test_after_a_rise_a_step_begins_anew() -> None:
    """Ten became eight; then 34 were asked for, which may not all go at once because ten was the count of the step before."""
    scaling = {"minReplicas": 1, "maxReplicas": 40, "scaleDown": {"maxPerStep": 2, "stabilization": "15s"}}
    memory, seen = settled(10), []
    for look, wanted in enumerate((1, 34, 1, 1)):
        at = NOW + 20 * look
        snapshot = a_snapshot(spec=a_spec(scaling=scaling), memory=memory, demand=demand(age_s=-20 * look)).model_copy(update={"now": at})
        held = hold(snapshot, wanted, memory.target)
        memory = held.memory.model_copy(update={"target": held.replicas})
        seen.append(held.replicas)
    assert seen == [8, 34, 32, 32]


def test_no_more_than_a_step_is_given_back_within_two_minutes() -> None:
    assert paced(3) == [17, 17, 14, 14, 11, 11, 8, 8, 5]
    assert paced("10%") == [18, 18, 17, 17, 16, 16, 15, 15, 14]
    assert paced("10%", current=4) == [3, 3, 2, 2, 1, 1, 1, 1, 1], "one at least"
    assert paced("100%")[0] == 1


def test_a_step_says_what_holds() -> None:
    scaling = {"minReplicas": 1, "maxReplicas": 40, "scaleDown": {"maxPerStep": 1}}
    assert any("3 held: 1 is given back within 2m" in w for w in plan(idle(settled(4), spec=a_spec(scaling=scaling))).why)


def test_a_step_counts_from_what_there_is_when_a_pause_is_over() -> None:
    """For hours less was enough and nothing was given back; then all of it would be at once."""
    memory, found, there = settled(20), [], 20
    for look in range(140):
        paused, now = look < 120, NOW + 15 * look
        spec = a_spec(scaling={"minReplicas": 1, "maxReplicas": 40, "scaleDown": {"maxPerStep": 2}, "paused": paused})
        seen = demand(0.1).model_copy(update={"measured_at": now})
        decision = plan(a_snapshot(now=now, demand=seen, spec=spec, **running(there), memory=memory))
        there, memory = there if paused else decision.replicas, decision.memory
        found.append(there)
    assert found[119:] == [20, *[18] * 8, *[16] * 8, *[14] * 4]


def test_auto_is_what_it_costs_to_start_again() -> None:
    """The learned start time, and five minutes at least."""

    def window(wished: str, *starts: float) -> float:
        known = Memory(starts={"h100-on-demand": {"ready": starts}}, start_times_s=starts) if starts else Memory()
        scaling = {"scaleDown": {"stabilization": wished}}
        return window_s(a_snapshot(spec=a_spec(scaling=scaling), memory=known))

    assert (window("Auto"), window("Auto", 100.0), window("Auto", 400.0)) == (300, 300, 400)
    assert (window("1m"), window("1m", 100.0), window("10m", 100.0)) == (60, 100, 600)


def priced_window(usd: float, start_s: float = 100.0, **accelerator: Any) -> float:
    dear = a_class(objectives={"missUsdPer1k": usd, "timeToFirstToken": {"quantile": 0.95, "target": "1s"}})
    known = settled(4, starts={"h100-on-demand": {"ready": (start_s,) * 20}}, start_times_s=(start_s,))
    known = known.model_copy(update={"shapes": {"interactive": Shape(input_tokens=200, output_tokens=100)}})
    spec = a_spec(capacity={"accelerators": [{**H100, **accelerator}]})
    return window_s(a_snapshot(classes={"interactive": dear}, memory=known, spec=spec))


def test_misses_that_are_dear_hold_for_longer() -> None:
    assert priced_window(0.01) == 300 < priced_window(2) < priced_window(20) < 100 * 100
    assert priced_window(1e4) == 100 * 100, "the most"


def test_the_window_by_price_is_the_start_and_what_is_missed_meanwhile() -> None:
    """A replica answers 6.21 requests/s and costs $6.875 an hour: at $0.0001 a miss $2.24 an hour are missed, a third of that."""
    for usd in (0.1, 0.5, 2.0):
        missed_usd = usd / 1000 * 6.21 * 3600
        assert priced_window(usd, 1000.0) == pytest.approx(1000.0 * (1 + missed_usd / 6.875), rel=0.002)
    assert priced_window(0.0, 1000.0) == 1000


def test_replicas_that_cost_nothing_are_held_no_longer_for_misses_that_cost_nothing() -> None:
    assert priced_window(0.0, 1000.0, usdPerHour={"onDemand": 0}) == 1000
    assert priced_window(1.0, 1000.0, usdPerHour={"onDemand": 0}) == 100 * 1000


@pytest.mark.parametrize("fixed", [0.5, 0.9, 0.99])
def test_a_coverage_that_is_fixed_is_for_forecasts_and_takes_nothing_from_what_misses_cost(fixed: float) -> None:
    dear = a_class(objectives={"missUsdPer1k": 2, "timeToFirstToken": {"quantile": 0.95, "target": "1s"}})
    known = settled(4, starts={"h100-on-demand": {"ready": (100.0,) * 20}}, start_times_s=(100.0,))
    known = known.model_copy(update={"shapes": {"interactive": Shape(input_tokens=200, output_tokens=100)}})

    def window(**forecast: float) -> float:
        spec = a_spec(scaling={"minReplicas": 1, "maxReplicas": 20, "forecast": forecast})
        return window_s(a_snapshot(classes={"interactive": dear}, memory=known, spec=spec))

    assert window(coverage=fixed) == window() > 300


def test_a_window_by_price_is_said_in_whole_seconds_and_where_it_comes_from() -> None:
    dear = a_class(objectives={"missUsdPer1k": 20, "timeToFirstToken": {"quantile": 0.95, "target": "1s"}})
    shapes = {"interactive": Shape(input_tokens=200, output_tokens=100)}
    known = settled(4, starts={"h100-on-demand": {"ready": (99.7,) * 20}}, start_times_s=(99.7,), shapes=shapes)
    decision = plan(idle(known, classes={"interactive": dear}))
    found = next(w for w in decision.why if "held: fewer" in w)
    assert re.search(r"enough for \d+h\d+m\d+s \([\d.]+ starts of 100 s, by missUsdPer1k and the price of a replica\) before", found)


def test_one_dip_does_not_shrink_and_one_peak_holds_for_a_window() -> None:
    memory, seen = settled(4), []
    for step in range(30):
        now = NOW + 15 * step
        rps = 20 if step == 5 else 0
        look = demand(rps=rps).model_copy(update={"measured_at": now})
        decision = plan(idle(memory, demand=look).model_copy(update={"now": now}))
        memory = decision.memory
        seen.append(decision.replicas)
    # What came since the last look is held for a start, what the window was on average for a window.
    assert seen[0] == 1 and seen[5] > seen[10] > 1
    assert set(seen[10:25]) == {seen[10]}
    assert seen[-1] == 1


def looked_at(queued: Callable[[int], float], rps: float = 1.0, start_s: float = 60.0) -> list[int]:
    """Replicas at one look every 15 s of a pool whose replicas start in a known time, with so many requests waiting at each look."""
    memory, seen = settled(4, starts={"h100-on-demand": {"ready": (start_s,)}}, start_times_s=(start_s,)), list[int]()
    for step in range(30):
        now = NOW + 15 * step
        look = demand(rps=rps, queued=queued(step)).model_copy(update={"measured_at": now})
        decision = plan(idle(memory, demand=look).model_copy(update={"now": now}))
        memory = decision.memory
        seen.append(decision.replicas)
    return seen


def test_what_drains_a_queue_is_held_until_a_start_is_over_and_no_longer() -> None:
    calm, seen = looked_at(lambda step: 0.0), looked_at(lambda step: 5000.0 if step == 5 else 0.0)
    assert calm[6:] == [calm[6]] * 24 and seen[5] > calm[5]
    assert seen[5:9] == [seen[5]] * 4, "a replica that was asked for at step 5 answers at step 9"
    assert seen[9:] == calm[9:]


def test_a_queue_that_was_says_why_replicas_are_held() -> None:
    known = settled(
        4, starts={"h100-on-demand": {"ready": (60.0,)}}, start_times_s=(60.0,), surges=(Recommendation(at=NOW - 30, replicas=4),)
    )
    decision = plan(idle(known))
    assert decision.replicas == 4 and "4 held: a queue asked for them less than a start (1m) ago" in decision.why


def test_what_drains_a_queue_is_held_as_long_as_it_stands() -> None:
    seen = looked_at(lambda step: 5000.0 if step >= 5 else 0.0)
    assert set(seen[5:]) == {seen[5]}


def test_what_drains_a_queue_does_not_outlast_what_holds_everything() -> None:
    """A start longer than the window lengthens the window too."""
    seen = looked_at(lambda step: 5000.0 if step == 5 else 0.0, start_s=330.0)
    assert set(seen[5:27]) == {seen[5]} and seen[27] < seen[5]


def test_stale_measurements_hold() -> None:
    decision = plan(idle(settled(4), demand=demand(rps=0, age_s=46)))
    assert decision.replicas == 4 and decision.memory.observed_since is None
    assert not [a for a in done(decision) if a[0] == "scale"]
    assert decision.why[0].startswith("nothing fresh was measured")


@pytest.mark.parametrize("wrong", [{"measured_at": NOW + 60}, {"window_s": 0.0}, {"window_s": -30.0}])
def test_measurements_of_a_time_to_come_or_of_none_hold(wrong: dict[str, float]) -> None:
    """A clock that was set back leaves such."""
    decision = plan(a_snapshot(demand=demand(0.1).model_copy(update=wrong), memory=settled(3), **running(3)))
    assert decision.replicas == 3 and said(decision, "MetricsFresh") == ("False", "Stale")


def test_stale_measurements_do_not_grow_either() -> None:
    assert plan(idle(settled(4), demand=demand(rps=100, age_s=46))).replicas == 4


def test_after_stale_measurements_the_window_begins_anew() -> None:
    decision = plan(idle(Memory(target=4)))
    assert decision.replicas == 4 and decision.memory.observed_since == NOW


def test_nothing_measured_and_nothing_there_is_the_floor() -> None:
    decision = plan(a_snapshot(demand=None, spec=a_spec(scaling={"minReplicas": 2, "maxReplicas": 5})))
    assert decision.replicas == 2


def test_a_lost_memory_is_made_up_from_what_is_deployed() -> None:
    assert plan(idle(Memory())).replicas == 4
    assert plan(idle(Memory(), demand=None)).replicas == 4


def test_partial_measurements_shrink_nothing() -> None:
    """Half the sidecars are too busy to answer, so half the load is seen."""
    decision = plan(idle(settled(4), demand=demand(reporting=3)))
    assert decision.replicas == 4
    assert "3 of 4 replicas were measured: nothing is given back" in decision.why
    later = plan(idle(decision.memory.model_copy(update={"observed_since": NOW - 3600}), demand=demand(reporting=4)))
    assert later.replicas == 4


def test_partial_measurements_may_grow_the_pool() -> None:
    assert plan(idle(settled(4), demand=demand(rps=40, reporting=1))).replicas > 4


def test_a_pool_whose_classes_are_deleted_is_held() -> None:
    unequal = demand(5, reporting=4).model_copy(update={"in_flight_variance": 1.0})
    decision = plan(idle(settled(4), classes={}, demand=unequal))
    assert decision.memory.target == 4 and decision.actions == () and decision.memory.router is None
    assert "none of the pool's classes exists: the pool is held as it is" in decision.why


def test_bounds_win_over_holding() -> None:
    low = a_spec(scaling={"minReplicas": 1, "maxReplicas": 2})
    assert plan(idle(settled(4), spec=low, demand=demand(age_s=1000))).replicas == 2


@pytest.mark.parametrize("rounds", [MAX_RECOMMENDATIONS - 1, MAX_RECOMMENDATIONS + 50])
def test_a_long_decline_forgets_nothing_that_binds(rounds: int) -> None:
    spec = a_spec(scaling={"minReplicas": 1, "maxReplicas": 10_000, "scaleDown": {"stabilization": "1h"}})
    memory = Memory(target=5000, observed_since=NOW - 7200)
    for step in range(rounds):
        at = NOW + step
        snapshot = a_snapshot(spec=spec, memory=memory, demand=demand(age_s=-step)).model_copy(update={"now": at})
        held = hold(snapshot, 5000 - step, memory.target)
        assert held.replicas == 5000
        memory = held.memory.model_copy(update={"target": held.replicas})
    assert len(memory.recommendations) <= MAX_RECOMMENDATIONS

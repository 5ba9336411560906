"""What saturated replicas finish is a floor under what their profile promises."""

from __future__ import annotations

from typing import Any

from tests.planning.builders import NOW, a_snapshot, a_spec, demand, running

from forebay.planning.decision import Plan
from forebay.planning.memory import Memory, Saturation
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot

LONG_S = 4 * 45


def saturated(rps: float, finished: float, *, since: float | None = NOW - LONG_S, replicas: int = 2, **fields: Any) -> Snapshot:
    """Replicas of which so many requests/s are asked, and which finish so many together; all their places are taken, and twenty wait."""
    in_flight = fields.pop("in_flight", 16.0 * replicas)
    asked = demand(rps, queued=20, reporting=replicas)
    one = asked.classes["interactive"]
    done = {"completed_per_s": finished, "input_tokens_per_s": 200 * finished, "output_tokens_per_s": 100 * finished}
    look = asked.model_copy(update={"classes": {"interactive": one.model_copy(update={**done, "in_flight": in_flight})}})
    memory = Memory(saturation=None if since is None else Saturation(since=since, replicas=replicas))
    return a_snapshot(**{"spec": a_spec(), "demand": look, "memory": memory, **running(replicas), **fields})


def shares(decision: Plan) -> list[float]:
    return list(decision.memory.throughput_shares.values())


def test_replicas_that_finish_less_than_promised_are_not_counted_on_for_more() -> None:
    trusting = plan(saturated(2.0, 1.0, since=None))
    knowing = plan(saturated(2.0, 1.0))
    assert trusting.memory.throughput_shares == {} and trusting.memory.saturation == Saturation(since=NOW, replicas=2)
    (share,) = shares(knowing)
    assert share < 0.5 and knowing.replicas > trusting.replicas
    assert any("saturated replicas finished" in why for why in knowing.why)


def test_what_was_learned_outlives_the_queue() -> None:
    learned = plan(saturated(2.0, 1.0)).memory
    calm = plan(a_snapshot(spec=a_spec(), demand=demand(2.0, reporting=4), memory=learned, **running(4)))
    assert calm.memory.throughput_shares == learned.throughput_shares and calm.memory.saturation is None
    assert any("saturated replicas finished" in why for why in calm.why)


def healthy(memory: Memory, finished: float, in_flight: float) -> Snapshot:
    """Four replicas that nobody waits for."""
    one = demand(finished, reporting=4).classes["interactive"].model_copy(update={"in_flight": in_flight})
    look = demand(finished, reporting=4).model_copy(update={"classes": {"interactive": one}})
    return a_snapshot(spec=a_spec(), demand=look, memory=memory, **running(4))


def test_a_share_that_one_slow_hour_left_is_given_up_when_replicas_are_as_fast_as_promised() -> None:
    memory = plan(saturated(2.0, 0.1)).memory
    first = memory.throughput_shares
    for _ in range(600):
        memory = memory.model_copy(update={"throughput_shares": plan(healthy(memory, 4.0, 4.0)).memory.throughput_shares})
    assert first and memory.throughput_shares == {}


def test_a_share_stays_where_replicas_take_as_long_as_it_says() -> None:
    memory = plan(saturated(2.0, 1.0)).memory
    (share,) = memory.throughput_shares.values()
    for _ in range(600):
        memory = memory.model_copy(update={"throughput_shares": plan(healthy(memory, 1.0, 30.0)).memory.throughput_shares})
    (later,) = memory.throughput_shares.values()
    assert later < 2 * share


def test_a_profile_that_is_corrected_begins_anew() -> None:
    learned = plan(saturated(2.0, 1.0)).memory
    slower = a_spec(profiles=[{"accelerator": "h100", "maxConcurrency": 16, "iteration": {"base": "200ms", "perToken": "0.5ms"}}])
    decision = plan(a_snapshot(spec=slower, demand=demand(0.2, reporting=4), memory=learned, **running(4)))
    assert not any("saturated replicas finished" in why for why in decision.why)


def test_a_queue_of_a_moment_says_nothing() -> None:
    assert plan(saturated(2.0, 1.0, since=NOW - 30)).memory.throughput_shares == {}


def test_a_replica_that_has_just_come_does_not_count_as_one_that_finished_nothing() -> None:
    memory = plan(saturated(2.0, 1.0, since=None)).memory
    more = saturated(2.0, 1.0, replicas=3).model_copy(update={"memory": memory})
    decision = plan(more)
    assert decision.memory.throughput_shares == {} and decision.memory.saturation == Saturation(since=NOW, replicas=3)


def test_replicas_with_places_left_are_not_saturated() -> None:
    assert plan(saturated(2.0, 1.0, in_flight=16)).memory.saturation is None


def test_the_best_window_counts() -> None:
    """Long answers end in waves."""
    memory = plan(saturated(2.0, 20.0, since=NOW - 60)).memory
    later = saturated(2.0, 1.0)
    kept = memory.model_copy(update={"saturation": Saturation(since=NOW - LONG_S, replicas=2, finished_per_s=10.0)})
    assert shares(plan(later.model_copy(update={"memory": kept})))[0] > 2 * shares(plan(later))[0]


def test_replicas_that_finish_nothing_say_nothing() -> None:
    assert plan(saturated(2.0, 0.0)).memory.throughput_shares == {}


def test_better_than_promised_is_as_promised() -> None:
    assert shares(plan(saturated(400.0, 300.0))) == [1.0]


def test_the_floor_respects_max_replicas() -> None:
    spec = a_spec(scaling={"minReplicas": 1, "maxReplicas": 3})
    assert plan(saturated(50.0, 0.5, spec=spec)).replicas == 3

"""A pool with minReplicas 0: when its last replica goes, and what wakes it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.planning.builders import NOW, a_class, a_pod, a_snapshot, a_spec, actions, demand, learned, on_karpenter, running, said, verdict

from forebay.planning.decision import Plan
from forebay.planning.measured import AtGateways
from forebay.planning.memory import Memory, Rest, Shape
from forebay.planning.planner import plan
from forebay.planning.sleep import hold
from forebay.planning.snapshot import Snapshot

ZERO = {"minReplicas": 0, "maxReplicas": 20}
SILENT = AtGateways(asked=2, answered=2)
ONE_HELD = AtGateways(asked=2, answered=2, held={"interactive": 1})


def asleep(gateways: AtGateways | None = SILENT, **fields: Any) -> Snapshot:
    """A pool without replicas, whose sidecars' last word is an hour old."""
    given = {"spec": a_spec(scaling=ZERO), "demand": demand(age_s=3600), "gateways": gateways, **fields}
    return a_snapshot(**given)


def idle(
    for_s: float, pauses_s: tuple[float, ...] = (), start_s: float = 100.0, gateways: AtGateways | None = SILENT, **fields: Any
) -> Snapshot:
    """A pool of one ready replica that nobody has asked for so long; it has a window of five minutes."""
    memory = Memory(
        target=1, placed=1, observed_since=NOW - 9999, looking_since=NOW - 9999, looked_at=NOW - 15, start_times_s=(start_s,),
        started_pods=("llama-h100-on-demand-0",), rest=Rest(idle_since=NOW - for_s, pauses_s=pauses_s),
    )  # fmt: skip
    given = {"spec": a_spec(scaling=ZERO), **running(1), "demand": demand(reporting=1), "gateways": gateways, "memory": memory, **fields}
    return a_snapshot(**given)


def told(decision: Plan) -> str:
    return " ".join(decision.why)


def test_a_pool_that_nobody_asks_stays_asleep_and_is_ready() -> None:
    """`kubectl wait` and Argo CD must not hang on it, and its metrics are not stale: gateways know that nobody asks."""
    decision = plan(asleep())
    assert (decision.replicas, said(decision, "Ready"), said(decision, "MetricsFresh")) == (0, ("True", "Asleep"), ("True", "Fresh"))
    assert decision.status.rate.usd_per_hour == "0.00"
    assert not actions(decision, "scale") and not actions(decision, "apply", "Deployment")


def test_the_first_request_wakes_it() -> None:
    decision = plan(asleep(ONE_HELD))
    assert decision.replicas == 1
    assert "gateways hold 1 request: the pool wakes" in told(decision)
    (note,) = decision.notes
    assert (note.reason, "0 → 1 replicas: gateways hold 1 request" in note.message) == ("ScaledUp", True)


def test_many_held_requests_wake_as_many_replicas_as_they_need() -> None:
    decision = plan(asleep(AtGateways(asked=1, answered=1, held={"interactive": 4000})))
    assert 1 < decision.replicas <= 20
    assert decision.status.demand.queued == 4000


def test_fallback_at_zero() -> None:
    """KEDA #7239: with metrics missing at zero its fallback never lifts 0 to 1. One gateway that holds a request is enough."""
    for known in (None, demand(age_s=3600)):
        decision = plan(asleep(AtGateways(asked=3, answered=1, held={"interactive": 1}), demand=known))
        assert decision.replicas == 1


def test_what_one_gateway_of_several_holds_wakes_as_many_as_it_needs() -> None:
    decision = plan(asleep(AtGateways(asked=3, answered=1, held={"interactive": 4000}), demand=None))
    assert 1 < decision.replicas <= 20


def test_a_request_of_a_class_that_the_pool_does_not_serve_wakes_it_too() -> None:
    assert plan(asleep(AtGateways(asked=1, answered=1, held={"gone": 1}))).replicas == 1


def test_a_pool_that_is_passed_over_in_its_turn_wakes() -> None:
    assert plan(asleep(AtGateways(asked=1, answered=1, passed_over=True))).replicas == 1


def test_gateways_that_do_not_answer_leave_it_asleep_and_it_says_so() -> None:
    decision = plan(asleep(AtGateways(asked=2)))
    assert (decision.replicas, said(decision, "MetricsFresh")) == (0, ("Unknown", "GatewaysSilent"))
    assert "2 of 2 gateway replicas do not answer" in verdict(decision, "Ready").message


def test_a_pool_that_no_gateway_routes_to_says_that_nobody_can_wake_it() -> None:
    decision = plan(asleep(AtGateways()))
    assert (decision.replicas, said(decision, "MetricsFresh")) == (0, ("Unknown", "NoGateway"))
    assert "Add a RoutingPolicy" in verdict(decision, "Ready").message


def test_a_gateway_that_does_not_run_is_not_a_policy_that_is_missing() -> None:
    """As while it starts, or crashes: whoever has a policy was told to add one."""
    decision = plan(asleep(AtGateways(routed=True)))
    assert (decision.replicas, said(decision, "MetricsFresh")) == (0, ("Unknown", "GatewaysSilent"))
    told = verdict(decision, "Ready").message
    assert "no replica of the gateway that routes here runs" in told and "Add a RoutingPolicy" not in told


def test_it_does_not_sleep_where_nobody_could_wake_it() -> None:
    for gateways in (AtGateways(), AtGateways(asked=2, answered=1), None):
        decision = plan(idle(9000, gateways=gateways))
        assert decision.replicas == 1
        assert "nobody could wake the pool" in told(decision)


def test_it_sleeps_after_the_window() -> None:
    assert plan(idle(299)).replicas == 1
    decision = plan(idle(300))
    assert decision.replicas == 0
    assert [a.body for a in actions(decision, "scale")] or actions(decision, "apply", "Deployment")
    (note,) = [n for n in decision.notes if n.reason == "ScaledDown"]
    assert "nobody has asked for 300 s" in note.message


def test_ski_rental_a_replica_that_starts_slowly_is_kept_idle_for_as_long_as_a_start_takes() -> None:
    assert plan(idle(899, start_s=900)).replicas == 1
    assert plan(idle(900, start_s=900)).replicas == 0


def test_a_request_that_misses_by_waiting_is_part_of_what_a_start_costs() -> None:
    """A miss of half a dollar is 261 s of an eighth of a node at $55 an hour."""
    objectives = {"timeToFirstToken": {"target": "1s"}, "missUsdPer1k": 500}
    priced = {"interactive": a_class(objectives=objectives)}
    assert plan(idle(361, start_s=100, classes=priced)).replicas == 1
    assert plan(idle(362, start_s=100, classes=priced)).replicas == 0
    unpriced = a_spec(scaling=ZERO, capacity={"accelerators": [{"name": "h100", "gpusPerNode": 8}]})
    assert plan(idle(300, start_s=100, classes=priced, spec=unpriced)).replicas == 0


def test_a_price_of_misses_counts_once_and_not_as_if_the_replica_were_full() -> None:
    """`scaleDown: Auto` holds for as long as a whole replica's misses are dear: a pool that nobody asks for hours never slept."""
    priced = {"interactive": a_class(objectives={"timeToFirstToken": {"target": "1s"}, "missUsdPer1k": 500})}
    snapshot = idle(362, start_s=100, classes=priced)
    known = {"shapes": {"interactive": Shape(input_tokens=200, output_tokens=100)}}
    snapshot = snapshot.model_copy(update={"memory": snapshot.memory.model_copy(update=known)})
    assert plan(snapshot).replicas == 0


def test_pauses_that_end_soon_are_not_worth_sleeping_through() -> None:
    """Every ten minutes somebody asks, and a start takes five: asleep after five it would have to start at once again."""
    regular = (600.0,) * 6
    awake = plan(idle(310, pauses_s=regular, start_s=300))
    assert (awake.replicas, "half of the earlier pauses" in told(awake)) == (1, True)
    assert plan(idle(310, pauses_s=(7200.0,) * 6, start_s=300)).replicas == 0
    assert plan(idle(601, pauses_s=(*regular, 7200.0), start_s=300)).replicas == 0


@given(st.lists(st.integers(300, 10**6), max_size=20), st.integers(1, 2000), st.integers(0, 10**5))
def test_idle_is_never_paid_for_longer_than_two_starts_or_the_window(pauses: list[int], start_s: int, idle_s: int) -> None:
    replicas = plan(idle(idle_s, pauses_s=tuple(pauses), start_s=start_s)).replicas
    assert replicas == 1 or idle_s >= max(300, start_s)
    assert replicas == 0 or idle_s < max(300, 2 * start_s)


def test_a_pool_that_is_asked_stays_awake_and_remembers_the_pause() -> None:
    decision = plan(idle(400, demand=demand(rps=0.1, reporting=1)))
    assert decision.replicas == 1
    assert decision.memory.rest == Rest(idle_since=None, pauses_s=(400.0,))


def test_a_pause_too_short_to_sleep_through_is_not_remembered() -> None:
    assert plan(idle(200, demand=demand(rps=0.1, reporting=1))).memory.rest == Rest()


def test_held_requests_keep_it_awake() -> None:
    assert plan(idle(9000, gateways=ONE_HELD)).replicas == 1


def test_an_idle_replica_that_was_not_measured_is_kept() -> None:
    """Two are ready and one is measured: the other may be busy."""
    decision = plan(idle(9000, **running(2), demand=demand(reporting=1)))
    assert decision.replicas >= 1
    assert decision.memory.rest == Rest()


def test_stale_metrics_never_put_it_to_sleep() -> None:
    assert plan(idle(9000, demand=demand(age_s=100, reporting=1))).replicas == 1


def test_restart_begins_the_window_anew() -> None:
    memory = idle(9000).memory.model_copy(update={"observed_since": None})
    assert plan(idle(9000, memory=memory)).replicas == 1


def test_collapse_before_the_first_replica_was_ready() -> None:
    """Knative #3153: what was woken is not given back while it starts, though whoever asked has gone, and long as it takes."""
    memory = Memory(target=3, placed=3, observed_since=NOW - 9999, rest=Rest())
    decision = plan(asleep(**running(0, pending=3, created_at=NOW - 3000), memory=memory))
    assert decision.replicas == 3
    assert "none of 3 replicas was ready yet" in told(decision)
    ready = plan(asleep(**running(1), memory=memory, demand=demand(reporting=1)))
    assert ready.replicas >= 1
    assert ready.memory.rest == Rest(idle_since=NOW)


def never_ready(for_s: float, gateways: AtGateways = SILENT, looking_s: float = 9e5, start_s: float = 100.0) -> Plan:
    """Of a pool of two replicas none of which has become ready in so long."""
    rest = Rest(unready_since=NOW - for_s)
    memory = Memory(target=2, placed=2, observed_since=NOW - 9e5, looking_since=NOW - looking_s, start_times_s=(start_s,), rest=rest)
    return plan(asleep(gateways, **running(0, pending=2, created_at=NOW - for_s), memory=memory))


def test_replicas_that_never_become_ready_are_not_paid_for_without_end() -> None:
    assert never_ready(3500).replicas == 2
    given_up = never_ready(3700)
    why = "none of its replicas was ready within 1h and nobody asks (look at their events and logs): the pool sleeps, 2 → 0 replicas"
    assert given_up.replicas == 0 and why in given_up.why
    assert any(n.reason == "ScaledDown" and why in n.message for n in given_up.notes)


def test_replicas_that_never_become_ready_stay_while_somebody_may_want_them() -> None:
    assert never_ready(9000, ONE_HELD).replicas >= 1, "asked for"
    assert never_ready(9000, AtGateways(asked=2, answered=1)).replicas == 2, "a gateway is silent"
    assert never_ready(9000, start_s=3000.0).replicas == 2, "starts are that slow"
    assert never_ready(9000, looking_s=600.0).replicas == 2, "an operator that began to look just now"


def test_how_long_none_is_ready_is_remembered() -> None:
    woken = plan(asleep(**running(0, pending=1, created_at=NOW - 50), memory=Memory(target=1, placed=1, rest=Rest())))
    assert woken.memory.rest == Rest(unready_since=NOW)
    ready = plan(asleep(**running(1), memory=woken.memory, demand=demand(reporting=1)))
    assert ready.memory.rest is not None and ready.memory.rest.unready_since is None


def test_what_found_no_room_is_not_started_for_nobody_when_there_is_some() -> None:
    """No pod is ever made of it: limits, or a quota, leave none. Hours after whoever asked has gone, one more GPU would start it."""
    full = a_spec(scaling=ZERO, capacity=on_karpenter(limits={"gpus": 0}))
    decision, now = plan(asleep(ONE_HELD, spec=full)), NOW
    for _ in range(100):
        now += 45
        decision = plan(asleep(spec=full, memory=decision.memory, now=now))
    assert (decision.memory.target, said(decision, "Ready")) == (0, ("True", "Asleep"))
    assert plan(asleep(memory=decision.memory, now=now + 45)).replicas == 0


def looked_on(snapshot: Snapshot, back_s: float, looks: int) -> list[int]:
    """Replicas look by look, every quarter of a minute, after the clock was set back."""
    found, now, memory = [], NOW - back_s, snapshot.memory.model_copy(update={"looked_at": NOW})
    for _ in range(looks):
        seen = snapshot.demand.model_copy(update={"measured_at": now}) if snapshot.demand else None
        decision = plan(snapshot.model_copy(update={"now": now, "memory": memory, "demand": seen}))
        found.append(decision.replicas)
        memory, now = decision.memory, now + 15
    return found


def test_clock_step_keeps_nothing_idle_for_as_long_as_it_was_set_back() -> None:
    """What had begun would begin in a day: an idle replica, or one that never becomes ready, would be paid for until then."""
    assert looked_on(idle(200), 86400, 24) == [1] * 20 + [0] * 4
    memory = Memory(target=1, placed=1, start_times_s=(100.0,), rest=Rest(unready_since=NOW))
    broken = asleep(**running(0, pending=1, created_at=NOW - 90000), memory=memory, demand=None)
    assert looked_on(broken, 86400, 244) == [1] * 240 + [0] * 4


def test_a_forecast_that_is_trusted_wakes_it_before_anybody_asks() -> None:
    memory = learned([20.0 + minute % 3 for minute in range(70)])
    assert plan(asleep(memory=memory)).replicas >= 1
    assert "the forecast expects" in told(plan(asleep(memory=memory)))


def test_no_class_no_replica() -> None:
    assert plan(asleep(ONE_HELD, classes={})).replicas == 0


def test_without_a_profile_it_wakes_to_one_replica() -> None:
    spec = a_spec(scaling=ZERO, profiles=[])
    assert (plan(asleep(spec=spec)).replicas, plan(asleep(ONE_HELD, spec=spec)).replicas) == (0, 1)


def test_limits_hold_for_a_pool_that_wakes() -> None:
    spec = a_spec(scaling=ZERO, capacity=on_karpenter(limits={"gpus": 0}))
    decision = plan(asleep(ONE_HELD, spec=spec))
    assert (decision.replicas, said(decision, "Ready")) == (0, ("False", "NoReplicas"))
    assert said(decision, "BudgetRespected") == ("True", "Limited")


def test_node_pools_of_a_pool_that_sleeps_allow_no_node() -> None:
    spot = {"enabled": True, "maxShare": 0.5}
    spec = a_spec(scaling=ZERO, capacity=on_karpenter(spot=spot, onDemand={"baseReplicas": 2}))
    decision = plan(asleep(spec=spec))
    assert [a.body["spec"]["limits"] for a in actions(decision, "apply", "NodePool")] == [{"nvidia.com/gpu": "0"}] * 2
    woken = plan(asleep(ONE_HELD, spec=spec))
    assert (woken.status.desired.on_demand, woken.status.desired.spot) == (1, 0)


def test_recommend_says_that_it_would_sleep() -> None:
    decision = plan(idle(9000, spec=a_spec(scaling=ZERO, mode="Recommend")))
    assert (decision.replicas, decision.actions) == (0, ())
    assert [n.reason for n in decision.notes] == ["RecommendedDown"]
    spec, seen = a_spec(scaling=ZERO, mode="Recommend"), demand(reporting=1, age_s=-15)
    again = plan(idle(9000, spec=spec, memory=decision.memory, now=NOW + 15, demand=seen))
    assert (again.replicas, again.notes) == (0, ()), "it is told once, and not at each look"


def test_a_pool_that_must_not_sleep_is_decided_as_before() -> None:
    one = a_snapshot(gateways=None)
    assert plan(one).memory.rest is None
    assert plan(idle(9000, spec=a_spec())).replicas == 1


def test_a_terminating_pod_does_not_interrupt_the_pause() -> None:
    memory = idle(400).memory.model_copy(update={"target": 0})
    going = a_pod("llama-h100-on-demand-0", deleting=True)
    decision = plan(asleep(pods=(going,), memory=memory))
    assert (decision.replicas, decision.memory.rest) == (0, Rest(idle_since=NOW - 400))


def test_gateways_hold_for_as_long_as_a_class_may_wait_and_a_start_takes() -> None:
    classes = {"interactive": a_class(queue={"maxDepth": 7, "maxWait": "10s"}), "none": a_class(queue={"maxDepth": 0, "maxWait": "0s"})}
    assert hold(109.0, classes) == {
        "startSeconds": 120.0,
        "classes": {
            "interactive": {"maxWaitSeconds": 130.0, "maxRequests": 7},
            "none": {"maxWaitSeconds": 120.0, "maxRequests": 1},
        },
    }


@given(st.floats(0, 1e5))
def test_the_start_time_that_gateways_are_told_is_never_optimistic_within_bounds(start_s: float) -> None:
    told_s = hold(start_s, {})["startSeconds"]
    assert told_s >= min(start_s, 3200.0) and told_s <= max(0.1, 1.25 * start_s)


def woken(snapshot: Snapshot, held: tuple[int, ...]) -> Memory:
    """What is remembered after so many were held in the looks of a wake, and a replica was ready then."""
    for count in held:
        memory = plan(snapshot).memory
        snapshot = asleep(AtGateways(asked=2, answered=2, held={"interactive": count}), memory=memory)
    memory = plan(snapshot).memory
    return plan(idle(0, memory=memory.model_copy(update={"observed_since": NOW - 9999, "looking_since": NOW - 9999}))).memory


def test_as_many_misses_as_waited_in_earlier_wakes_are_part_of_what_a_start_costs() -> None:
    """Traffic that comes back at its full rate has more than one request wait for the start: the most that was held of each wake."""
    memory = woken(asleep(), (1, 20, 12))
    assert memory.rest is not None and (memory.rest.wakes, memory.rest.waiting) == (({"interactive": 20},), {})
    priced = {"interactive": a_class(objectives={"timeToFirstToken": {"target": "1s"}, "missUsdPer1k": 500})}
    rest = Rest(wakes=({"interactive": 3}, {"interactive": 1, "unpriced": 900}))

    def after(idle_s: float) -> Plan:
        start = idle(idle_s, start_s=100, classes=priced)
        known = start.memory.rest
        assert known is not None
        rests = rest.model_copy(update={"idle_since": known.idle_since})
        return plan(start.model_copy(update={"memory": start.memory.model_copy(update={"rest": rests})}))

    # Two misses of half a dollar are 524 s of an eighth of a node at $55 an hour.
    assert after(623).replicas == 1
    assert after(624).replicas == 0
    assert "a start costs 624 s of a replica, 100 s its own time, the rest by missUsdPer1k for the 2 requests" in told(after(624))


def test_what_is_held_for_a_pool_that_did_not_sleep_says_nothing_of_what_sleep_costs() -> None:
    """A replica that crashed has requests wait too."""
    crashed = asleep(AtGateways(asked=2, answered=2, held={"interactive": 50}), memory=Memory(target=1, looked_at=NOW - 15))
    rest = plan(crashed).memory.rest
    assert rest is not None and (rest.waiting, rest.wakes) == ({}, ())


def test_a_wake_that_came_to_nothing_is_forgotten() -> None:
    memory = plan(asleep(AtGateways(asked=2, answered=2, held={"interactive": 50}))).memory
    assert memory.rest is not None and memory.rest.waiting == {"interactive": 50}
    rest = plan(asleep(memory=memory.model_copy(update={"target": 0}))).memory.rest
    assert rest is not None and rest.waiting == {}

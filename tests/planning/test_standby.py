"""Replicas that are kept ready beyond what the load needs."""

from __future__ import annotations

from typing import Any

import pytest
from tests.planning.builders import a_profile, a_snapshot, a_spec, demand, desired, learned, on_karpenter, running, settled

from forebay.planning.decision import Plan
from forebay.planning.planner import plan
from forebay.planning.variants import preferred_profile, profile_key

WAVES = [10.0 + 4 * (minute % 5) for minute in range(70)]


def planned(standby: int | str, rps: float = 12, at_least: int = 1, at_most: int = 40, memory: Any = None, **fields: Any) -> Plan:
    scaling = {"minReplicas": at_least, "maxReplicas": at_most, "warmStandby": standby}
    return plan(a_snapshot(spec=a_spec(scaling=scaling, **fields), demand=demand(rps), memory=memory or settled(1), **running(1)))


def test_a_number_is_kept_beside_what_is_needed() -> None:
    bare, two = planned(0), planned(2)
    assert desired(two)[0] == desired(bare)[0] + 2
    assert (bare.status.desired.warm_standby, two.status.desired.warm_standby) == (0, 2)
    assert any(w.startswith("warmStandby: 2 more than needed are to be ready") for w in two.why)


def test_the_event_says_what_the_count_comes_from() -> None:
    """Of two that are to be ready beside one, and of a floor of three, it said `1 → 3 replicas: 1 replicas by floor`."""
    for standby, floor, said in ((2, 1, "warmStandby: 2 more than needed are to be ready"), (0, 3, "minReplicas")):
        (event,) = [n for n in planned(standby, rps=0.1, at_least=floor).notes if n.reason == "ScaledUp"]
        assert event.message == f"1 → 3 replicas: {said}: 3 replicas"
    (event,) = [n for n in planned(0).notes if n.reason == "ScaledUp"]
    assert "3 replicas by interactive/timeToFirstToken" in event.message, "the load's own sentence, where that is all of it"


def test_what_min_replicas_holds_beyond_the_need_is_ready_already() -> None:
    assert desired(planned(2, rps=0.1, at_least=3)) == (3, 0)
    assert desired(planned(2, rps=0.1, at_least=2)) == (3, 0)


def of_two_kinds(standby: int, rps: float, at_least: int, **usd: float) -> Plan:
    """The same pool, that may have replicas of an accelerator half as fast as well; what they cost decides which it has."""
    slow = a_profile("a100", iteration={"base": "40ms", "perToken": "0.1ms", "perKvToken": "0.4us"})
    listed = [{"name": name, "gpusPerNode": 1, "usdPerHour": {"onDemand": price}} for name, price in usd.items()]
    return planned(standby, rps, at_least, profiles=[a_profile(), slow], capacity={"accelerators": listed})


@pytest.mark.parametrize("usd", [{"h100": 10, "a100": 3}, {"h100": 10, "a100": 30}], ids=["the slow are cheaper", "the fast are"])
def test_what_min_replicas_holds_beyond_the_need_counts_for_several_accelerators_too(usd: dict[str, float]) -> None:
    for at_least, replicas in ((3, 3), (2, 3), (1, 3), (5, 5)):
        found = of_two_kinds(2, 0.1, at_least, **usd)
        assert (found.replicas, found.status.desired.warm_standby) == (replicas, 2)


def test_of_several_accelerators_what_the_load_needs_is_no_standby() -> None:
    """What minReplicas holds beyond the need is three, and a fourth is beyond minReplicas."""
    usd = {"h100": 10, "a100": 3}
    need = of_two_kinds(0, 12, 1, **usd).replicas
    assert need > 2
    assert of_two_kinds(3, 12, need + 3, **usd).replicas == need + 3
    assert of_two_kinds(4, 12, need + 3, **usd).replicas == need + 4


def test_what_saturated_replicas_show_to_be_needed_is_no_standby() -> None:
    """By its profile the pool needs less than minReplicas, by what its replicas finish as much."""

    def found(standby: int, at_least: int) -> Plan:
        scaling = {"minReplicas": at_least, "maxReplicas": 40, "warmStandby": standby}
        memory = settled(1, throughput_shares={profile_key(preferred_profile(a_spec())[0]): 0.1})
        return plan(a_snapshot(spec=a_spec(scaling=scaling), demand=demand(12), memory=memory, **running(1)))

    need = found(0, 1).replicas
    assert need > planned(0).replicas
    assert (found(0, need).replicas, found(2, need).replicas, found(2, need + 1).replicas) == (need, need + 2, need + 2)


def test_never_beyond_max_replicas() -> None:
    decision = planned(5, rps=12, at_most=4)
    assert desired(decision) == (4, 0)
    assert decision.status.desired.warm_standby == 4 - planned(0).replicas


def test_never_beyond_the_limits() -> None:
    bare = planned(0, rps=60)
    decision = planned(8, rps=60, capacity=on_karpenter(limits={"gpus": 16}))
    assert decision.replicas == 16 and decision.status.desired.warm_standby == 16 - bare.replicas < 8


def test_auto_keeps_what_the_forecasts_bound_leaves_open() -> None:
    """The same as sizing by a coverage of 0.99 would, and no more: nothing is counted twice."""
    memory = learned(WAVES)
    auto, bare = planned("Auto", rps=100, memory=memory), planned(0, rps=100, memory=memory)
    low = [planned(s, rps=12, memory=memory) for s in (0, "Auto")]
    scaling = {"minReplicas": 1, "maxReplicas": 40, "forecast": {"coverage": 0.99}}
    wide = plan(a_snapshot(spec=a_spec(scaling=scaling), demand=demand(12), memory=memory, **running(1)))
    assert low[1].replicas == wide.replicas >= low[0].replicas
    assert low[1].status.desired.warm_standby == wide.replicas - low[0].replicas
    assert auto.replicas == bare.replicas, "what is measured is more than the bound already"


def test_auto_keeps_nothing_where_no_forecast_is_believed() -> None:
    assert planned("Auto").replicas == planned(0).replicas
    assert any("Auto keeps 0" in w for w in planned("Auto").why)


@pytest.mark.parametrize("standby", [0, 3])
def test_no_profile_no_standby(standby: int) -> None:
    decision = planned(standby, profiles=[])
    assert decision.replicas == 1 and decision.status.desired.warm_standby == 0

"""Replicas that are kept ready beyond what the load needs."""

from __future__ import annotations

from typing import Any

import pytest
from tests.planning.builders import a_snapshot, a_spec, demand, desired, learned, on_karpenter, running, settled

from forebay.planning.decision import Plan
from forebay.planning.planner import plan

WAVES = [10.0 + 4 * (minute % 5) for minute in range(70)]


def planned(standby: int | str, rps: float = 12, at_least: int = 1, at_most: int = 40, memory: Any = None, **fields: Any) -> Plan:
    scaling = {"minReplicas": at_least, "maxReplicas": at_most, "warmStandby": standby}
    return plan(a_snapshot(spec=a_spec(scaling=scaling, **fields), demand=demand(rps), memory=memory or settled(1), **running(1)))


def test_a_number_is_kept_beside_what_is_needed() -> None:
    bare, two = planned(0), planned(2)
    assert desired(two)[0] == desired(bare)[0] + 2
    assert (bare.status.desired.warm_standby, two.status.desired.warm_standby) == (0, 2)
    assert any(w.startswith("warmStandby: 2 more than needed are kept ready") for w in two.why)


def test_what_min_replicas_holds_beyond_the_need_is_ready_already() -> None:
    assert desired(planned(2, rps=0.1, at_least=3)) == (3, 0)
    assert desired(planned(2, rps=0.1, at_least=2)) == (3, 0)


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

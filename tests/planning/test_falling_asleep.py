"""A pool with minReplicas 0 gives up all it has, standby too, and no faster than `scaleDown.maxPerStep`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.planning.builders import NOW, a_snapshot, a_spec, demand, running
from tests.planning.test_sleep import ONE_HELD, SILENT, ZERO, asleep, told

from forebay.planning.decision import Plan
from forebay.planning.measured import AtGateways
from forebay.planning.memory import Memory, Rest
from forebay.planning.planner import plan


def spec(per_step: int | str = "100%", standby: int | str = 0, mode: str = "Enforce") -> Any:
    return a_spec(mode=mode, scaling={**ZERO, "warmStandby": standby, "scaleDown": {"maxPerStep": per_step}})


def idle(ready: int, of: Any, for_s: float = 300, gateways: AtGateways = SILENT, rps: float = 0.0, target: int | None = None) -> Plan:
    """Of a pool that nobody has asked for so long; it has a window of five minutes."""
    count = ready if target is None else target
    memory = Memory(
        target=count, placed=count, observed_since=NOW - 9999, looking_since=NOW - 9999, looked_at=NOW - 15, start_times_s=(100.0,),
        rest=Rest(idle_since=NOW - for_s),
    )  # fmt: skip
    return plan(a_snapshot(spec=of, demand=demand(rps, reporting=ready), gateways=gateways, memory=memory, **running(ready)))


def looked_on(ready: int, of: Any, looks: int) -> list[Plan]:
    """Decision by decision, every 15 s from 200 s of idleness on; in mode Recommend the replicas stay, whatever is decided."""
    found, there, memory = list[Plan](), ready, Memory(
        target=ready, placed=ready, observed_since=NOW - 9999, looking_since=NOW - 9999, looked_at=NOW - 15, start_times_s=(100.0,),
        rest=Rest(idle_since=NOW - 200),
    )  # fmt: skip
    for look in range(looks):
        seen = demand(reporting=there, age_s=-15 * look)
        known = running(there) if there else {}
        found.append(plan(a_snapshot(now=NOW + 15 * look, spec=of, demand=seen, gateways=SILENT, memory=memory, **known)))
        memory, there = found[-1].memory, there if found[-1].dry else found[-1].replicas
    return found


def counts(decisions: list[Plan]) -> list[int]:
    return [decision.replicas for decision in decisions]


@pytest.mark.parametrize("mode", ["Enforce", "Recommend"])
def test_the_last_replica_is_given_back_at_the_pace_that_is_set_and_stays_so(mode: str) -> None:
    """In mode Recommend 2 and 0 took turns: what was left of a step went with it, and that none was decided was forgotten."""
    decisions = looked_on(3, spec(1, mode=mode), 40)
    assert counts(decisions) == [2] * 8 + [1] * 8 + [0] * 24
    assert [(n.reason.removeprefix("Recommended").removeprefix("Scaled")) for d in decisions for n in d.notes] == ["Down"] * 3
    assert "1 held: 1 is given back within 2m" in decisions[9].why


def test_standby_does_not_keep_a_pool_awake() -> None:
    """Three are kept while somebody may come, all of them until the one replica would have gone, and then none."""
    assert (idle(3, spec(standby=2), 299).replicas, idle(1, spec(standby=2), 299).replicas) == (3, 3)
    decision = idle(3, spec(standby=2))
    assert (decision.replicas, decision.status.desired.warm_standby) == (0, 0)
    (note,) = decision.notes
    assert (
        note.reason == "ScaledDown" and "nobody has asked for 300 s" in note.message and "the pool sleeps, 3 → 0 replicas" in note.message
    )
    assert plan(asleep(spec=spec(standby=2), memory=decision.memory)).replicas == 0


def test_a_pool_wakes_to_its_standby_too() -> None:
    assert plan(asleep(ONE_HELD, spec=spec(standby=2))).replicas == 3


def test_standby_is_kept_while_the_pool_must_stay_awake() -> None:
    assert idle(3, spec(standby=2), 9000, gateways=ONE_HELD).replicas == 3
    assert idle(3, spec(standby=2), 9000, rps=0.1).replicas == 3
    silent = idle(3, spec(standby=2), 9000, gateways=AtGateways(asked=2, answered=1))
    assert silent.replicas == 3 and "nobody could wake the pool, so the last 3 replicas stay" in told(silent)


def test_what_the_load_needs_beyond_one_keeps_a_pool_awake_with_its_standby() -> None:
    need = idle(3, spec(), 9000, rps=20.0).replicas
    assert need > 1 and idle(3, spec(standby=2), 9000, rps=20.0).replicas == need + 2


def test_standby_goes_at_the_pace_that_is_set() -> None:
    decisions = looked_on(3, spec(1, standby=2), 40)
    assert counts(decisions) == [3] * 7 + [2] * 8 + [1] * 8 + [0] * 17
    assert [d.status.desired.warm_standby for d in decisions[6:26:8]] == [2, 1, 0]
    (first, *_) = [n for d in decisions for n in d.notes]
    assert first.message.startswith("3 → 2 replicas: nobody has asked for 305 s")


def test_a_pool_that_is_asked_while_its_standby_goes_is_whole_again() -> None:
    going = idle(3, spec(1, standby=2), 9000).memory
    assert going.target == 2
    asked = a_snapshot(
        now=NOW + 15, spec=spec(1, standby=2), demand=demand(0.1, reporting=2, age_s=-15), gateways=SILENT, memory=going, **running(2)
    )
    assert plan(asked).replicas == 3


def test_replicas_that_mode_recommend_leaves_wake_the_pool_when_they_are_asked() -> None:
    """No gateway holds what they answer."""
    recommended = spec(mode="Recommend")
    assert idle(3, recommended, target=0).replicas == 0
    asked = idle(3, recommended, rps=20.0, target=0)
    assert asked.replicas > 1 and "its replicas are asked: the pool wakes" in told(asked)


def test_a_sleep_that_is_recommended_stays_so_over_a_restart_of_the_operator() -> None:
    """It was told as it is deployed until metrics had come, and for a window after that."""
    memory, of = idle(3, spec(mode="Recommend")).memory, spec(mode="Recommend")
    assert memory.target == 0
    for look in range(40):
        seen = None if look < 2 else demand(reporting=3, age_s=-600 - 15 * look)
        decision = plan(a_snapshot(now=NOW + 600 + 15 * look, spec=of, demand=seen, gateways=SILENT, memory=memory, **running(3)))
        assert (decision.replicas, decision.notes) == (0, ()), look
        memory = decision.memory
    asked = a_snapshot(now=NOW + 1215, spec=of, demand=demand(5.0, reporting=3, age_s=-1215), gateways=SILENT, memory=memory, **running(3))
    assert plan(asked).replicas >= 1


def test_what_is_there_does_not_go_by_an_earlier_decision_while_nothing_is_measured() -> None:
    """Mode Recommend had let the pool sleep; in mode Enforce its replicas are not taken away unseen."""
    slept = idle(3, spec(mode="Recommend"), target=0).memory
    assert slept.target == 0
    blind = a_snapshot(spec=spec(), demand=None, gateways=SILENT, memory=slept, **running(3))
    assert plan(blind).replicas == 3
    assert plan(blind.model_copy(update={"demand": demand(reporting=3)})).replicas == 0

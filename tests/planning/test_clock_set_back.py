"""A clock that is set back, by NTP or by hand, delays nothing by the step: what was a moment ago still is."""

from __future__ import annotations

from tests.planning.builders import NOW, a_snapshot, settled
from tests.planning.test_profiles import looking, steps
from tests.planning.test_sleep import idle

from forebay.planning.hold import unbroken
from forebay.planning.memory import Memory, Partitioning, Rest, Saturation, Unavailable
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot

STEP_S = 3600.0
LATER = NOW + STEP_S
"""The time before the step."""


def next_look(snapshot: Snapshot, memory: Memory, by_s: float = 15.0) -> Snapshot:
    now = snapshot.now + by_s
    measured = snapshot.demand.model_copy(update={"measured_at": now}) if snapshot.demand else None
    return snapshot.model_copy(update={"now": now, "demand": measured, "memory": memory})


def test_what_is_remembered_keeps_its_age() -> None:
    memory = settled(
        2,
        looked_at=LATER,
        rest=Rest(idle_since=LATER - 100, pauses_s=(400.0,), unready_since=LATER - 20),
        unavailable={"h100-spot": Unavailable(since=LATER - 60, until=LATER + 540)},
        partitioning={"node-1": Partitioning(config="seven", phase="Applying", since=LATER - 40)},
        saturation=Saturation(since=LATER - 30, replicas=2),
        spot_hold_until=LATER + 200,
    )
    found = unbroken(a_snapshot(memory=memory))
    assert found.rest == Rest(idle_since=NOW - 100, pauses_s=(400.0,), unready_since=NOW - 20)
    assert found.unavailable == {"h100-spot": Unavailable(since=NOW - 60, until=NOW + 540)}
    assert found.partitioning["node-1"].since == NOW - 40 and found.spot_hold_until == NOW + 200
    assert found.saturation == Saturation(since=NOW - 30, replicas=2) and found.looked_at == NOW


def test_a_pool_sleeps_after_a_window_and_not_after_the_step() -> None:
    snapshot = idle(100)
    decision = plan(snapshot)
    snapshot = next_look(snapshot, decision.memory, -STEP_S)
    for _ in range(30):
        decision = plan(snapshot)
        snapshot = next_look(snapshot, decision.memory)
    assert decision.replicas == 0


def test_a_profile_goes_on_learning() -> None:
    snapshot = looking(steps())
    known = plan(snapshot).memory
    (before,) = (p.moments.count for p in known.profiles.values())
    stepped = next_look(snapshot, known, -STEP_S)
    memory = plan(stepped).memory
    assert [p.moments.count for p in memory.profiles.values()] == [before], "what came between is not known"
    memory = plan(next_look(stepped, memory, 45.0)).memory
    assert next(iter(memory.profiles.values())).moments.count > before

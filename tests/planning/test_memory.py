"""What a decision learns from the moment it looks at, and how much of it is kept."""

from __future__ import annotations

from tests.planning.builders import NOW, a_pod, a_snapshot, demand, running, settled

from forebay.planning.memory import Memory
from forebay.planning.planner import plan
from forebay.planning.snapshot import PodView, Snapshot
from forebay.planning.starts import MAX_START_TIMES, MAX_STARTED_PODS


def seen(*pods: PodView, memory: Memory | None = None) -> Memory:
    """The memory after one look at these replicas."""
    return plan(a_snapshot(pods=pods, memory=memory or Memory())).memory


def test_start_times_are_learned_once_per_replica() -> None:
    pod = a_pod("a", created_at=NOW - 100)
    first = seen(pod)
    assert first.start_times_s == (30.0,) and first.started_pods == ("a",)
    flapped = pod.model_copy(update={"ready_at": NOW - 10})
    assert seen(flapped, memory=first).start_times_s == (30.0,)


def test_a_replica_that_is_ready_again_after_an_hour_did_not_take_an_hour_to_start() -> None:
    """An operator without memory sees only when a replica became ready last."""
    again = a_pod("a", created_at=NOW - 7200).model_copy(update={"ready_at": NOW - 60})
    memory = seen(again)
    assert memory.start_times_s == () and memory.started_pods == ("a",)


def test_clocks_that_disagree_teach_nothing() -> None:
    before = a_pod("a", created_at=NOW - 10).model_copy(update={"ready_at": NOW - 20})
    assert seen(before).start_times_s == ()


def test_what_is_kept_is_bounded() -> None:
    many = tuple(a_pod(f"p{i}") for i in range(MAX_STARTED_PODS + 500))
    memory = seen(*many)
    assert len(memory.started_pods) == MAX_STARTED_PODS and len(memory.start_times_s) == MAX_START_TIMES
    again = seen(*many, memory=memory)
    assert again.started_pods == memory.started_pods, "the rest is not learned anew every round"
    assert seen(many[0], memory=again).started_pods == ("p0",), "those that are gone make room"


def test_stale_measurements_teach_nothing() -> None:
    assert plan(a_snapshot(demand=demand(rps=9, age_s=60))).memory.history == {}
    assert plan(a_snapshot(demand=demand(rps=9))).memory.history["interactive"][-1].requests_per_s == 9


def test_memory_stays_small_enough_to_be_saved() -> None:
    """A ConfigMap holds one mebibyte."""
    names = tuple(a_pod(f"llama-h100-on-demand-7d9c8b6f5d-{i:05}") for i in range(3000))
    snapshot = a_snapshot(pods=names, memory=settled(20))
    for step in range(100):
        at = NOW + step * 3
        look = demand(rps=50 - step % 40, age_s=-3 * step)
        decision = plan(snapshot.model_copy(update={"now": at, "demand": look}))
        snapshot = snapshot.model_copy(update={"memory": decision.memory})
    assert len(decision.memory.model_dump_json(by_alias=True)) < 200_000


def test_memory_survives_being_saved() -> None:
    snapshot: Snapshot = a_snapshot(**running(2), demand=demand(rps=7.3), memory=settled(2))
    memory = plan(snapshot).memory
    assert Memory.model_validate_json(memory.model_dump_json(by_alias=True)) == memory

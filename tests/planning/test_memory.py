"""What a decision learns from the moment it looks at, and how much of it is kept."""

from __future__ import annotations

from tests.planning.builders import NOW, a_class, a_deployment, a_pod, a_snapshot, a_spec, demand, running, settled

from forebay.planning.memory import Memory
from forebay.planning.outlook import MOST_CLASSES
from forebay.planning.planner import plan
from forebay.planning.snapshot import PodView, Snapshot
from forebay.planning.starts import MAX_START_TIMES, MAX_STARTED_PODS, mark


def seen(*pods: PodView, memory: Memory | None = None) -> Memory:
    """The memory after one look at these replicas."""
    return plan(a_snapshot(pods=pods, memory=memory or Memory())).memory


def test_start_times_are_learned_once_per_replica() -> None:
    pod = a_pod("a", created_at=NOW - 100)
    first = seen(pod)
    assert first.start_times_s == (30.0,) and first.started_pods == (mark("a"),)
    flapped = pod.model_copy(update={"ready_at": NOW - 10})
    assert seen(flapped, memory=first).start_times_s == (30.0,)


def test_a_replica_that_is_ready_again_after_an_hour_did_not_take_an_hour_to_start() -> None:
    """An operator without memory sees only when a replica became ready last."""
    again = a_pod("a", created_at=NOW - 7200).model_copy(update={"ready_at": NOW - 60})
    memory = seen(again)
    assert memory.start_times_s == () and memory.started_pods == (mark("a"),)


def test_clocks_that_disagree_teach_nothing() -> None:
    before = a_pod("a", created_at=NOW - 10).model_copy(update={"ready_at": NOW - 20})
    assert seen(before).start_times_s == ()


def test_what_is_kept_is_bounded() -> None:
    many = tuple(a_pod(f"p{i}") for i in range(MAX_STARTED_PODS + 500))
    memory = seen(*many)
    assert len(memory.started_pods) == MAX_STARTED_PODS and len(memory.start_times_s) == MAX_START_TIMES
    again = seen(*many, memory=memory)
    assert again.started_pods == memory.started_pods, "the rest is not learned anew every round"
    assert seen(many[0], memory=again).started_pods == (mark("p0"),), "those that are gone make room"


def test_stale_measurements_teach_nothing() -> None:
    assert plan(a_snapshot(demand=demand(rps=9, age_s=60))).memory.history == {}
    assert plan(a_snapshot(demand=demand(rps=9))).memory.history["interactive"][-1].requests_per_s == 9


def test_the_memory_of_a_large_pool_of_many_classes_stays_small() -> None:
    """Sixteen classes, a thousand replicas, and a look every four seconds: a pool's history alone may be 100 kB."""
    names = [f"class-with-a-longer-name-{i}" for i in range(16)]
    spec = a_spec(classes=names, scaling={"minReplicas": 1000, "maxReplicas": 10_000})
    pods = tuple(a_pod(f"llama-70b-h100-on-demand-6f9c7d5b4-{i:05}", node="node-1") for i in range(1000))
    snapshot = a_snapshot(spec=spec, classes={name: a_class() for name in names}, pods=pods, deployments=(a_deployment(1000, ready=1000),))
    for look in range(75):
        one = demand(1 + 0.01 * look).classes["interactive"]
        measured = demand(age_s=-4.0 * look).model_copy(update={"classes": dict.fromkeys(names, one)})
        memory = plan(snapshot.model_copy(update={"now": NOW + 4.0 * look, "demand": measured})).memory
        snapshot = snapshot.model_copy(update={"memory": memory})
    forecasts = sum(len(f.model_dump_json(by_alias=True)) for f in memory.forecasts.values())
    assert forecasts < 100_000 and len(memory.model_dump_json(by_alias=True)) < 110_000
    assert len(memory.started_pods) == 1000 and len(memory.forecasts) == MOST_CLASSES
    assert all(10 < len(points) <= 20 for points in memory.history.values())


def test_names_that_an_earlier_version_remembered_are_known_again() -> None:
    memory = seen(a_pod("a", created_at=NOW - 100), memory=Memory(started_pods=("a", "gone")))
    assert memory.start_times_s == () and memory.started_pods == (mark("a"),)


def test_memory_survives_being_saved() -> None:
    snapshot: Snapshot = a_snapshot(**running(2), demand=demand(rps=7.3), memory=settled(2))
    memory = plan(snapshot).memory
    assert Memory.model_validate_json(memory.model_dump_json(by_alias=True)) == memory

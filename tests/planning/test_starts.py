"""How long replicas take to start: by variant and stage, from what the cluster shows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.planning.builders import A100, H100, NOW, a_pod, a_profile, a_snapshot, a_spec, learned, running, settled

from forebay.planning.demand import outlook_of
from forebay.planning.memory import Memory
from forebay.planning.planner import plan
from forebay.planning.snapshot import PodView
from forebay.planning.starts import MAX_START_TIMES, MAX_VARIANTS, lead_of, lead_time_s, quantile, stage_times


def started(name: str = "a", node: float = 40, image: float = 20, load: float = 60, **fields: Any) -> PodView:
    """A replica that was made ten minutes ago, with the seconds of its stages."""
    made = NOW - 600
    times: dict[str, Any] = {"created_at": made, "scheduled_at": made + node, "running_at": made + node + image}
    return a_pod(name, **times, **fields).model_copy(update={"ready_at": made + node + image + load})


def after(*pods: PodView, memory: Memory | None = None) -> Memory:
    return plan(a_snapshot(pods=pods, memory=memory or Memory())).memory


def test_lead_time_is_that_of_the_slow_ones() -> None:
    assert lead_time_s(Memory()) == 60
    assert lead_time_s(Memory(start_times_s=tuple(float(t) for t in range(1, 11)))) == 10
    assert lead_time_s(Memory(start_times_s=(*(10.0,) * 19, 500.0))) == 10


def test_each_stage_is_learned() -> None:
    memory = after(started())
    assert memory.starts == {"h100-on-demand": {"node": (40.0,), "image": (20.0,), "load": (60.0,), "ready": (120.0,)}}


def test_a_startup_probe_parts_weights_from_warming_up() -> None:
    """Its passing has no time of its own, so it is when it was first seen."""
    loading = a_pod("a", ready=False, created_at=NOW - 100, scheduled_at=NOW - 90, running_at=NOW - 80, loaded=False)
    memory = after(loading)
    assert memory.loaded_at == {}
    memory = after(loading.model_copy(update={"loaded": True}), memory=memory)
    assert memory.loaded_at == {"a": NOW}
    ready = loading.model_copy(update={"loaded": True, "ready": True, "ready_at": NOW + 15})
    memory = after(ready, memory=memory)
    assert memory.loaded_at == {}
    assert memory.starts["h100-on-demand"] == {
        "node": (10.0,), "image": (10.0,), "load": (95.0,), "weights": (80.0,), "warmUp": (15.0,), "ready": (115.0,),
    }  # fmt: skip


def test_a_probe_that_was_not_seen_to_pass_parts_nothing() -> None:
    """An operator that has just been installed finds replicas that are ready."""
    assert set(after(started(loaded=True)).starts["h100-on-demand"]) == {"node", "image", "load", "ready"}


def test_a_server_that_was_started_again_has_no_stages() -> None:
    """When its first process started is not known any more."""
    again = started().model_copy(update={"running_at": None})
    assert after(again).starts == {"h100-on-demand": {"ready": (120.0,)}}


def test_variants_are_learned_apart_and_ahead_is_looked_by_the_one_that_would_be_added() -> None:
    memory = after(started("a", node=5), started("b", node=300, accelerator="a100"))
    assert lead_time_s(memory, ["h100-on-demand"]) == 85 and lead_time_s(memory, ["a100-on-demand"]) == 380
    assert lead_of(a_snapshot(memory=memory)) == 85
    moved = a_snapshot(spec=a_spec(profiles=[a_profile(), a_profile("a100")], capacity={"accelerators": [H100, A100]}), memory=memory)
    assert lead_of(moved) == 85
    moved = moved.model_copy(update={"memory": memory.model_copy(update={"mix": {"a100/full": 1}})})
    assert lead_of(moved) == 380
    moved = moved.model_copy(update={"memory": learned([10.0] * 70).model_copy(update={"starts": memory.starts, "mix": {"a100/full": 1}})})
    ahead = outlook_of(moved, "interactive", moved.memory.shapes["interactive"])
    assert ahead is not None and ahead.horizon_s == 380 + moved.settings.interval_s


def test_of_two_capacity_types_the_slower_counts() -> None:
    spot = {"accelerators": [{"name": "h100"}], "spot": {"enabled": True}}
    starts = {"h100-on-demand": {"ready": (50.0,)}, "h100-spot": {"ready": (90.0,)}}
    assert lead_of(a_snapshot(memory=Memory(starts=starts))) == 50
    assert lead_of(a_snapshot(spec=a_spec(capacity=spot), memory=Memory(starts=starts))) == 90


def test_a_variant_that_never_started_is_taken_for_the_others() -> None:
    assert lead_time_s(Memory(start_times_s=(70.0,)), ["h100-on-demand"]) == 70


def test_what_is_kept_is_bounded_by_variant_and_stage() -> None:
    memory = after(*(started(f"p{i}") for i in range(3 * MAX_START_TIMES)))
    assert {len(times) for times in memory.starts["h100-on-demand"].values()} == {MAX_START_TIMES}
    for number in range(MAX_VARIANTS + 5):
        memory = after(started("x", accelerator=f"gpu-{number}"), memory=memory)
        memory = after(memory=memory)
    assert len(memory.starts) == MAX_VARIANTS and f"gpu-{MAX_VARIANTS + 4}-on-demand" in memory.starts


def test_status_shows_what_was_learned() -> None:
    starts = {"h100-on-demand": {"node": (5.0, 40.0), "ready": (60.0, 95.0)}}
    fields = running(2)
    seen = tuple(p.name for p in fields["pods"])
    decision = plan(a_snapshot(**fields, memory=settled(2, starts=starts, started_pods=seen)))
    (variant,) = decision.status.variants
    assert [(s.stage, s.p50, s.p90, s.samples) for s in variant.lead] == [("node", "40s", "40s", 2), ("ready", "1m35s", "1m35s", 2)]


times = st.floats(0, 4000, allow_nan=False)


@given(times, times, times, times, st.none() | times)
def test_stages_add_up_whatever_the_clocks_say(
    made: float, scheduled: float, running_at: float, ready: float, loaded: float | None
) -> None:
    pod = a_pod("a", created_at=made, scheduled_at=scheduled, running_at=running_at).model_copy(update={"ready_at": ready})
    found = stage_times(pod, loaded)
    assert all(seconds >= 0 for seconds in found.values())
    if "load" in found:
        assert found["node"] + found["image"] + found["load"] == pytest.approx(found["ready"], abs=0.2)
    if "weights" in found:
        assert found["weights"] + found["warmUp"] == pytest.approx(found["load"], abs=0.2)


@given(st.lists(times, min_size=1, max_size=20), st.floats(0, 1))
def test_a_quantile_is_one_of_the_times(samples: list[float], share: float) -> None:
    assert quantile(tuple(samples), share) in samples

"""The bench of simulation against real processes: its pairs, its intervals and its counts. Nothing is started, nothing is timed."""

from __future__ import annotations

import math

import pytest
from bench.support.folder_under_load import RESOURCES, SHAPE, Look, askings, replica_s, start_s
from bench.support.folder_under_load import simulated as folder_simulated
from bench.support.paired import off
from bench.support.priority import Spent, stolen_s
from bench.support.real_embeddings import MEAN_TOKENS, Text, texts
from bench.support.simulated_embeddings import simulated, times_slower
from bench.support.variant_laws import slower
from bench.truth import BUSY, WITHIN, Paired, attainment, objective, row, summary, text_s

from forebay.api.inference_pool import Task
from forebay.local.folder import read_folder
from forebay.planning.work import EngineProfile

PROFILE = EngineProfile(0.002, 0.00025, 0.0, 16, Task.EMBEDDINGS)
RATE = BUSY / text_s(PROFILE)


def a_run(seed: int = 1, times: float = 1.0, **changed: float) -> Paired:
    """One that measured so many times what was simulated."""
    due = texts(seed, RATE, 25.0)
    expected, _ = simulated(PROFILE, due)
    figures = {"taken": 0.0, "drift": 0.0, "slower": 1.0, "sidecar_s": 0.0} | changed
    return Paired(seed, PROFILE, due, objective(PROFILE, RATE), [times * x for x in expected], expected, **figures, favoured=True)


def test_the_interval_is_students() -> None:
    found = off([1.0, 2.0, 3.0])
    assert found.mean == 2.0 and found.half == pytest.approx(4.303 / math.sqrt(3.0))
    assert found.within(2.0) and not found.within(1.9) and found.shown(4.49) and not found.shown(4.48)


def test_a_single_run_shows_nothing() -> None:
    found = off([0.5])
    assert found.within(1.0) and not found.shown(1e9)


def test_texts_come_at_their_rate_with_lengths_about_the_mean() -> None:
    found = texts(7, 40.0, 200.0)
    times = [text.at_s for text in found]
    assert times == sorted(times) and times[-1] < 200.0 and len(found) / 200.0 == pytest.approx(40.0, rel=0.05)
    assert sum(text.tokens for text in found) / len(found) == pytest.approx(MEAN_TOKENS, rel=0.02)
    assert found == texts(7, 40.0, 200.0) != texts(8, 40.0, 200.0)


def test_lone_texts_take_what_the_profile_says() -> None:
    latencies, computed_s = simulated(PROFILE, [Text(float(second), 98) for second in range(5)])
    assert latencies == pytest.approx([0.002 + 0.00025 * 100] * 5) and computed_s == pytest.approx(sum(latencies))


def test_the_objective_is_met_by_most_and_missed_by_some() -> None:
    one = a_run()
    assert 0.7 < attainment(one.simulated, one.objective_s) < 0.97 and 0.7 < WITHIN < 0.97


def test_what_was_not_answered_has_missed_the_objective() -> None:
    assert attainment([0.1, None, 0.3, 0.2], 0.2) == 0.5


def test_a_simulation_that_is_right_is_shown_to_be_right() -> None:
    rows = summary([a_run(seed) for seed in range(3)], 1)
    assert rows[0]["name"] == "embeddings, 3 runs, 1 more repeated: attainment"
    assert [r["off"] for r in rows] == pytest.approx([0.0] * 4) and all(r["kept"] and r["shown"] for r in rows[:2])
    assert "kept" not in rows[2] and rows[3]["unit"] == "ms"


def test_a_simulation_that_is_wrong_is_not() -> None:
    points, latency, *_ = summary([a_run(seed, 1.3) for seed in range(3)], 0)
    assert latency["off"] == pytest.approx(-23.1) and not latency["kept"] and points["off"] > 2.0 and not points["kept"]


def test_with_runs_far_apart_the_target_is_kept_but_not_shown() -> None:
    latency = summary([a_run(1, 1.2), a_run(2, 0.85), a_run(3, 1.0)], 0)[1]
    assert latency["kept"] and not latency["shown"] and latency["plus_minus"] > 10.0


def test_a_slower_engine_and_the_sidecar_explain_a_latency() -> None:
    one = a_run(1, 1.0, slower=1.1, sidecar_s=0.001)
    again, _ = simulated(EngineProfile(0.0022, 0.000275, 0.0, 16, Task.EMBEDDINGS), one.due)
    assert one.at_its_speed() == pytest.approx([x + 0.001 for x in again]) and sum(again) > 1.1 * sum(one.simulated)


def test_an_engines_speed_is_found_by_the_time_that_it_computed() -> None:
    one = a_run()
    _, took_s = simulated(slower(PROFILE, 1.15), one.due)
    computed_s = simulated(PROFILE, one.due)[1]
    assert times_slower(PROFILE, one.due, took_s) == pytest.approx(1.15, rel=0.003) and took_s / computed_s > 1.154


@pytest.mark.parametrize(("what", "share"), [("taken", 0.031), ("drift", 0.051), ("drift", -0.051)])
def test_a_machine_that_changed_disturbs_a_run_and_what_it_measured_does_not(what: str, share: float) -> None:
    assert a_run(1, 3.0).undisturbed and row(a_run(1, 3.0))["name"] == "run 1"
    assert row(a_run(1, 1.0, **{what: share}))["name"] == "run 1, disturbed"


def test_what_an_engines_own_thread_took_is_not_the_others() -> None:
    later, before = Spent(9.0, 0.5, 0.8, 0.3), Spent(1.0, 0.1, 0.2, 0.1)
    assert later.since(before).taken_s() == pytest.approx(0.2 + 0.2)
    assert Spent(1.0, 0.5, 0.2, 0.0).taken_s() == 0.0


def test_steal_is_read_for_one_core() -> None:
    stat = "cpu  1 0 0 9 0 0 0 700 0 0\ncpu0 1 0 0 9 0 0 0 100 0 0\ncpu1 1 0 0 9 0 0 0 600 0 0\nintr 5\n"
    assert stolen_s(stat, 1) == 6 * stolen_s(stat, 0) > 0.0 == stolen_s(stat, 7)


LOOKS = [Look(0.0, 0, 0), Look(1.0, 1, 0), Look(4.0, 1, 1), Look(10.0, 3, 1), Look(20.0, 1, 1), Look(30.0, 1, 1)]


def test_replicas_count_from_being_asked_for_to_being_gone() -> None:
    assert replica_s(LOOKS, 0.0, 30.0) == 9.0 + 30.0 + 10.0
    assert replica_s(LOOKS, 5.0, 15.0) == 5.0 + 15.0
    assert start_s(LOOKS) == 3.0


def test_the_folder_scales_up_and_down_in_the_simulator() -> None:
    folder, asked = read_folder(RESOURCES), askings(SHAPE, 3)
    document = folder_simulated(folder, asked, 4.0)
    assert document["requests"] == {"answered": len(asked), "refused": 0, "lost": 0, "retried": 0}
    replicas = document["replicas"]
    assert 2 <= replicas["most"] <= 6 and 1.0 < replicas["mean"] < replicas["most"]

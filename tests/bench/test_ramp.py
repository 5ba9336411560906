"""The ramp's frozen engine reproduces what llm-d published, which all other figures of the bench rest on."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import pytest
from bench.ramp import FIRST_SEED, OBJECTIVE, PROFILE, STAGES, TARGETS, load_engine, setup, workload
from bench.support.comparison import Case, Workload, row, tuned
from bench.support.ramp_laws import laws

from forebay.simulation.law import Law
from forebay.simulation.laws.static import Static


def the_case(**kwargs: float) -> Case:
    engine = load_engine(PROFILE)
    return Case(setup(engine), OBJECTIVE, engine.gpus, **kwargs)


def test_an_episode_has_the_published_requests() -> None:
    episode = workload(1)
    assert len(episode) == sum(rate * seconds for rate, seconds in STAGES) == 12480
    assert [at for at, _, _ in episode] == sorted(at for at, _, _ in episode)
    assert fmean(i for _, i, _ in episode) == pytest.approx(4000, abs=10) and fmean(o for _, _, o in episode) == pytest.approx(1000, abs=3)


def test_llmds_own_law_lands_where_it_was_published() -> None:
    """95.8 % at 5.93 replicas; static 8: 100 %."""
    case, engine = the_case(), load_engine(PROFILE)
    episodes = [workload(seed) for seed in range(FIRST_SEED, FIRST_SEED + 8)]
    scores = case.scores(next(iter(laws(engine, case.setup, OBJECTIVE)["llmd"].values())), episodes)
    assert fmean(s.attainment for s in scores) == pytest.approx(0.958, abs=0.01)
    assert fmean(s.replicas_mean for s in scores) == pytest.approx(5.93, abs=0.2)
    static = case.run(Static(8), episodes[0])
    assert static.attainment == 1.0 and static.replicas_mean == pytest.approx(8.0)


def replicas(count: int) -> Callable[[Workload], Law]:
    return lambda _: Static(count)


def test_tuning_takes_the_cheapest_that_meets_the_target_or_the_nearest() -> None:
    case, episodes = the_case(), [workload(1)]
    counts = {f"{n}": replicas(n) for n in (8, 7, 3, 4)}
    assert tuned(case, counts, episodes, TARGETS)[0.98] == "7"
    assert tuned(case, {n: counts[n] for n in ("3", "4")}, episodes, TARGETS)[0.98] == "4"


def test_a_row_has_the_figures_and_their_spread_and_no_cost_without_a_price() -> None:
    scores = [the_case().run(Static(8), workload(1))]
    found = row("static", "8 replicas", scores, the_case())
    assert found["gpu_hours"] == pytest.approx(2 * 8 * 2430 / 3600, rel=0.01) and found["attainment_sd"] is None
    assert row("static", "8 replicas", 2 * scores, the_case())["attainment_sd"] == 0.0
    assert found["usd"] is None and row("static", "", scores, the_case(usd_per_gpu_hour=2.0))["usd"] == pytest.approx(21.6, rel=0.01)

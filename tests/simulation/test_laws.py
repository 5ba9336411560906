"""Each law, given hand-made samples, decides what its peer's formula says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from forebay.planning.work import EngineProfile
from forebay.simulation.law import Observation, Sample
from forebay.simulation.laws.behavior import DOWN, UP, Behavior, Rule
from forebay.simulation.laws.capacity import mean_per_token_s, most_rps
from forebay.simulation.laws.clairvoyant import Clairvoyant, Foresight, largest
from forebay.simulation.laws.dynamo import Constant, Dynamo, Kalman
from forebay.simulation.laws.hpa import Hpa
from forebay.simulation.laws.kpa import Kpa
from forebay.simulation.laws.llmd import Llmd
from forebay.simulation.laws.sageserve import SageServe
from forebay.simulation.laws.wva import Wva
from forebay.simulation.score import Objective

ENGINE = EngineProfile(base_s=0.02, per_token_s=0.0001, per_kv_token_s=0.0, max_concurrency=100)
OBJECTIVE = Objective(first_token_s=3.0, per_token_s=0.1)


def seen(now: float, ready: int, starting: int = 0, **fields: Any) -> Observation:
    """A quarter of an hour in which every sample was the same."""
    return Observation(now, ready, starting, steady(now, ready, **fields))


def steady(now: float, ready: int, **fields: Any) -> Sequence[Sample]:
    return [Sample(now - 5.0 * i, 5.0, ready=ready, **fields) for i in reversed(range(180))]


# what a HorizontalPodAutoscaler allows


def test_up_by_the_larger_of_double_and_four_pods_in_fifteen_seconds() -> None:
    behavior = Behavior(UP, DOWN)
    assert behavior.limited(0.0, 2, 50) == 6
    assert behavior.limited(5.0, 6, 50) == 6
    assert behavior.limited(15.0, 6, 50) == 12


def test_down_to_the_most_of_five_minutes() -> None:
    behavior = Behavior(UP, DOWN)
    assert behavior.limited(0.0, 5, 5) == 5
    assert behavior.limited(15.0, 5, 1) == 5
    assert behavior.limited(285.0, 5, 2) == 5
    assert behavior.limited(300.0, 5, 1) == 2
    assert behavior.limited(585.0, 2, 1) == 1


def test_one_pod_down_every_two_minutes_and_up_only_after_half_a_minute_of_asking() -> None:
    behavior = Behavior(Rule(30.0, ((1.0, 4, 60.0),)), Rule(0.0, ((0.0, 1, 120.0),)))
    assert [behavior.limited(t, n, 2) for t, n in ((0.0, 5), (15.0, 4), (119.0, 4), (120.0, 4))] == [4, 4, 4, 3]
    assert [behavior.limited(t, 3, 9) for t in (130.0, 145.0)] == [3, 3]
    assert behavior.limited(160.0, 3, 9) == 8, "five more than the three and the one that went within the minute"


# peers


def test_hpa_divides_the_queue_by_its_target() -> None:
    assert Hpa(5.0).decide(seen(900.0, 3, waiting=29)) == 6
    assert Hpa(5.0).decide(seen(900.0, 3, waiting=16)) == 3, "16 / 5 of 3 is within a tenth"
    assert Hpa(5.0, 50.0).decide(seen(900.0, 3, waiting=0, running=260)) == 6, "the larger of two triggers"


def test_kpa_divides_concurrency_by_seventy_percent_of_its_target() -> None:
    assert Kpa(100.0).decide(seen(900.0, 3, running=281)) == 5
    assert Kpa(100.0).decide(seen(900.0, 8, running=10)) == 4, "down by a half at most"


def test_kpa_panics_and_never_shrinks_until_a_stable_window_has_passed() -> None:
    law = Kpa(100.0)
    calm, burst = steady(600.0, 2, running=100), Sample(605.0, 5.0, running=600, ready=2)
    assert law.decide(Observation(605.0, 2, 0, [*calm, burst])) == 5
    after = [*calm, burst, *(Sample(605.0 + 5.0 * i, 5.0, running=100, ready=2) for i in range(1, 30))]
    assert law.decide(Observation(640.0, 2, 3, [s for s in after if s.at <= 640.0])) == 5, "collapse when a panic ends (#3153)"
    assert law.decide(Observation(670.0, 5, 0, [s for s in after if s.at <= 670.0])) == 2


def test_llmd_adds_in_proportion_credits_what_is_under_way_and_holds_between_thresholds() -> None:
    law = Llmd(OBJECTIVE)
    assert law.desired(2.0, 3, 3) == 11
    assert law.desired(2.0, 7, 3) == 11, "7 + ceil(7 (2.0 × 3/7 / 0.55 - 1))"
    assert law.desired(0.5, 5, 5) == 5
    assert law.desired(0.3, 8, 8) == 6
    assert law.desired(0.39, 3, 1) == 3, "no credit on the way down"


def test_llmd_asks_after_the_signal_has_lasted_and_is_limited_to_doubling() -> None:
    law = Llmd(OBJECTIVE)
    hot: dict[str, Any] = {"first_token_s": [6.0], "per_token_s": [0.05]}
    assert [law.decide(seen(900.0 + 15.0 * i, 3, **hot)) for i in range(3)] == [3, 3, 7]
    calm: dict[str, Any] = {"first_token_s": [0.3], "per_token_s": [0.01]}
    assert law.decide(seen(960.0, 7, **calm)) == 7, "the most that was wanted within three minutes"


def test_llmd_predicts_a_queue_before_anybody_has_waited() -> None:
    full = {"arrived": 10, "arrived_input_tokens": 10_000, "completed": 10, "input_tokens": 10_000, "output_tokens": 5000}
    law = Llmd(OBJECTIVE, ENGINE)
    assert law._raw(seen(900.0, 1, running=30, **full)) < 0.55
    assert law._raw(seen(900.0, 1, running=100, waiting=10, **full)) > 0.55


def test_wva_counts_what_starts_and_takes_away_whole_replicas() -> None:
    shape = {"completed": 5, "input_tokens": 20_000, "output_tokens": 5000}
    law = Wva(100_000.0, sequences=1000, step_tokens=1e9)
    assert law.decide(seen(900.0, 2, context_tokens=150_000, **shape)) == 3, "ceil((150/0.85 - 160) / 80) more"
    assert law.decide(seen(900.0, 2, starting=1, context_tokens=150_000, **shape)) == 3, "what is pending counts"
    assert law.decide(seen(900.0, 4, context_tokens=100_000, **shape)) == 2, "floor((320 - 100/0.7) / 80) fewer"


def test_wva_learns_what_a_replica_computes_when_its_queue_is_long() -> None:
    shape = {"completed": 5, "input_tokens": 20_000, "output_tokens": 5000}
    law = Wva(1e9, sequences=10, step_tokens=1e9)
    assert law.decide(seen(900.0, 2, context_tokens=90_000, **shape)) == 3, "derived: 10 sequences of 4,500 tokens"
    assert law.decide(seen(960.0, 2, context_tokens=100_000, waiting=10, **shape)) == 4, "observed: 50,000, and 40,000 wait"
    assert law.decide(seen(1020.0, 4, context_tokens=100_000, **shape)) == 3, "remembered: 50,000"


def test_capacity_at_mean_latencies() -> None:
    # each(n) = 0.02 + n (0.0001 + 0.1 / 100)
    assert mean_per_token_s(ENGINE, 10, 1000.0, 100.0) == pytest.approx(0.031)
    assert most_rps(ENGINE, 1000.0, 100.0, Objective(3.0, 0.0311)) == pytest.approx(10 / 3.1)
    assert most_rps(ENGINE, 1000.0, 100.0, Objective(3.0, 0.01)) == 0.0


def test_dynamo_sets_a_floor_by_forecast_and_moves_by_one() -> None:
    shape = {"arrived": 50, "completed": 50, "input_tokens": 50_000, "output_tokens": 5000, "context_tokens": 1000}
    law = Dynamo(ENGINE, OBJECTIVE, 1e9, Constant())
    each = most_rps(ENGINE, 1000.0, 100.0, OBJECTIVE)
    assert each == pytest.approx(7.26, abs=0.01)
    assert law.decide(seen(180.0, 1, **shape)) == 2, "10 requests/s over 7.3"
    assert law.decide(seen(185.0, 4, **shape)) == 3, "one fewer at a time"
    assert law.decide(seen(190.0, 2, starting=1, **shape)) == 3, "only looks on while one starts"
    assert law.decide(seen(195.0, 3, **{**shape, "waiting": 200})) == 4, "first tokens would take more than 3 s"


def test_dynamos_kalman_filter_follows_a_trend() -> None:
    kalman = Kalman()
    forecasts = [kalman.following(100.0 + 10.0 * i) for i in range(40)]
    assert forecasts[0] == 100.0
    assert forecasts[-1] == pytest.approx(500.0, abs=2.0)


def test_sageserve_follows_memory_until_it_has_a_day() -> None:
    law = SageServe(1.0, 1000.0)
    assert law.decide(seen(900.0, 2, context_tokens=1100)) == 3
    assert law.decide(seen(930.0, 3, context_tokens=2000)) == 3, "one is on its way"
    assert law.decide(seen(1100.0, 3, context_tokens=600)) == 2
    assert law.forecast_rps() is None


def test_sageserve_allocates_for_the_same_minutes_of_the_day_before() -> None:
    law = SageServe(1.0, 1e9, down_at=-1.0)
    for minute in range(1, 1500):
        rate = 5 if minute % 1440 < 60 else 1
        samples = [Sample(60.0 * minute - 5.0 * i, 5.0, arrived=5 * rate, ready=1) for i in reversed(range(12))]
        law.decide(Observation(60.0 * minute, 1, 0, samples))
    # 1,499 minutes in, the last hour was as busy as its own hour of the day before; 20 to 60 minutes ahead it is quiet.
    assert law.forecast_rps() == pytest.approx(1.0, rel=0.05)


def test_the_clairvoyant_orders_ahead_by_a_start_and_gives_up_at_once() -> None:
    arrivals = [*(60.0 * m + i for m in range(10) for i in range(60)), *(600.0 + i / 3.0 for i in range(180)), 660.0]
    ahead = Foresight(60.0, ((at, 1.0) for at in arrivals))
    law = Clairvoyant(ahead.needs(1.0), 60.0, start_s=100.0)
    assert law.decide(Observation(490.0, 1, 0, [])) == 1
    assert law.decide(Observation(495.0, 1, 0, [])) == 3
    assert law.decide(Observation(655.0, 3, 0, [])) == 3
    assert law.decide(Observation(660.0, 3, 0, [])) == 1


def test_work_that_may_wait_is_spread_evenly_over_its_time() -> None:
    ahead = Foresight(60.0, [(30.0, 60.0)])
    ahead.add(70.0, 180.0, within_s=180.0)
    assert ahead.needs(1.0) == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(("holds", "expected"), [(0, None), (1, 10.0), (5, 50.0), (8, 80.0)])
def test_the_largest_that_holds_is_found(holds: int, expected: float | None) -> None:
    values = [10.0 * (k + 1) for k in range(8)]
    found = largest(values, lambda value: 2 * value, lambda doubled: doubled <= 20.0 * holds)
    assert found == (None if expected is None else (expected, 2 * expected))

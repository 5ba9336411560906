"""Measurements that lie, stop, or come from a clock that jumps: each test is named after the fault."""

from __future__ import annotations

import math

import pytest
from tests.planning.load_laws import DAY, MINUTE, MONDAY, TEN_MINUTES, a_day_curve, after, every, noisy

from forebay.planning.forecast import Forecast, ForecastState, observe, predict
from forebay.planning.forecast.packing import unpack


def _forecast(state: ForecastState, minutes: float = 5, coverage: float = 0.95) -> Forecast:
    forecast = predict(state, minutes * 60, coverage)
    assert forecast is not None
    return forecast


def _steady(minutes: int, start_s: float = MONDAY, state: ForecastState | None = None) -> ForecastState:
    return after(noisy(lambda _: 4.0, [start_s + MINUTE * i for i in range(minutes)], 0.05), state, step_s=MINUTE)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e13, 1e300])
def test_nan_negative_and_absurd_values_change_nothing(value: float) -> None:
    state = _steady(30)
    assert observe(state, MONDAY + 31 * MINUTE, value) == state


@pytest.mark.parametrize("at_s", [math.nan, math.inf, -1.0, 1e300])
def test_a_senseless_time_changes_nothing(at_s: float) -> None:
    state = _steady(30)
    assert observe(state, at_s, 1.0) == state


def test_one_huge_value_does_not_poison_what_follows() -> None:
    state = observe(_steady(300), MONDAY + 300 * MINUTE, 1e9)
    state = _steady(40, MONDAY + 301 * MINUTE, state)
    forecast = _forecast(state)
    assert forecast.p50 == pytest.approx(4.0, rel=0.3)
    assert forecast.upper < 12.0


def test_demand_times_50_in_a_minute() -> None:
    """Within two minutes the bound has gone most of the way, and half an hour later it is there."""
    state = _steady(300)
    after_two = after([(MONDAY + MINUTE * (300 + i), 200.0) for i in range(3)], state, step_s=MINUTE)
    assert _forecast(after_two, 1).upper > 100.0
    settled = after([(MONDAY + MINUTE * (303 + i), 200.0) for i in range(30)], after_two, step_s=MINUTE)
    assert _forecast(settled).p50 == pytest.approx(200.0, rel=0.15)


def test_a_counter_reset_is_a_drop_that_is_recovered_from() -> None:
    state = after([(MONDAY + MINUTE * 300, 0.0)], _steady(300), step_s=MINUTE)
    state = _steady(20, MONDAY + MINUTE * 301, state)
    assert _forecast(state).p50 == pytest.approx(4.0, rel=0.2)
    assert _forecast(state).upper < 8.0


@pytest.mark.parametrize("missing_s", [3 * MINUTE, 40 * MINUTE, 2 * DAY, 400 * DAY])
def test_a_history_gap_is_not_zero_load(missing_s: float) -> None:
    later = MONDAY + 300 * MINUTE + missing_s
    state = _steady(5, later, _steady(300))
    assert _forecast(state).p50 == pytest.approx(4.0, rel=0.25)


@pytest.mark.parametrize("now", [1.5, 6.0, 12.0])
def test_what_a_load_was_before_a_long_history_gap_is_not_what_it_is_now(now: float) -> None:
    back = _steady(300)
    later = noisy(lambda _: now, [MONDAY + MINUTE * (340 + i) for i in range(2)], 0.05)
    assert _forecast(after(later, back, step_s=MINUTE)).p50 == pytest.approx(now, rel=0.15)


def test_what_a_load_changed_by_in_a_history_gap_is_no_change_of_a_minute() -> None:
    state = observe(_steady(300), MONDAY + 300 * MINUTE, 4.0)
    before = unpack(state).change
    back = MONDAY + 320 * MINUTE
    closed = after([(back, 12.0), (back + MINUTE, 12.0)], state, step_s=MINUTE)
    assert unpack(closed).change <= before
    without = after([(MONDAY + 301 * MINUTE, 12.0), (MONDAY + 302 * MINUTE, 12.0)], state, step_s=MINUTE)
    assert unpack(without).change > before + 0.005


def test_seasons_outlive_a_gap() -> None:
    state = after(noisy(a_day_curve, every(TEN_MINUTES, 6), 0.02))
    back = MONDAY + 7.3 * DAY
    state = after(noisy(a_day_curve, every(TEN_MINUTES, 0.25, back), 0.02), state)
    assert _forecast(state, 30).p50 == pytest.approx(a_day_curve(back + 0.25 * DAY + 1200), rel=0.12)


def test_clock_step_back_goes_on_after_ten_measurements() -> None:
    state = _steady(300)
    behind = MONDAY + 100 * MINUTE
    state = _steady(40, behind, state)
    assert state.step == int(behind // MINUTE) + 39
    assert _forecast(state).p50 == pytest.approx(4.0, rel=0.2)
    assert _forecast(state).history_s >= 300 * MINUTE


def test_clock_step_forward_and_back_again() -> None:
    state = _steady(300)
    state = after([(MONDAY + 3000 * DAY, 4.0)], state, step_s=MINUTE)
    state = _steady(60, MONDAY + 301 * MINUTE, state)
    assert _forecast(state).p50 == pytest.approx(4.0, rel=0.2)


def test_measurements_late_or_twice_change_no_forecast() -> None:
    state = _steady(300)
    before = _forecast(state)
    state = observe(state, MONDAY + 10 * MINUTE, 400.0)
    assert _forecast(state) == before
    again = observe(state, MONDAY + 299 * MINUTE, state.total / state.count)
    assert _forecast(observe(again, MONDAY + 300 * MINUTE, 4.0)).p50 == pytest.approx(
        _forecast(observe(state, MONDAY + 300 * MINUTE, 4.0)).p50
    )


def test_daylight_saving_change_is_followed_within_days() -> None:
    """Everyone comes an hour earlier by the clock of the series: bounds still hold, and the forecast is near again after three days."""
    summer = MONDAY + 14 * DAY
    state = after(noisy(a_day_curve, every(TEN_MINUTES, 14), 0.03))
    held, errors = [], []
    for at, value in noisy(lambda at: a_day_curve(at + 3600), every(TEN_MINUTES, 5, summer), 0.03, seed=2):
        state = observe(state, at, value)
        forecast = _forecast(state, 10, 0.95)
        held.append(value <= forecast.upper)
        errors.append(abs(math.log(value / forecast.p50)))
    assert sum(held[:144]) / 144 > 0.88
    assert sum(held) / len(held) > 0.92
    assert sum(errors[-288:]) / 288 < 0.06


def test_a_silent_pool_is_forecast_silent_and_wakes() -> None:
    state = after([(MONDAY + MINUTE * i, 0.0) for i in range(300)], step_s=MINUTE)
    assert _forecast(state).upper < 0.01
    state = after([(MONDAY + MINUTE * (300 + i), 5.0) for i in range(20)], state, step_s=MINUTE)
    assert _forecast(state).p50 == pytest.approx(5.0, rel=0.3)

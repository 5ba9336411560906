"""What always holds of a forecast, whatever was measured."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.planning.load_laws import MONDAY, TEN_MINUTES, a_day_curve, after, every, noisy

from forebay.planning.forecast import ForecastState, drifted, fresh, observe, predict
from forebay.planning.forecast.codes import MAX_VALUE, MISSING, code_of, value_of
from forebay.planning.forecast.interval import LEVELS

anything = st.floats(allow_nan=True, allow_infinity=True)
loads = st.one_of(anything, st.floats(0, 1e4), st.just(0.0), st.floats(0, MAX_VALUE))
strides = st.one_of(st.floats(0, 300), st.floats(-5000, 5000), st.floats(-1e8, 1e8))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(strides, loads), max_size=80), st.sampled_from([60, 600, 3600]))
def test_any_measurements_leave_finite_ordered_forecasts(steps: list[tuple[float, float]], step_s: int) -> None:
    state, at = fresh(step_s), MONDAY
    for stride, value in steps:
        at += stride
        state = observe(state, at, value)
    for minutes in (0, 1, 4, 15, 600):
        forecasts = [predict(state, minutes * 60.0, coverage) for coverage in LEVELS]
        for forecast, next_one in pairwise(forecasts):
            if forecast is None or next_one is None:
                continue
            assert math.isfinite(next_one.upper) and 0 <= forecast.p50 <= forecast.upper <= next_one.upper
            assert forecast.observed_coverage is None or 0 <= forecast.observed_coverage <= 1
        drifted(state, minutes * 60.0, 0.95)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(strides, loads), max_size=60), st.data())
def test_a_state_goes_on_from_its_json_byte_for_byte(steps: list[tuple[float, float]], data: st.DataObject) -> None:
    restart = data.draw(st.integers(0, len(steps)))
    at, kept, restarted = MONDAY, fresh(), fresh()
    for i, (stride, value) in enumerate(steps):
        if i == restart:
            restarted = ForecastState.model_validate_json(restarted.model_dump_json())
        at += stride
        kept, restarted = observe(kept, at, value), observe(restarted, at, value)
    assert kept.model_dump_json() == restarted.model_dump_json()


@given(st.floats(0, MAX_VALUE))
@example(0.002)
def test_history_keeps_a_load_within_three_in_ten_thousand_of_it_and_a_thousandth(value: float) -> None:
    assert 0 <= code_of(value) < MISSING
    assert abs(value_of(code_of(value)) - value) <= 3e-4 * (value + 1e-3)


def test_a_state_is_small_whatever_lies_behind_it() -> None:
    state = after(noisy(a_day_curve, every(60, 2.0)), step_s=60)
    assert len(state.model_dump_json()) < 17_000
    longer = after(noisy(a_day_curve, every(TEN_MINUTES, 30.0)))
    assert len(longer.model_dump_json()) < 12_000


def test_nothing_is_forecast_before_a_step_was_whole() -> None:
    assert predict(fresh(), 60, 0.9) is None
    assert predict(observe(fresh(), MONDAY, 3.0), 60, 0.9) is None
    forecast = predict(observe(observe(fresh(), MONDAY, 3.0), MONDAY + 60, 3.0), 60, 0.9)
    assert forecast is not None
    assert forecast.p50 == pytest.approx(3.0, rel=0.2)
    assert forecast.upper > forecast.p50
    assert forecast.model == "trend" and forecast.observed_coverage is None


@pytest.mark.parametrize(("horizon_s", "coverage"), [(-1.0, 0.9), (math.nan, 0.9), (60.0, 0.0), (60.0, 1.0)])
def test_a_senseless_question_is_refused(horizon_s: float, coverage: float) -> None:
    with pytest.raises(ValueError):
        predict(fresh(), horizon_s, coverage)


@pytest.mark.parametrize("step_s", [0, 7, 59, 700, 86401])
def test_steps_that_do_not_fit_a_day_are_refused(step_s: int) -> None:
    with pytest.raises(ValueError):
        fresh(step_s)


def test_a_state_that_was_damaged_starts_anew() -> None:
    state = after(noisy(a_day_curve, every(TEN_MINUTES, 1.0)))
    for damage in ({"model": "AAAA"}, {"model": "not base64!"}, {"yesterday": ""}, {"scores": ""}, {"version": 99}):
        broken = ForecastState.model_validate(state.model_dump() | damage)
        assert predict(broken, 600, 0.9) is None
        again = after(noisy(a_day_curve, every(TEN_MINUTES, 0.2, MONDAY + 86400)), broken)
        assert predict(again, 600, 0.9) is not None

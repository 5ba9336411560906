"""A past that is read at once: the same as if it had been observed, and honest about what nobody forecast."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planning.load_laws import DAY, MINUTE, MONDAY, TEN_MINUTES, a_day_curve, after, every, noisy

from forebay.planning.forecast import ForecastState, Span, fresh, observe, predict, relived


def minutes(points: list[tuple[float, float]]) -> list[Span]:
    return [Span(at, MINUTE, value) for at, value in points]


def slots(days: float, start_s: float = MONDAY) -> list[Span]:
    return [Span(at, TEN_MINUTES, a_day_curve(at)) for at in every(TEN_MINUTES, days, start_s)]


def test_minutes_are_observed() -> None:
    points = noisy(a_day_curve, every(MINUTE, 0.3))
    one, other = after(points, step_s=MINUTE), relived(fresh(), minutes(points))
    for coverage in (0.5, 0.9, 0.99):
        found, wanted = predict(other, 300, coverage), predict(one, 300, coverage)
        assert found is not None and wanted is not None and found.judged == wanted.judged
        assert (found.p50, found.upper) == pytest.approx((wanted.p50, wanted.upper), rel=1e-4)


def test_ten_minute_means_teach_seasons_and_are_never_scored() -> None:
    state = relived(fresh(), slots(9))
    assert predict(state, 300, 0.9) is None
    day = noisy(a_day_curve, every(MINUTE, 0.2, MONDAY + 9 * DAY))
    found = predict(after(day, state, step_s=MINUTE), 300, 0.9)
    assert found is not None and found.model == "week" and found.judged < len(day)
    assert found.p50 == pytest.approx(a_day_curve(MONDAY + 9.2 * DAY + 300), rel=0.1)


def test_it_goes_on_by_the_minute_byte_for_byte() -> None:
    state = relived(fresh(), [*slots(2), *minutes(noisy(a_day_curve, every(MINUTE, 0.1, MONDAY + 2 * DAY)))])
    again = ForecastState.model_validate_json(state.model_dump_json())
    later = noisy(a_day_curve, every(MINUTE, 0.05, MONDAY + 2.1 * DAY))
    assert after(later, state, step_s=MINUTE) == after(later, again, step_s=MINUTE)
    assert len(state.model_dump_json()) < 15_000


def test_what_is_older_than_what_was_observed_is_passed_over() -> None:
    known = after(noisy(a_day_curve, every(MINUTE, 0.1)), step_s=MINUTE)
    assert relived(known, slots(0.05)) == relived(known, [])


def test_yesterday_of_a_gap_is_not_that_of_the_day_before() -> None:
    state = relived(fresh(), minutes(noisy(a_day_curve, every(MINUTE, 1.5))))
    state = relived(state, [Span(at, TEN_MINUTES, 3.0) for at in every(TEN_MINUTES, 0.5, MONDAY + 1.5 * DAY)])
    state = relived(state, minutes(noisy(a_day_curve, every(MINUTE, 0.1, MONDAY + 2 * DAY))))
    found = predict(state, 300, 0.9)
    assert found is not None and found.history_s == pytest.approx(2.1 * DAY, abs=120)


spans = st.tuples(
    st.integers(0, 400), st.sampled_from((60.0, 600.0)), st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 100)
).map(lambda t: Span(MONDAY + t[0] * TEN_MINUTES, t[1], t[2]))


@given(st.lists(spans, max_size=30), st.lists(spans, max_size=10))
@settings(max_examples=60, deadline=None)
def test_any_past_leaves_a_state_that_goes_on(first: list[Span], second: list[Span]) -> None:
    state = relived(relived(fresh(), first), second)
    for minute in range(8):
        state = observe(state, MONDAY + 401 * TEN_MINUTES + minute * MINUTE, 4.0)
    found = predict(state, 300, 0.9)
    assert found is not None and 0 <= found.p50 <= found.upper

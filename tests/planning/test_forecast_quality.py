"""How sure and how near forecasts are, on series whose law is known."""

from __future__ import annotations

import math
import random

import pytest
from tests.planning.load_laws import DAY, MONDAY, TEN_MINUTES, a_day_curve, after, every, noisy

from forebay.planning.forecast import drifted, fresh, observe, predict


def _coverage(points: list[tuple[float, float]], horizon_steps: int, level: float) -> float:
    """Share of the second half's values that were under the bound forecast for them; a step's own value is not known to it yet."""
    state, bounds, held = fresh(TEN_MINUTES), {}, []
    for i, (at, value) in enumerate(points):
        state = observe(state, at, value)
        forecast = predict(state, horizon_steps * TEN_MINUTES, level)
        if forecast is not None:
            bounds[i - 1 + horizon_steps] = forecast.upper
        if i in bounds and i >= len(points) // 2:
            held.append(value <= bounds[i])
    return sum(held) / len(held)


def _bursty(at_s: list[float]) -> list[tuple[float, float]]:
    chance, burst, points = random.Random(3), 0.0, []
    for at, value in noisy(a_day_curve, at_s):
        burst = burst * 0.6 + (chance.paretovariate(2) if chance.random() < 0.03 else 0.0)
        points.append((at, value * (1 + burst)))
    return points


def _shifted(at_s: list[float]) -> list[tuple[float, float]]:
    return [(at, value * (2.5 if at > MONDAY + 10 * DAY else 1.0)) for at, value in noisy(a_day_curve, at_s)]


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("law", [lambda at_s: noisy(a_day_curve, at_s), _bursty, _shifted], ids=["season", "bursts", "shift"])
@pytest.mark.parametrize("horizon_steps", [1, 3])
def test_bounds_hold_as_often_as_declared(law: object, level: float, horizon_steps: int) -> None:
    assert callable(law)
    assert _coverage(law(every(TEN_MINUTES, 14)), horizon_steps, level) == pytest.approx(level, abs=0.02)


def test_a_season_is_seen_coming() -> None:
    """From the second day on a morning's rise is forecast, where a trend alone lags behind it."""
    state = after(noisy(a_day_curve, every(TEN_MINUTES, 6), spread=0.02))
    errors = []
    for at, value in noisy(a_day_curve, every(TEN_MINUTES, 1, MONDAY + 6 * DAY), spread=0.02, seed=2):
        state = observe(state, at, value)
        forecast = predict(state, 3 * TEN_MINUTES, 0.9)
        assert forecast is not None and forecast.model == "day"
        errors.append(abs(math.log(forecast.p50 / a_day_curve(at + 2 * TEN_MINUTES))))
    assert sum(errors) / len(errors) < 0.03


def test_a_fresh_pool_follows_its_trend() -> None:
    state = after([(MONDAY + 60 * i, 2.0 * 1.03**i) for i in range(60)], step_s=60)
    forecast = predict(state, 5 * 60, 0.9)
    assert forecast is not None and forecast.model == "trend"
    assert forecast.p50 > 2.0 * 1.03**61


def test_what_was_covered_is_said_and_drift_is_noticed() -> None:
    state = after(noisy(a_day_curve, every(TEN_MINUTES, 4)))
    forecast = predict(state, TEN_MINUTES, 0.9)
    assert forecast is not None and forecast.observed_coverage == pytest.approx(0.9, abs=0.05)
    assert not drifted(state, TEN_MINUTES, 0.9)
    for at in every(TEN_MINUTES, 0.15, MONDAY + 4 * DAY):
        beyond = predict(observe(state, at, 0.0), TEN_MINUTES, 0.9)
        assert beyond is not None
        state = observe(state, at, 1.05 * beyond.upper)
    assert drifted(state, TEN_MINUTES, 0.9)


def test_drift_is_not_claimed_of_a_fresh_pool() -> None:
    state = after([(MONDAY + 60 * i, float(2**i)) for i in range(30)], step_s=60)
    assert not drifted(state, 60, 0.9)


def test_between_horizons_and_levels_bounds_lie_between() -> None:
    state = after(noisy(a_day_curve, every(60, 0.5)), step_s=60)
    bounds = {(h, c): f.upper for h in (5, 10, 15) for c in (0.9, 0.93, 0.95) if (f := predict(state, h * 60.0, c)) is not None}
    assert bounds[(10, 0.9)] == pytest.approx((bounds[(5, 0.9)] + bounds[(15, 0.9)]) / 2)
    assert bounds[(5, 0.9)] < bounds[(5, 0.93)] < bounds[(5, 0.95)]

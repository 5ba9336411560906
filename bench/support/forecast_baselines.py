"""The forecasters to beat, each at its best: settings and kind of interval are chosen on the first half, for each series and horizon.

Both learn their interval from their own errors of the first half, as a normal distribution or by its quantiles, of the load or of its
logarithm: whichever loses least there. Both go on following the series in the second half; their settings do not move any more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from forebay.planning.forecast.interval import LEVELS as _LEVELS

LEVELS = _LEVELS[1:]
Floats = NDArray[np.float64]

_GAINS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
_TREND_GAINS = (0.0, 0.01, 0.05, 0.1, 0.3)
_DAMPINGS = (0.8, 0.9, 0.98)


def _as_it_is(values: Floats) -> Floats:
    return values


def _log(values: Floats) -> Floats:
    return np.log1p(values)


def _exp(values: Floats) -> Floats:
    return np.expm1(np.minimum(values, 700.0))


_SPACES = ((_as_it_is, _as_it_is), (_log, _exp))


def pinball(values: Floats, bounds: Floats) -> float:
    """Mean pinball loss of the bounds of LEVELS (rows) for the values."""
    share = np.asarray(LEVELS)[:, None]
    return float(np.mean(np.where(values >= bounds, share * (values - bounds), (1 - share) * (bounds - values))))


def _bounds(values: Floats, middle: Floats, half: int) -> tuple[float, Floats]:
    """The loss on the first half, and bounds for all, of the kind of interval that loses least there."""
    train = ~np.isnan(middle) & (np.arange(len(values)) < half)
    middle = np.maximum(middle, 0.0)
    found = []
    for there, back in _SPACES:
        errors = (there(values) - there(middle))[train]
        spread = np.sqrt(np.mean(errors**2))
        normal = [NormalDist().inv_cdf(level) * spread for level in LEVELS]
        for steps in (normal, np.quantile(errors, LEVELS, method="higher")):
            bounds = np.maximum(np.array([back(there(middle) + step) for step in steps]), 0.0)
            found.append((pinball(values[train], bounds[:, train]), bounds))
    return min(found, key=lambda one: one[0])


def seasonal_naive(values: Floats, horizon: int, step_s: int) -> Floats:
    """Bounds by LEVELS from the value one day or one week before; from the newest one where half of the series holds no day."""
    half = len(values) // 2
    found = []
    for season in [s for s in (86400 // step_s, 7 * 86400 // step_s) if s <= half - 3] or [horizon]:
        lag = -(-horizon // season) * season
        found.append(_bounds(values, np.concatenate([np.full(lag, np.nan), values[:-lag]]), half))
    return min(found, key=lambda one: one[0])[1]


def damped_holt(values: Floats, horizons: Sequence[int]) -> dict[int, Floats]:
    """Bounds by LEVELS of Holt's damped trend, of the load or of its logarithm, from 120 settings for each horizon."""
    half = len(values) // 2
    grid = np.array(list(itertools.product(_GAINS, _TREND_GAINS, _DAMPINGS)))
    best: dict[int, tuple[float, Floats]] = {}
    for there, back in _SPACES:
        scaled = there(values)
        first = _holt(scaled[:half], horizons, grid)
        for horizon in horizons:
            losses = [_first_half_loss(values[:half], scaled[:half], one, back, horizon) for one in first[horizon].T]
            chosen = int(np.argmin(losses))
            if horizon not in best or losses[chosen] < best[horizon][0]:
                best[horizon] = (losses[chosen], back(_holt(scaled, [horizon], grid[chosen : chosen + 1])[horizon][:, 0]))
    return {horizon: _bounds(values, middle, half)[1] for horizon, (_, middle) in best.items()}


def _first_half_loss(values: Floats, scaled: Floats, middle: Floats, back: Callable[[Floats], Floats], horizon: int) -> float:
    seen = slice(horizon + 1, None)
    steps = np.quantile(scaled[seen] - middle[seen], LEVELS, method="higher")
    bounds = np.maximum(back(middle[seen] + steps[:, None]), 0.0)
    return pinball(values[seen], bounds)


def _holt(scaled: Floats, horizons: Sequence[int], grid: Floats) -> dict[int, Floats]:
    """By horizon the forecasts of each step (rows) by each setting (columns); NaN before the first."""
    gain, trend_gain, damping = grid.T
    sums = {h: damping * (1 - damping**h) / (1 - damping) for h in horizons}
    ahead = {h: np.full((len(scaled), len(grid)), np.nan) for h in horizons}
    level, trend = np.full(len(grid), scaled[0]), np.zeros(len(grid))
    for t, value in enumerate(scaled):
        expected = level + damping * trend
        if t:
            level = expected + gain * (value - expected)
            trend = damping * trend + trend_gain * (level - expected)
        for h in horizons:
            if t + h < len(scaled):
                ahead[h][t + h] = level + sums[h] * trend
    return ahead


def of_the_law(rates: Floats, step_s: int) -> Floats:
    """Bounds of one who knows the rate to come, and only not which arrivals it brings: no forecast loses less."""
    spread = np.sqrt(rates / step_s)
    return np.array([np.maximum(rates + NormalDist().inv_cdf(level) * spread, 0.0) for level in LEVELS])

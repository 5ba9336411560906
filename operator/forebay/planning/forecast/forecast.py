"""Observe and predict: the three functions that a planner calls.

Observations may come late, twice, out of order, not at all, or as nonsense: what cannot be a load is passed over, a missing step is unknown
and not zero, and no single value moves the model further than a bounded error does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, log, sqrt
from typing import Literal

from forebay.planning.forecast.codes import MAX_VALUE
from forebay.planning.forecast.interval import LEVELS
from forebay.planning.forecast.packing import Glimpse, glimpse, pack, unpack
from forebay.planning.forecast.seasons import DAY_S
from forebay.planning.forecast.state import VERSION, ForecastState, fresh
from forebay.planning.forecast.working import Working, value_of

LATE_BEFORE_CLOCK_STEP = 10
DRIFT = 0.05
MAX_AT_S = 1e11
Model = Literal["trend", "day", "week"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The load some time ahead, in the unit that was observed.

    It is as likely above as below `p50`, and at most `upper` with the coverage asked for. `observed_coverage` is how often such a
    bound held over the last day, None before the first came due, and `judged` how many came due in all; `history_s` how long the series
    has been seen; `model` the longest season in use.
    """

    p50: float
    upper: float
    observed_coverage: float | None
    judged: int
    model: Model
    history_s: float


def observe(state: ForecastState, at_s: float, value: float) -> ForecastState:
    """The state with one more measurement: `value` is the load at `at_s`, seconds since the epoch.

    Measurements of one step are averaged. A value that is no load (NaN, negative, beyond 1e12) changes nothing; nor does one older than the
    open step, unless ten in a row are: then the clock was set back, and the series goes on from there.
    """
    if not is_load(at_s, value):
        return state
    if state.version != VERSION:
        state = fresh(state.step_s)
    step = int(at_s // state.step_s)
    if step == state.step:
        return state.model_copy(update={"total": state.total + value, "count": state.count + 1, "late": 0})
    if step < state.step and state.late + 1 < LATE_BEFORE_CLOCK_STEP:
        return state.model_copy(update={"late": state.late + 1})
    opened = {"step": step, "total": value, "count": 1, "late": 0}
    if state.step < 0:
        return state.model_copy(update={"since": step, **opened})
    if step < state.step:
        return _set_back(state, step, opened)
    return _next(state, step, opened)


def is_load(at_s: float, value: float) -> bool:
    """Whether this may have been measured at such a time."""
    return isfinite(value) and 0 <= value <= MAX_VALUE and 0 <= at_s <= MAX_AT_S


def _set_back(state: ForecastState, step: int, opened: dict[str, float]) -> ForecastState:
    """The clock was set back: what was learned stays, what was forecast for the time before is dropped."""
    try:
        work = unpack(state)
    except ValueError:
        return fresh(state.step_s).model_copy(update={"since": step, **opened})
    for horizon in work.horizons:
        horizon.ahead = []
    work.seasons.slot, work.seasons.count = -1, 0
    since = step - (state.step - state.since)
    return state.model_copy(update={**pack(work), "since": since, **opened})


def _next(state: ForecastState, step: int, opened: dict[str, float]) -> ForecastState:
    """Close the open step and open this one."""
    try:
        work = unpack(state)
    except ValueError:
        return fresh(state.step_s).model_copy(update={"since": step, **opened})
    if state.count:
        close(work, state.step, state.since, state.total / state.count)
    return state.model_copy(update={**pack(work), **opened})


def close(work: Working, step: int, since: int, value: float) -> None:
    """A step ended with this mean; the series began at the step `since`."""
    work.close(step, max(0, step - _last(work, step) - 1), step - since, value)


def _last(work: Working, step: int) -> int:
    """The step that was closed last before this one: that from which the newest forecasts were made."""
    newest = work.horizons[0].newest(step)
    return step - 1 if newest is None else newest.target - work.horizons[0].steps


def predict(state: ForecastState, horizon_s: float, coverage: float, horizons: list[Glimpse] | None = None) -> Forecast | None:
    """The load `horizon_s` seconds from now, the start of the open step, and the bound it stays under with this coverage.

    None before a step was whole. Between learned horizons and levels it is interpolated; beyond the longest (15 steps, or 3 of ten
    minutes or more) and outside of coverages from 0.5 to 0.99 the nearest counts.

    `horizons` are those of `read`, where they were read already.

    Raises: ValueError for a horizon below 0 or a coverage outside of 0 to 1.
    """
    if not (horizon_s >= 0 and 0 < coverage < 1):
        raise ValueError(f"no forecast at {horizon_s} s with coverage {coverage}")
    horizons = read(state) if horizons is None else horizons
    if not horizons or horizons[0].target is None:
        return None
    unseen = state.step - 1 - (horizons[0].target - horizons[0].steps)
    near, far, share = _around(horizons, horizon_s / state.step_s + unseen)
    middle = [value_of(_between(horizon.bounds, 0.5), horizon.offset) for horizon in (near, far)]
    upper = [value_of(_between(horizon.bounds, coverage), horizon.offset) for horizon in (near, far)]
    p50 = middle[0] + share * (middle[1] - middle[0])
    closest = near if share < 0.5 else far
    return Forecast(
        p50=p50,
        upper=max(p50, upper[0] + share * (upper[1] - upper[0])),
        observed_coverage=_between(closest.covered, coverage) if closest.seen else None,
        judged=int(closest.seen),
        model=_model(state),
        history_s=float((state.step - state.since) * state.step_s),
    )


def drifted(state: ForecastState, horizon_s: float, coverage: float, horizons: list[Glimpse] | None = None) -> bool:
    """Whether bounds of the last day held by more than 5 points more or less often than declared.

    Not before a day of forecasts came due, nor by less than two standard errors of so many: forecasts that overlap count once.
    """
    horizons = read(state) if horizons is None else horizons
    if not horizons:
        return False
    near, far, share = _around(horizons, horizon_s / state.step_s)
    horizon = near if share < 0.5 else far
    day_steps = DAY_S // state.step_s
    if horizon.seen < day_steps:
        return False
    error = 2 * sqrt(coverage * (1 - coverage) * horizon.steps / day_steps)
    return abs(_between(horizon.covered, coverage) - coverage) > max(DRIFT, error)


def read(state: ForecastState) -> list[Glimpse]:
    """What forecasts are made from, by horizon; nothing where nothing was learned yet, or the state cannot be read."""
    try:
        return glimpse(state) if state.version == VERSION and state.model else []
    except ValueError:
        return []


def _around(horizons: list[Glimpse], steps: float) -> tuple[Glimpse, Glimpse, float]:
    """The learned horizons before and after, and how far between them."""
    for near, far in pairwise(horizons):
        if steps <= far.steps:
            return near, far, max(0.0, (steps - near.steps) / (far.steps - near.steps))
    return horizons[-1], horizons[-1], 0.0


def _between(by_level: Sequence[float], coverage: float) -> float:
    """A figure by level at another level, linear in the logarithm of what is missed."""
    for i, (below, above) in enumerate(pairwise(LEVELS)):
        if coverage <= above:
            share = max(0.0, log((1 - below) / (1 - coverage)) / log((1 - below) / (1 - above)))
            return by_level[i] + share * (by_level[i + 1] - by_level[i])
    return by_level[-1]


def _model(state: ForecastState) -> Model:
    age_s = (state.step - state.since) * state.step_s
    return "trend" if age_s < 2 * DAY_S else "day" if age_s < 8 * DAY_S else "week"

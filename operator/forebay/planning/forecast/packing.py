"""How a forecaster's numbers lie in its state: unpacked whole where a step is closed, glimpsed at where only forecasts are read."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from forebay.planning.forecast.blend import Blend
from forebay.planning.forecast.codes import MISSING, looked_into, packed, unpacked
from forebay.planning.forecast.interval import BINS, LEVELS, Interval
from forebay.planning.forecast.levels import AVERAGES, TRENDS, Levels
from forebay.planning.forecast.seasons import DAY_S, WEEK_S, Seasons, slot_s
from forebay.planning.forecast.state import ForecastState
from forebay.planning.forecast.working import AHEAD, FIRST_ERRORS, FIRST_WEIGHTS, HINTS, Horizon, Working, target_of

_SCALARS = 9
_NUMBERS = _SCALARS + len(AVERAGES) + 2 * len(TRENDS)
_BLEND = HINTS + HINTS * HINTS + 3 + len(FIRST_ERRORS)
_SEEN = HINTS + HINTS * HINTS + 2
_SCORES = 2 * len(LEVELS) + BINS + 1


@dataclass(frozen=True, slots=True)
class Glimpse:
    """Of one horizon what a forecast is read from: its newest `bounds` by level, in logarithms, and the step that they are for.

    None where none is under way. `seen` and `covered` are the interval's, `offset` is what was added before the logarithm was taken.
    """

    steps: int
    seen: float
    covered: Sequence[float]
    target: int | None
    bounds: Sequence[float]
    offset: float


def glimpse(state: ForecastState) -> list[Glimpse]:
    """What forecasts of this state are read from, by horizon. Raises ValueError where it is not one that `pack` wrote."""
    numbers, scores = looked_into(state.model, "d"), looked_into(state.scores, "f")
    _check(state, len(numbers))
    found, at, levels = [], 0, len(LEVELS)
    for i, steps in enumerate(state.horizons):
        first = at + _SCORES
        count = int(scores[first - 1]) if first <= len(scores) else -1
        end = first + count * AHEAD
        if count < 0 or end > len(scores):
            raise ValueError("fewer forecasts than are under way")
        target = target_of(scores[end - AHEAD], state.step) if count else None
        bounds: Sequence[float] = scores[end - levels : end] if count else ()
        covered = scores[at + levels : at + 2 * levels]
        found.append(Glimpse(steps, numbers[_NUMBERS + i * _BLEND + _SEEN], covered, target, bounds, numbers[0]))
        at = end
    return found


def _check(state: ForecastState, numbers: int) -> None:
    found = (len(state.yesterday), len(state.day), len(state.week))
    if found != tuple(2 * length for length in _lengths(state.step_s)):
        raise ValueError("history of another length than its steps have")
    if numbers != _NUMBERS + len(state.horizons) * _BLEND:
        raise ValueError("a model of another make")


def unpack(state: ForecastState) -> Working:
    """The state at work. Raises ValueError where it is not one that `pack` wrote."""
    if not state.model:
        return _new(state)
    yesterday, day, week = (unpacked(data, "H") for data in (state.yesterday, state.day, state.week))
    numbers = unpacked(state.model, "d").tolist()
    scores = unpacked(state.scores, "f").tolist()
    _check(state, len(numbers))
    offset, mean, peak, change, closed, surprise, slot, total, count = numbers[:_SCALARS]
    seasons = Seasons(state.step_s, yesterday, day, week, int(slot), total, int(count))  # type: ignore[arg-type]
    end = _SCALARS + len(AVERAGES)
    levels = Levels(numbers[_SCALARS:end], numbers[end:_NUMBERS])
    horizons, at = [], 0
    for i, steps in enumerate(state.horizons):
        start = _NUMBERS + i * _BLEND
        horizon, at = _horizon(steps, numbers[start : start + _BLEND], scores, at)
        horizons.append(horizon)
    return Working(seasons, levels, horizons, offset, mean, peak, change, int(closed), surprise)


@lru_cache(16)
def _lengths(step_s: int) -> tuple[int, int, int]:
    """Of yesterday, the mean day and the mean week."""
    slot = slot_s(step_s)
    return DAY_S // step_s, DAY_S // slot, WEEK_S // slot


def _new(state: ForecastState) -> Working:
    def empty(length: int) -> array[int]:
        return array("H", [MISSING]) * length

    yesterday, day, week = map(empty, _lengths(state.step_s))
    seasons = Seasons(state.step_s, yesterday, day, week)
    horizons = [Horizon(steps, Blend.fresh(FIRST_WEIGHTS), Interval.fresh(), [], list(FIRST_ERRORS)) for steps in state.horizons]
    return Working(seasons, Levels([], []), horizons)


def _horizon(steps: int, numbers: list[float], scores: list[float], at: int) -> tuple[Horizon, int]:
    place = HINTS + HINTS * HINTS
    levels = len(LEVELS)
    if at + _SCORES > len(scores):
        raise ValueError("fewer scores than levels")
    misses, covered = scores[at : at + levels], scores[at + levels : at + 2 * levels]
    at += 2 * levels
    fast, slow, seen = numbers[place : place + 3]
    interval = Interval(fast, slow, seen, misses, covered, scores[at : at + BINS])
    count = int(scores[at + BINS])
    at += BINS + 1
    if count < 0 or at + count * AHEAD > len(scores):
        raise ValueError("fewer forecasts than are under way")
    ahead = scores[at : at + count * AHEAD]
    at += count * AHEAD
    return Horizon(steps, Blend(numbers[:HINTS], numbers[HINTS:place]), interval, ahead, numbers[place + 3 :]), at


def pack(work: Working) -> dict[str, bytes]:
    """The packed fields of a state."""
    seasons = work.seasons
    numbers = [work.offset, work.mean, work.peak, work.change, work.closed, work.surprise]
    numbers += [seasons.slot, seasons.total, seasons.count]
    numbers += [*work.levels.means, *work.levels.trends]
    scores: list[float] = []
    for horizon in work.horizons:
        interval = horizon.interval
        numbers += horizon.blend.weights
        numbers += horizon.blend.covariance
        numbers += [interval.fast, interval.slow, interval.seen, *horizon.errors]
        scores += [*interval.misses, *interval.covered, *interval.counts, len(horizon.ahead) // AHEAD, *horizon.ahead]
    return {
        "yesterday": packed(seasons.yesterday, "H"),
        "day": packed(seasons.day, "H"),
        "week": packed(seasons.week, "H"),
        "model": packed(numbers, "d"),
        "scores": packed(scores, "f"),
    }

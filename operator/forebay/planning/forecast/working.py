"""A forecaster while it works: a step that ended is learned from, and new forecasts are made.

Model and symbols: docs/planning/forecast.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from operator import mul

from forebay.planning.forecast.blend import Blend
from forebay.planning.forecast.codes import MAX_VALUE
from forebay.planning.forecast.interval import LEVELS, Interval
from forebay.planning.forecast.levels import Levels
from forebay.planning.forecast.seasons import DAY_S, Seasons

FIRST_WEIGHTS = (0.3, 0.2, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Of the newest value, the fast and the slow average, two trends, the day's change and level, the week's, yesterday's peculiarity."""
HINTS = len(FIRST_WEIGHTS)
DAY_CHANGE, DAY_LEVEL, WEEK_CHANGE, WEEK_LEVEL, PECULIARITY = range(5, 10)
GUARD_POWER = 8
GUARD_GAIN = 0.01
GUARD_CLIP = 8.0
SMALLEST_ERROR = 1e-3
FIRST_ERRORS = (0.1, 0.5, 0.5)
OFFSET_SHARE = 0.5
SMALLEST_OFFSET = 1e-3
OFFSET_STEPS = (4, 11, 31)
OFFSET_CHANGE = 0.3
LARGEST_PECULIARITY = 2.0
CEILING = 1.5
"""No bound is above so many times the week's peak."""
FORGOTTEN_STEPS = 30
SURPRISE = 5.0
LARGEST_LEVEL = 1.0
"""A season further away, in logarithms, is of another time."""
AHEAD = 4 + HINTS + len(LEVELS)
"""Numbers of a forecast that is under way."""
ERA = 1 << 24
"""Targets are kept as a float of so many steps, which is exact; 32 years of minutes."""


@dataclass(slots=True)
class Ahead:
    """A forecast that is not due yet: the hints it was made from, and in logarithms its middle and its bound by level."""

    target: int
    base: float
    middle: float
    size: float
    hints: list[float]
    bounds: list[float]


@dataclass(slots=True)
class Horizon:
    """What is learned for one distance, and the forecasts that are under way, flat, the newest last.

    `errors` are the usual ones of the three candidates.
    """

    steps: int
    blend: Blend
    interval: Interval
    ahead: list[float]
    errors: list[float]

    def newest(self, step: int) -> Ahead | None:
        """The forecast that was made last; `step` is one of these years."""
        return _read(self.ahead, len(self.ahead) - AHEAD, step) if self.ahead else None

    def due(self, step: int) -> Ahead | None:
        """The forecast for this step, if one was made; it and all before it are under way no longer."""
        passed = 0
        while passed < len(self.ahead) and target_of(self.ahead[passed], step) <= step:
            passed += AHEAD
        found = _read(self.ahead, passed - AHEAD, step) if passed else None
        self.ahead = self.ahead[passed:]
        return found if found is not None and found.target == step else None

    def candidates(self, hints: list[float]) -> tuple[float, float, float]:
        """The blend; and its guards, which it is to beat: the mean week, and yesterday."""
        return self.blend.of(hints), hints[WEEK_CHANGE] + hints[WEEK_LEVEL], hints[DAY_CHANGE] + hints[DAY_LEVEL] + hints[PECULIARITY]

    def middle(self, hints: list[float]) -> float:
        """The candidates, each by how small its errors were."""
        known = (True, hints[WEEK_LEVEL] != 0.0, hints[DAY_LEVEL] != 0.0)
        shares = [error**-GUARD_POWER if there else 0.0 for error, there in zip(self.errors, known, strict=True)]
        return float(sum(map(mul, shares, self.candidates(hints))) / sum(shares))

    def learn(self, hints: list[float], target: float, noise: float) -> None:
        gain = max(GUARD_GAIN, 1.0 / (self.interval.seen + 1.0))
        self.errors = [
            error + gain * (min(abs(target - candidate), GUARD_CLIP * noise) + SMALLEST_ERROR - error)
            for error, candidate in zip(self.errors, self.candidates(hints), strict=True)
        ]
        self.blend.learn(hints, target, noise)


@dataclass(slots=True)
class Working:
    """`offset` is what is added to a load before its logarithm is taken, `mean` and `peak` the load's, `change` the mean one of a step.

    `closed` counts steps that were seen; `surprise` is how many sizes the newest one was off.
    """

    seasons: Seasons
    levels: Levels
    horizons: list[Horizon]
    offset: float = SMALLEST_OFFSET
    mean: float = 0.0
    peak: float = 0.0
    change: float = 0.1
    closed: int = 0
    surprise: float = 0.0

    def x_of(self, value: float) -> float:
        return log(value + self.offset)

    def close(self, step: int, gap: int, age: int, value: float) -> None:
        """A step that ended with this mean, `gap` unseen ones after the last; `age` is its distance from the first."""
        day_steps = DAY_S // self.seasons.step_s
        self._scale(value, day_steps)
        x = self.x_of(value)
        if self.closed == 1 or gap >= FORGOTTEN_STEPS or self._shifted(step, x):
            self.levels.start(x)
        elif not gap:
            self.change += max(0.01, 1.0 / self.closed) * (abs(x - self.levels.means[0]) - self.change)
        self.levels.add(x)
        self.seasons.add(step, gap, value)
        base = self.levels.means[1]
        now = self._now(x, base)
        season = self._season(step, base, age)
        for horizon in self.horizons:
            self._score(horizon, step, x, day_steps)
            horizon.ahead += self._forecast(horizon, step, base, now, season, age)

    def _shifted(self, step: int, x: float) -> bool:
        """Whether two steps in a row were far off on the same side: what came before says little of what comes."""
        before, self.surprise = self.surprise, 0.0
        ahead = self.horizons[0].newest(step)
        if ahead is not None and ahead.target == step:
            self.surprise = (x - ahead.middle) / ahead.size
        return min(abs(before), abs(self.surprise)) > SURPRISE and (before > 0) == (self.surprise > 0)

    def _scale(self, value: float, day_steps: int) -> None:
        self.closed += 1
        known = value if self.closed <= OFFSET_STEPS[0] else min(value, 20 * self.mean + SMALLEST_OFFSET)
        self.mean += (known - self.mean) / min(self.closed, day_steps)
        self.peak = max(value, self.peak * (1 - 0.5 / (7 * day_steps)))
        if self.closed == 1 or self.closed in OFFSET_STEPS or self.closed % day_steps == 0:
            self._follow_scale()

    def _follow_scale(self) -> None:
        offset = max(SMALLEST_OFFSET, OFFSET_SHARE * self.mean)
        if self.levels.means and abs(log(offset / self.offset)) <= OFFSET_CHANGE:
            return
        if self.levels.means:
            self.levels.shift(self.offset, offset)
        for horizon in self.horizons:
            horizon.ahead = []
        self.offset = offset

    def teach(self, first: int, steps: int, value: float) -> None:
        """The mean of several steps when nobody forecast: scale and seasons learn of it, nothing is scored and no blend is moved."""
        day_steps = DAY_S // self.seasons.step_s
        known = min(value, 20 * self.mean + SMALLEST_OFFSET) if self.closed else value
        self.closed += steps
        self.mean += (known - self.mean) * min(1.0, steps / min(self.closed, day_steps))
        self.peak = max(value, self.peak * (1 - 0.5 / (7 * day_steps)) ** steps)
        self._follow_scale()
        if not self.levels.means:
            self.levels.start(self.x_of(value))
        self.seasons.teach(first, steps, value)

    def _now(self, x: float, base: float) -> list[float]:
        return [x - base, self.levels.means[0] - base, self.levels.means[2] - base]

    def _season(self, step: int, base: float, age: int) -> tuple[float | None, float | None]:
        """The mean day and the mean week at this step, in logarithms; None before their second round."""
        day_steps = DAY_S // self.seasons.step_s
        day = self.seasons.of_day(step) if age >= 2 * day_steps else None
        week = self.seasons.of_week(step) if age >= 8 * day_steps else None
        return None if day is None else self.x_of(day), None if week is None else self.x_of(week)

    def _hints(self, steps: int, step: int, base: float, now: Sequence[float], season: tuple[float | None, float | None]) -> list[float]:
        hints = [*now, *(ahead - base for ahead in self.levels.ahead(steps))]
        day, week = season
        then = self.seasons.of_day(step + steps) if day is not None else None
        peculiar = 0.0
        if day is None or then is None:
            hints += [0.0, 0.0]
        else:
            x = self.x_of(then)
            hints += [x - day, _near(day - base)]
            ago = self.seasons.day_ago(step + steps)
            if ago is not None:
                peculiar = max(-LARGEST_PECULIARITY, min(LARGEST_PECULIARITY, self.x_of(ago) - x))
        then = self.seasons.of_week(step + steps) if week is not None else None
        hints += [0.0, 0.0] if week is None or then is None else [self.x_of(then) - week, _near(week - base)]
        hints.append(peculiar)
        return hints

    def _score(self, horizon: Horizon, step: int, x: float, day_steps: int) -> None:
        last = horizon.due(step)
        if last is None:
            return
        noise = max(1e-3, horizon.interval.slow if horizon.interval.seen else last.size)
        horizon.interval.learn(x - last.middle, last.size, [x <= bound for bound in last.bounds], day_steps, horizon.steps)
        horizon.learn(last.hints, x - last.base, noise)

    def _forecast(
        self,
        horizon: Horizon,
        step: int,
        base: float,
        now: Sequence[float],
        season: tuple[float | None, float | None],
        age: int,
    ) -> list[float]:
        hints = self._hints(horizon.steps, step, base, now, season)
        top = self.x_of(CEILING * self.peak)
        middle = min(top, max(log(self.offset), base + horizon.middle(hints)))
        size = horizon.interval.size(2 * self.change * horizon.steps**0.5, horizon.steps)
        bounds = [min(top, max(log(self.offset), middle + size * bound)) for bound in horizon.interval.bounds()]
        return [float((step + horizon.steps) % ERA), base, middle, size, *hints, *bounds]


def value_of(x: float, offset: float) -> float:
    """The load of a logarithm that was taken with this offset."""
    return min(MAX_VALUE, max(0.0, exp(min(x, 700.0)) - offset))


def target_of(kept: float, step: int) -> int:
    """The step that was kept as a rest of an era: the one nearest to this step."""
    return step + (int(kept) - step + ERA // 2) % ERA - ERA // 2


def _read(ahead: list[float], at: int, step: int) -> Ahead:
    kept, base, middle, size = ahead[at : at + 4]
    hints_end = at + 4 + HINTS
    return Ahead(target_of(kept, step), base, middle, size, ahead[at + 4 : hints_end], ahead[hints_end : at + AHEAD])


def _near(level: float) -> float:
    return max(-LARGEST_LEVEL, min(LARGEST_LEVEL, level))

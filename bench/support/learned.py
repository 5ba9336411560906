"""Forecasters that have seen weeks: a few are taught minute by minute, and every pool gets one of its own from them, of its own size."""

from __future__ import annotations

import math
import random
from array import array

from forebay.planning.forecast import ForecastState, fresh, observe
from forebay.planning.forecast.codes import MISSING, code_of
from forebay.planning.forecast.packing import pack, unpack
from forebay.planning.forecast.working import AHEAD, HINTS

PHASES = 3
"""Noons that there are."""

MEAN = 1000.0
_DAY_S, _STEP_S = 86400, 60
_FAR = 1e6


def wave(now: float, phase: int) -> float:
    """A day's course, 1 in the mean."""
    return 1 + 0.8 * math.sin(2 * math.pi * (now / _DAY_S + phase / PHASES))


def taught(phase: int, until: float, days: float) -> ForecastState:
    """A state that has seen so many days of a load of MEAN, with a noon of its own and a tenth of noise."""
    state, chance = fresh(_STEP_S), random.Random(phase)
    for step in range(int(days * _DAY_S / _STEP_S), 0, -1):
        at = until - step * _STEP_S
        state = observe(state, at, MEAN * wave(at, phase) * chance.uniform(0.9, 1.1))
    return state


def scaled(state: ForecastState, factor: float) -> ForecastState:
    """What the state would be, had every load been so many times as large. Logarithms of loads move, what is relative stays."""
    if not state.model:
        return state.model_copy(update={"total": state.total * factor})
    work, moved = unpack(state), math.log(factor)
    seasons, codes = work.seasons, code_of(_FAR * factor) - code_of(_FAR)
    seasons.yesterday, seasons.day, seasons.week = (_shifted(ring, codes) for ring in (seasons.yesterday, seasons.day, seasons.week))
    seasons.total *= factor
    work.offset, work.mean, work.peak = work.offset * factor, work.mean * factor, work.peak * factor
    work.levels.means = [mean + moved for mean in work.levels.means]
    work.levels.trends = [value if i % 2 else value + moved for i, value in enumerate(work.levels.trends)]
    levels = {1, 2, *range(4 + HINTS, AHEAD)}
    for horizon in work.horizons:
        horizon.ahead = [value + moved if i % AHEAD in levels else value for i, value in enumerate(horizon.ahead)]
    return state.model_copy(update={**pack(work), "total": state.total * factor})


def _shifted(ring: array[int], codes: int) -> array[int]:
    return array("H", [code if code == MISSING else code + codes for code in ring])

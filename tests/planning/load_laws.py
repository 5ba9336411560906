"""Series for forecaster tests: drawn loads, and the state after them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

from forebay.planning.forecast import ForecastState, fresh, observe

MONDAY = 1_704_067_200.0
MINUTE = 60
TEN_MINUTES = 600
DAY = 86400


def a_day_curve(at_s: float) -> float:
    """Requests/s between 1 and 5, lowest at six in the morning."""
    return 3.0 + 2.0 * math.sin(2 * math.pi * (at_s / DAY - 0.5))


def noisy(curve: Callable[[float], float], at_s: Iterable[float], spread: float = 0.08, seed: int = 1) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    return [(at, curve(at) * math.exp(spread * chance.gauss(0, 1))) for at in at_s]


def every(step_s: int, days: float, start_s: float = MONDAY) -> list[float]:
    return [start_s + i * step_s for i in range(round(days * DAY / step_s))]


def after(points: Iterable[tuple[float, float]], state: ForecastState | None = None, step_s: int = TEN_MINUTES) -> ForecastState:
    state = fresh(step_s) if state is None else state
    for at, value in points:
        state = observe(state, at, value)
    return state

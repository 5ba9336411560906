"""How far a forecast may be off: adaptive conformal bounds from scaled errors, each level on its own.

Errors are divided by their recent size and counted in a histogram that forgets; the bound of a level is a quantile of it. Which one is
steered by what was covered: with each forecast that comes due the level's miss rate α moves by γ (declared − missed), so that in the
long run the coverage holds whatever the series does. I. Gibbs and E. Candès, Adaptive conformal inference under distribution shift,
NeurIPS 2021; steps γ that shrink: A. Angelopoulos, R. Barber and S. Bates, Online conformal prediction with decaying step sizes, 2024.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import asinh, exp, sinh, sqrt

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
BINS = 64
_PER_UNIT = 8
_LOWEST = -28
_EDGES = [sinh((k + _LOWEST) / _PER_UNIT) for k in range(BINS + 1)]
FORGET_DAYS = 14.0
"""After so long an error counts a third in the histogram."""
PRIOR_COUNT = 20.0
FAST = 0.1
SLOW_DAYS = 3.0
"""The usual size of an error is that of so long."""
FAST_SHARE = 0.4
FADING = 0.5
"""The recent size counts by this power of the horizon less: what was off just now says less of what is far."""
OVERLAP = 0.5
"""Forecasts of a far horizon overlap and miss together, so their γ is smaller by this power of the horizon."""
SMALLEST_SIZE = 1e-4
LARGEST_ERROR = 8.0
STEP = 0.36
"""γ of one forecast a day; that of many is smaller by the root of their number."""
FIRST_STEP = 0.6


def _prior() -> list[float]:
    """Errors as Laplace has them, a little longer upwards, until enough were seen."""
    below = [0.5 * exp(x) if x < 0 else 1 - 0.5 * exp(-0.9 * x) for x in _EDGES]
    return [PRIOR_COUNT * (b - a) for a, b in pairwise(below)]


PRIOR_COUNTS = _prior()


@dataclass(slots=True)
class Interval:
    """Errors of one horizon. `fast` and `slow` are their recent and usual size, 0 before the first; `seen` counts forecasts that came due.

    `misses` is α by level; `covered` the share of the last day's forecasts whose bound held, by level.
    """

    fast: float
    slow: float
    seen: float
    misses: list[float]
    covered: list[float]
    counts: list[float]

    @classmethod
    def fresh(cls) -> Interval:
        return cls(0.0, 0.0, 0.0, [1 - level for level in LEVELS], list(LEVELS), list(PRIOR_COUNTS))

    def size(self, guess: float, horizon: int) -> float:
        """The scale of the next error; the guess until an error was seen."""
        if not self.seen:
            return max(SMALLEST_SIZE, guess)
        share = FAST_SHARE / horizon**FADING
        return float(max(SMALLEST_SIZE, self.fast**share * self.slow ** (1 - share)))

    def bounds(self) -> list[float]:
        """Of each level, how many sizes above the forecast its bound lies; rising with the level."""
        sums = list(accumulate(self.counts))
        bounds: list[float] = []
        for miss in self.misses:
            need = (1 - miss) * sums[-1]
            i = min(BINS - 1, bisect_left(sums, need))
            within = (need - (sums[i] - self.counts[i])) / self.counts[i] if self.counts[i] > 0 else 1.0
            bounds.append(_EDGES[i] + (_EDGES[i + 1] - _EDGES[i]) * max(0.0, min(1.0, within)))
        return list(accumulate(bounds, max))

    def learn(self, error: float, size: float, held: Sequence[bool], day_steps: int, horizon: int) -> None:
        """The error of a forecast that came due, the size it was given, and by level whether its bound held."""
        place = int(asinh(max(_EDGES[0], min(_EDGES[-1], error / size))) * _PER_UNIT // 1) - _LOWEST
        kept = 1.0 - 1.0 / (FORGET_DAYS * day_steps)
        self.counts = [count * kept for count in self.counts]
        self.counts[max(0, min(BINS - 1, place))] += 1.0
        self.seen += 1.0
        pace = max(STEP / sqrt(day_steps), FIRST_STEP / (self.seen / horizon + 5.0) ** 0.6) / horizon**OVERLAP
        share = 1.0 / min(self.seen, float(day_steps))
        for i, level in enumerate(LEVELS):
            wanted = 1.0 - level
            moved = self.misses[i] + pace * sqrt(wanted) * (wanted - (not held[i]))
            self.misses[i] = min(max(moved, wanted / 10), min(0.5 + wanted / 2, 4 * wanted))
            self.covered[i] += share * (held[i] - self.covered[i])
        self._resize(abs(error), size, day_steps, horizon)

    def _resize(self, error: float, size: float, day_steps: int, horizon: int) -> None:
        error = min(error, LARGEST_ERROR * size)
        if self.seen <= 1.0:
            self.fast = self.slow = size
        self.fast += FAST * (error - self.fast)
        self.slow += max(1.0 / (SLOW_DAYS * day_steps), 1.0 / (self.seen + horizon)) * (error - self.slow)

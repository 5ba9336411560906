"""Where a series stands and where it is heading: three moving averages and two damped trends of its logarithm.

Damped trend: E. S. Gardner and E. McKenzie, Forecasting trends in time series, Management Science 31 (1985).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

AVERAGES = (0.5, 0.2, 0.05)
TRENDS = ((0.5, 0.1, 0.9), (0.2, 0.05, 0.95))
"""Gain of the level, gain of the trend, damping."""


@dataclass(slots=True)
class Levels:
    """`means` are the moving averages, `trends` pairs of level and slope."""

    means: list[float]
    trends: list[float]

    def start(self, x: float) -> None:
        """Forget what came before."""
        self.means = [x] * len(AVERAGES)
        self.trends = [x, 0.0] * len(TRENDS)

    def add(self, x: float) -> None:
        self.means = [mean + gain * (x - mean) for mean, gain in zip(self.means, AVERAGES, strict=True)]
        trends = []
        for i, (gain, trend_gain, damping) in enumerate(TRENDS):
            level, slope = self.trends[2 * i], self.trends[2 * i + 1]
            ahead = level + damping * slope
            now = ahead + gain * (x - ahead)
            trends += [now, damping * slope + trend_gain * (now - ahead)]
        self.trends = trends

    def ahead(self, steps: int) -> list[float]:
        """Each damped trend so many steps on: level + slope (φ + φ² + … + φ^steps)."""
        return [
            self.trends[2 * i] + self.trends[2 * i + 1] * damping * (1 - damping**steps) / (1 - damping)
            for i, (_, _, damping) in enumerate(TRENDS)
        ]

    def shift(self, before: float, after: float) -> None:
        """The offset of the logarithm changed: every level is expressed anew, slopes are kept in proportion."""

        def anew(x: float) -> tuple[float, float]:
            value = max(0.0, exp(x) - before)
            return log(value + after), (value + before) / (value + after)

        self.means = [anew(mean)[0] for mean in self.means]
        trends = []
        for i in range(len(TRENDS)):
            level, share = anew(self.trends[2 * i])
            trends += [level, self.trends[2 * i + 1] * share]
        self.trends = trends

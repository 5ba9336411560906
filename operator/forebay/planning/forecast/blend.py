"""How much each hint counts: a linear blend whose weights are learned as forecasts meet what came.

Recursive least squares on the logarithm of the load, one for each horizon (S. Haykin, Adaptive Filter Theory, chapter 10). The
weights start as a mixture of averages and trends. An error beyond CLIP times the usual one counts as that much, so that no single
value upsets them; the covariance is raised a little at each step, which slowly forgets what no longer holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul, sub

PRIOR = 0.3
DRIFT = 1e-5
CLIP = 2.5


@dataclass(slots=True)
class Blend:
    """Weights of the hints, and their covariance, row after row."""

    weights: list[float]
    covariance: list[float]

    @classmethod
    def fresh(cls, weights: Sequence[float]) -> Blend:
        size = len(weights)
        return cls(list(weights), [PRIOR if i == j else 0.0 for j in range(size) for i in range(size)])

    def of(self, hints: Sequence[float]) -> float:
        return float(sum(map(mul, self.weights, hints)))

    def learn(self, hints: Sequence[float], target: float, noise: float) -> None:
        """The hints of an earlier moment, what came of it, and the usual size of an error."""
        size, before = len(hints), self.covariance
        spread = [sum(map(mul, before[i : i + size], hints)) for i in range(0, size * size, size)]
        variance = noise * noise
        scale = 1.0 / (variance + sum(map(mul, hints, spread)))
        error = max(-CLIP * noise, min(CLIP * noise, target - self.of(hints))) * scale
        self.weights = [weight + s * error for weight, s in zip(self.weights, spread, strict=True)]
        gains = [s * scale for s in spread]
        # One list for all rows: a third less time than row by row, and this is most of what the end of a minute costs.
        after = list(map(sub, before, [gain * s for gain in gains for s in spread]))
        for i in range(0, size * size, size + 1):
            after[i] = min(PRIOR, after[i] + DRIFT * variance)
        self.covariance = after

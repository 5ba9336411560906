"""The three times of a profile from what steps took: the most probable ones, given the profile that was declared.

A step takes θ·x seconds, x = (1, tokens computed, tokens of context held). The times are positive and a guess at them is wrong by a
factor, so the prior is normal in their logarithms u = log(θ / declared), and correlated: who declares the wrong GPU is wrong in all three
alike. The errors of the observations are normal, so all that is needed of them is their sums. The most probable u is found by Newton's
method, and the curvature there gives the uncertainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt

COMMON_SD, OWN_SD = 0.7, 0.5
"""A declared profile is wrong as a whole by a factor of e^0.7 (2.0), and each of its times by a further e^0.5 (1.6)."""
MOST_OFF = log(20.0)
"""No time is taken to be further than this from what was declared."""
LEAST_NOISE = 0.05
"""Steps differ from the model by this share of their time, however well they seem to fit."""

_ITERATIONS = 40
_RIDGE = 1e-6

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """So many observations, and their sums of x x', of x y and of y y; the first of x is 1."""

    count: float
    gram: Matrix
    cross: tuple[float, ...]
    square: float

    @property
    def mean(self) -> tuple[float, ...]:
        """The mean x."""
        return tuple(g / self.count for g in self.gram[0])

    @property
    def mean_s(self) -> float:
        """The mean y."""
        return self.cross[0] / self.count


@dataclass(frozen=True, slots=True)
class Fit:
    """The times, and the covariance of their logarithms."""

    times_s: tuple[float, ...]
    covariance: Matrix

    def step_s(self, x: Sequence[float]) -> float:
        """Seconds of a step with this in it."""
        return dot(self.times_s, x)

    def relative_variance(self, x: Sequence[float]) -> float:
        """Of that time, as far as it comes from not knowing the profile."""
        whole = max(self.step_s(x), 1e-30)
        shares = [t * xi / whole for t, xi in zip(self.times_s, x, strict=True)]
        return max(0.0, dot(shares, [dot(row, shares) for row in self.covariance]))


def dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def prior(scales: Sequence[float]) -> Fit:
    """What is known of a profile that nothing was measured of."""
    size = range(len(scales))
    return Fit(tuple(scales), tuple(tuple(COMMON_SD**2 + (OWN_SD**2 if i == j else 0.0) for j in size) for i in size))


def fit(sums: Sums, scales: Sequence[float], start: Sequence[float]) -> Fit:
    """The most probable times after these observations, of which there must be one at least.

    `scales` are the declared times, `start` is what they were thought to be before: where it begins to look.
    """
    gram = tuple(tuple(g * a * b for g, b in zip(row, scales, strict=True)) for row, a in zip(sums.gram, scales, strict=True))
    data = Scaled(gram, tuple(c * a for c, a in zip(sums.cross, scales, strict=True)), sums.square)
    weight = 1.0 / max(_unexplained(data) / sums.count, (LEAST_NOISE * sums.mean_s) ** 2, 1e-18)
    expected = _inverse(prior(scales).covariance)
    u = [min(MOST_OFF, max(-MOST_OFF, log(a / s))) for a, s in zip(start, scales, strict=True)]
    value, slope, curve = _objective(u, data, weight, expected)
    for _ in range(_ITERATIONS):
        step = _solve(curve, [-g for g in slope])
        longest = max(map(abs, step))
        if longest < 1e-7:
            break
        share = min(1.0, 1.0 / longest)
        while share > 1e-6:
            tried = [min(MOST_OFF, max(-MOST_OFF, a + share * b)) for a, b in zip(u, step, strict=True)]
            after = _objective(tried, data, weight, expected)
            if after[0] < value:
                break
            share *= 0.25
        else:
            break
        u, (value, slope, curve) = tried, after
    return Fit(tuple(s * exp(a) for s, a in zip(scales, u, strict=True)), _inverse(curve))


@dataclass(frozen=True, slots=True)
class Scaled:
    """Sums in which each of x is multiplied by its declared time, so that all of them are seconds."""

    gram: Matrix
    cross: tuple[float, ...]
    square: float


def _unexplained(data: Scaled) -> float:
    """What the best times there are, likely or not, leave of the sum of squares."""
    lean = tuple(tuple(g * (1.0 + _RIDGE) if i == j else g for j, g in enumerate(row)) for i, row in enumerate(data.gram))
    best = _solve(lean, data.cross) if all(lean[i][i] > 0.0 for i in range(len(lean))) else [0.0] * len(lean)
    return data.square - 2.0 * dot(best, data.cross) + dot(best, [dot(row, best) for row in data.gram])


def _objective(u: Sequence[float], data: Scaled, weight: float, expected: Matrix) -> tuple[float, list[float], Matrix]:
    """Minus the log of the probability, its gradient, and its curvature without what could make that negative."""
    e = [exp(a) for a in u]
    fitted = [dot(row, e) for row in data.gram]
    pull = [dot(row, u) for row in expected]
    value = 0.5 * dot(u, pull) + 0.5 * weight * (data.square - 2.0 * dot(data.cross, e) + dot(e, fitted))
    slope = [p + weight * a * (f - c) for p, a, f, c in zip(pull, e, fitted, data.cross, strict=True)]
    curve = tuple(
        tuple(k + weight * a * g * b for k, g, b in zip(row, gram, e, strict=True))
        for row, gram, a in zip(expected, data.gram, e, strict=True)
    )
    return value, slope, curve


def _cholesky(matrix: Matrix) -> list[list[float]]:
    """The lower triangle whose square the positive matrix is."""
    lower: list[list[float]] = []
    for i, row in enumerate(matrix):
        lower.append([0.0] * len(matrix))
        for j in range(i + 1):
            rest = row[j] - sum(lower[i][k] * lower[j][k] for k in range(j))
            lower[i][j] = sqrt(max(rest, 1e-12 * row[i], 1e-300)) if i == j else rest / lower[j][j]
    return lower


def _solve(matrix: Matrix, right: Sequence[float]) -> list[float]:
    lower, size = _cholesky(matrix), len(right)
    y: list[float] = []
    for i in range(size):
        y.append((right[i] - sum(lower[i][k] * y[k] for k in range(i))) / lower[i][i])
    x = [0.0] * size
    for i in reversed(range(size)):
        x[i] = (y[i] - sum(lower[k][i] * x[k] for k in range(i + 1, size))) / lower[i][i]
    return x


def _inverse(matrix: Matrix) -> Matrix:
    size = range(len(matrix))
    columns = [_solve(matrix, [1.0 if i == j else 0.0 for i in size]) for j in size]
    return tuple(tuple(columns[j][i] for j in size) for i in size)


def finite(fitted: Fit) -> bool:
    """Whether every number of it is one."""
    return all(0.0 < t < inf for t in fitted.times_s) and all(-inf < v < inf for row in fitted.covariance for v in row)

"""The few distributions the queueing model stands on, in plain Python and closed form: every pool is sized again on every pass.

Each is described by its mean and its spread. All of them grow with their mean, so that what is built from them does too.
"""

from __future__ import annotations

from math import erfc, exp, inf, lgamma, log, sqrt

NODES = (
    (-2.8569700138728056, 0.011257411327720693),
    (-1.355626179974266, 0.22207592200561266),
    (0.0, 0.5333333333333333),
    (1.355626179974266, 0.22207592200561266),
    (2.8569700138728056, 0.011257411327720693),
)
"""Gauss-Hermite points of the standard normal and their weights: five carry a smooth expectation well into the tail."""

FEW = 2.0
"""Above this mean a count is smooth enough to be taken at NODES instead of one by one."""

NEGLIGIBLE = 1e-3
"""Probability that is not looked at more closely: what is left of a distribution then counts as its next value."""

Points = list[tuple[float, float]]
"""Values, each with its probability."""


def gamma_tail(x: float, mean: float, cv2: float) -> float:
    """P(X > x) of a gamma variable with that mean and squared coefficient of variation; of a constant when cv2 is 0 (Wilson-Hilferty)."""
    if x <= 0.0:
        return 1.0 if x < 0.0 or mean > 0.0 else 0.0
    if cv2 < 1e-9 or mean <= 0.0:
        return 1.0 if x < mean else 0.0
    return 0.5 * erfc((float(x / mean) ** (1 / 3) - 1.0 + cv2 / 9.0) * 2.1213203435596424 / sqrt(cv2))


def cube_root(x: float) -> float:
    """Of a time; below any other where there is none left."""
    return float(x ** (1 / 3)) if x > 0.0 else -inf


def gamma_tail_of_either(root: float, other: float, mean: float, cv2: float) -> float:
    """The mean of `gamma_tail` at two values above 0 or below any, given by their cube roots: most of a sizing is spent on this."""
    if cv2 < 1e-9 or mean <= 0.0:
        least = cube_root(mean)
        return 0.5 * ((root < least) + (other < least))
    each, off, scale = mean ** (-1 / 3), cv2 / 9.0 - 1.0, 2.1213203435596424 / sqrt(cv2)
    return 0.25 * (erfc((root * each + off) * scale) + erfc((other * each + off) * scale))


def gamma_points(mean: float, variance: float) -> Points:
    """A count with that mean and variance, at NODES. Half a unit is added before and taken off after, so that a count can be 0."""
    shifted = mean + 0.5
    cv2 = variance / (shifted * shifted)
    root = sqrt(cv2) / 3.0
    return [(max(0.0, shifted * max(0.0, 1.0 - cv2 / 9.0 + z * root) ** 3 - 0.5), weight) for z, weight in NODES]


def count_points(mean: float, dispersion: float, negligible: float = NEGLIGIBLE) -> Points:
    """A negative binomial count; `dispersion` is variance over mean, and 1 or less makes it Poisson."""
    if mean <= 0.0:
        return [(0.0, 1.0)]
    if mean > FEW:
        return gamma_points(mean, mean * max(1.0, dispersion))
    if dispersion > 1.000001:
        grow = 1.0 - 1.0 / dispersion
        first, weight = grow * mean / (dispersion - 1.0), none_at_all(mean, dispersion)
    else:
        grow, first, weight = 0.0, mean, exp(-mean)
    points: Points = []
    left, value = 1.0, 0.0
    while left - weight > negligible and value < 100.0:
        points.append((value, weight))
        left -= weight
        weight *= (first + grow * value) / (value + 1.0)
        value += 1.0
    points.append((value, left))
    return points


def none_at_all(mean: float, dispersion: float) -> float:
    """P(0) of a count: negative binomial where dispersion is above 1, Poisson at 1, binomial below."""
    if mean <= 0.0:
        return 1.0
    if abs(dispersion - 1.0) < 1e-6 or dispersion <= 0.0:
        return exp(-mean)
    return exp(-mean * log(dispersion) / (dispersion - 1.0))


def negative_binomial(value: float, shape: float, growth: float) -> float:
    """P(N = value), where successive probabilities have the ratio growth * (shape + n) / (n + 1)."""
    if growth <= 0.0:
        return 1.0 if value <= 0.0 else 0.0
    return exp(lgamma(shape + value) - lgamma(shape) - lgamma(value + 1.0) + value * log(growth) + shape * log(1.0 - growth))

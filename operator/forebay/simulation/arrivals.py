"""Arrivals of known law: a rate that changes over time, and how much they clump."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from math import sqrt

Knot = tuple[float, float]
"""Time, seconds, and rate, requests/s. Between two knots the rate is linear; two at one time are a step."""

MAX_CV = 4.0
"""A trace's coefficient of variation is clipped to this: it is itself noisy, and one gap of a wild row would be a day without requests."""


def stages(plan: Sequence[tuple[float, float]]) -> list[Knot]:
    """The knots of (requests/s, seconds) stages, one after the other."""
    knots, at = [], 0.0
    for rate, span_s in plan:
        knots += [(at, rate), (at + span_s, rate)]
        at += span_s
    return knots


def renewal(knots: Sequence[Knot], seed: int, cv: Callable[[float], float] = lambda _: 1.0) -> Iterator[float]:
    """Arrival times of a renewal process in the rate's own time: its gaps, as counts to be expected, are gamma-distributed with mean 1.

    `cv` is their coefficient of variation at a time; at 1 this is a Poisson process, for any rate.
    """
    chance = random.Random(seed)
    index, now = 0, knots[0][0]
    while True:
        spread = max(cv(now), 1e-3) ** 2
        ahead = chance.gammavariate(1.0 / spread, spread)
        while True:
            if index + 1 >= len(knots):
                return
            (t0, r0), (t1, r1) = knots[index], knots[index + 1]
            slope = (r1 - r0) / (t1 - t0) if t1 > t0 else 0.0
            rate = r0 + slope * (now - t0)
            rest = 0.5 * (rate + r1) * (t1 - now)
            if ahead < rest:
                now += _solved(rate, slope, ahead)
                break
            ahead -= rest
            index, now = index + 1, t1
        yield now


def _solved(rate: float, slope: float, area: float) -> float:
    """The time after which the area under a linear rate is this."""
    root = sqrt(max(0.0, rate * rate + 2.0 * slope * area))
    return 2.0 * area / (rate + root) if rate + root > 0.0 else 0.0

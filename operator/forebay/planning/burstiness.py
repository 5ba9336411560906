"""How much arrivals clump, and how evenly replicas are used: what the sidecars' counts say of both.

The index of dispersion of counts is the variance of arrivals in a window over their mean: 1 for independent callers, more where they come
in clumps. It is taken from the rates of three windows, one after the other: their second difference knows nothing of a level or a trend.
The router's efficiency is taken from how unequal the replicas' numbers in flight are, between those of a least-loaded router and those of
a blind one. Both are averages over about an hour, of samples that are clipped, so that a step in demand does not count as bursts.
"""

from __future__ import annotations

from math import log2

from forebay.planning.queueing import UNEVEN
from forebay.planning.snapshot import DemandPoint, Spread

HORIZON_S = 3600.0
"""Samples of about so long are averaged."""

PRIOR_S = 600.0
"""What is assumed at first, independent callers and a least-loaded router, counts as so many seconds of samples."""

CLIP = 6.6
"""A squared normal deviate is above so many times its mean once in a hundred."""

MOST = 16.0
"""That of gaps with a coefficient of variation of four. What windows of a minute show beyond it is demand that changes, not clumps."""

CALM = 1.3
"""A dispersion below this is taken for 1: it is as much what an hour of samples is off by."""

_WHOLE, _TOLERANCE = 0.95, 0.2
"""Windows may overlap by the rest of this share, and one may be off its place by this share of their distance."""


def dispersed(known: Spread | None, points: tuple[DemandPoint, ...], window_s: float) -> Spread:
    """The average with what the newest point adds; `points` are rates over `window_s`, the newest last."""
    known = known or Spread(value=1.0, seconds=PRIOR_S)
    three = _apart(points, window_s)
    if three is None:
        return known
    newest, one, two = three
    mean = (newest.requests_per_s + one.requests_per_s + two.requests_per_s) / 3.0
    if mean <= 0.0:
        return known
    # The variance of a rate over a window is dispersion * rate / window; of a second difference six times that.
    second = newest.requests_per_s - 2.0 * one.requests_per_s + two.requests_per_s
    sample = second * second * window_s / (6.0 * mean)
    return averaged(known, min(sample, CLIP * known.value), newest.at - points[-2].at, least=0.0, most=MOST)


def averaged(known: Spread, sample: float, span_s: float, *, least: float, most: float) -> Spread:
    """The average with one more sample that stands for so many seconds."""
    span_s = min(max(span_s, 0.0), HORIZON_S)
    weight = span_s / (known.seconds + span_s) if span_s > 0.0 else 0.0
    value = min(most, max(least, known.value + weight * (sample - known.value)))
    return Spread(value=round(value, 4), seconds=round(min(known.seconds + span_s, HORIZON_S), 1))


def _apart(points: tuple[DemandPoint, ...], window_s: float) -> tuple[DemandPoint, DemandPoint, DemandPoint] | None:
    """The newest point and two before it, as far apart as looks come at least a window after each other; None where there are none."""
    newest = points[-1] if points else None
    one = next((p for p in reversed(points) if newest and newest.at - p.at >= _WHOLE * window_s), None)
    if newest is None or one is None:
        return None
    lag_s = newest.at - one.at
    two = min(points, key=lambda p: abs(one.at - p.at - lag_s))
    return (newest, one, two) if abs(one.at - two.at - lag_s) <= _TOLERANCE * lag_s else None


def in_steps(dispersion: float) -> float:
    """The dispersion in steps of half a power of two, so that a size does not change by what is noise in it."""
    return 1.0 if dispersion < CALM else float(2.0 ** (round(2.0 * log2(dispersion)) / 2.0))


def evenness(variance: float, mean: float, growth: float) -> float:
    """How well a router evens out, 0 to 1, given mean and variance of the numbers in flight on its replicas.

    `growth` is the load of a replica as the queueing model has it: a blind router leaves a negative binomial with variance mean/(1-growth).
    """
    blind = mean / max(1e-3, 1.0 - growth)
    return min(1.0, max(0.0, 1.0 - (variance - UNEVEN) / (blind - UNEVEN))) if blind > 2.0 * UNEVEN else 1.0

"""How much arrivals clump, and how evenly replicas are used: what the sidecars' counts say of both.

The index of dispersion of counts is the variance of arrivals in a while over their mean: 1 for independent callers, more where they come
in clumps. Windows of measurement overlap, and what two that follow on each other differ by is what came between two looks less what came
as long before; so it is taken at the scale of looks, where clumps are told from demand that changes. The difference of two such
differences a window apart knows nothing of a level or a trend.
The router's efficiency is taken from how unequal the replicas' numbers in flight are, between those of a least-loaded router and those of
a blind one. Both are averages over about an hour, of samples that are clipped, so that a step in demand does not count as bursts.
"""

from __future__ import annotations

from math import inf, log2, sqrt

from forebay.planning.memory import Clumping, DemandPoint, Spread
from forebay.planning.queueing import UNEVEN

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

LEAST_S = 10.0
"""Looks nearer to each other are taken for one: requests of less time are too few, and moments of measurement too uncertain."""

STEP = 4.0
"""More deviations than chance has in a year of looks: demand that is another, and not a clump."""

_TOLERANCE = 0.2
"""A look may be off its place by this share of the distance of two."""


def dispersed(known: Clumping | None, points: tuple[DemandPoint, ...], window_s: float) -> Clumping:
    """The average with what the newest point adds; `points` are rates over `window_s`, the newest last."""
    known = known or Clumping(value=1.0, seconds=PRIOR_S)
    four = _looks(points, window_s)
    if four is None:
        return known
    mean = sum(p.requests_per_s for p in four) / 4.0
    if mean <= 0.0:
        return known
    new, before, old, oldest = four
    # What came since the look before, less what came a window earlier, and the same of the older pair: four counts of `span_s`, of which
    # the inner two overlap, for a look is seldom just a window old.
    step_s = new.at - before.at
    span_s = min(step_s, window_s)
    shared = max(0.0, 1.0 - abs(new.at - old.at - max(window_s, step_s)) / span_s)
    counts = window_s * (new.requests_per_s - before.requests_per_s - old.requests_per_s + oldest.requests_per_s)
    sample = counts * counts / ((4.0 + 2.0 * shared) * mean * span_s)
    span_s = new.at - points[-2].at
    found = averaged(known, min(sample, CLIP * known.value), span_s, least=0.0, most=MOST)
    # The prior was of no rate.
    at_rate = averaged(Spread(value=known.requests_per_s, seconds=max(0.0, known.seconds - PRIOR_S)), mean, span_s, least=0.0, most=inf)
    return Clumping(value=found.value, seconds=found.seconds, requests_per_s=at_rate.value)


def at_rate(known: Clumping | None, requests_per_s: float) -> float:
    """The index of dispersion to expect at a rate, in steps (`in_steps`); 1 where nothing is known.

    Demand that swells and ebbs is as unequal as it is large: what counts vary by beyond chance grows as the square of their mean. So at a
    rate below the one that it was seen at there is less of it in proportion: a pool that is asked once an hour does not get clumps of
    sixteen, though it did while it was busy. At a higher rate it counts as it was seen.
    """
    if known is None:
        return 1.0
    share = min(1.0, requests_per_s / known.requests_per_s) if known.requests_per_s > 0.0 else 1.0
    return in_steps(1.0 + share * (known.value - 1.0))


def stepped(points: tuple[DemandPoint, ...], window_s: float, dispersion: float) -> float:
    """Requests/s since the last look, where more came than chance explains; else 0. `points` are rates over `window_s`, the newest last.

    What two windows that follow on each other differ by is what came between the looks, less what came a window earlier.
    """
    four = _looks(points, window_s)
    if four is None:
        return 0.0
    new, before, old, _ = four
    span_s = new.at - before.at
    gone, more = old.requests_per_s * span_s, window_s * (new.requests_per_s - before.requests_per_s)
    by_chance = sqrt(dispersion * max(1.0, more + 2.0 * gone))
    # The nearest that it may be to what was: a step is seen whole in the next look, and what is asked for too much stays for a while.
    return (gone + more - by_chance) / span_s if span_s <= window_s and more > STEP * by_chance else 0.0


def averaged(known: Spread, sample: float, span_s: float, *, least: float, most: float) -> Spread:
    """The average with one more sample that stands for so many seconds."""
    span_s = min(max(span_s, 0.0), HORIZON_S)
    weight = span_s / (known.seconds + span_s) if span_s > 0.0 else 0.0
    value = min(most, max(least, known.value + weight * (sample - known.value)))
    return Spread(value=round(value, 4), seconds=round(min(known.seconds + span_s, HORIZON_S), 1))


def _looks(points: tuple[DemandPoint, ...], window_s: float) -> tuple[DemandPoint, DemandPoint, DemandPoint, DemandPoint] | None:
    """The newest point and the look before it, and two as far from each other a window earlier; None where there are none.

    Where looks come further apart than a window is long, the window before is that of the look before.
    """
    new = points[-1] if points else None
    before = next((p for p in reversed(points) if new and new.at - p.at >= LEAST_S), None)
    if new is None or before is None:
        return None
    step_s = new.at - before.at
    lag_s = max(window_s, step_s)
    old = min(points, key=lambda p: abs(new.at - lag_s - p.at))
    oldest = min(points, key=lambda p: abs(old.at - step_s - p.at))
    near, alike = abs(new.at - lag_s - old.at) <= (0.5 + _TOLERANCE) * step_s, abs(old.at - step_s - oldest.at) <= _TOLERANCE * step_s
    return (new, before, old, oldest) if near and alike else None


def in_steps(dispersion: float) -> float:
    """The dispersion in steps of half a power of two, so that a size does not change by what is noise in it."""
    return 1.0 if dispersion < CALM else float(2.0 ** (round(2.0 * log2(dispersion)) / 2.0))


def evenness(variance: float, mean: float, growth: float) -> float:
    """How well a router evens out, 0 to 1, given mean and variance of the numbers in flight on its replicas.

    `growth` is the load of a replica as the queueing model has it: a blind router leaves a negative binomial with variance mean/(1-growth).
    """
    blind = mean / max(1e-3, 1.0 - growth)
    return min(1.0, max(0.0, 1.0 - (variance - UNEVEN) / (blind - UNEVEN))) if blind > 2.0 * UNEVEN else 1.0

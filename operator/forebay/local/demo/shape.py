"""A load over time, and the moments at which its requests are sent: open loop, so a slow answer never makes the load smaller."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Shape:
    """Requests per second as straight lines between points of (seconds, requests per second), the first of them at 0."""

    points: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        return self.points[-1][0]

    def rate(self, at_s: float) -> float:
        """Requests per second at a moment; 0 after the last point."""
        for (begin, low), (end, high) in pairwise(self.points):
            if begin <= at_s < end:
                return low + (high - low) * (at_s - begin) / (end - begin)
        return 0.0


def arrivals(shape: Shape, seed: int) -> list[float]:
    """Moments in seconds at which independent clients would come: a Poisson process of this rate, the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311
    most = max(rate for _, rate in shape.points)
    found: list[float] = []
    at_s = 0.0
    while most > 0:
        at_s += chance.expovariate(most)
        if at_s >= shape.seconds:
            break
        if chance.random() * most < shape.rate(at_s):
            found.append(at_s)
    return found

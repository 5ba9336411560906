"""What a HorizontalPodAutoscaler does to a desired count before it asks for it: tolerance, stabilisation, rate limits.

The rules of `autoscaling/v2` (Kubernetes: horizontal pod autoscaling, "scaling policies" and "stabilization window"). Of several policies
the one that allows the most counts, as with `selectPolicy: Max`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from math import ceil, floor

KEPT_S = 3600.0
_NEAR = 1e-9


@dataclass(frozen=True, slots=True)
class Rule:
    """How fast one direction goes. A policy is (share of the count, pods, seconds); without any, there is no limit.

    `window_s` is how long a smaller change must have been out of the question: over it the least (up) or the most (down) that was desired
    counts.
    """

    window_s: float = 0.0
    policies: tuple[tuple[float, int, float], ...] = ()


UP = Rule(0.0, ((1.0, 4, 15.0),))
DOWN = Rule(300.0, ((1.0, 0, 15.0),))
"""The defaults of Kubernetes: up at once by 100 % or 4 pods in 15 s, down by any number after 300 s."""


class Behavior:
    """Remembers what was desired and what was changed. Call `limited` once per sync."""

    def __init__(self, up: Rule = UP, down: Rule = DOWN, tolerance: float = 0.1) -> None:
        self._up, self._down, self._tolerance = up, down, tolerance
        self._desired: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def within_tolerance(self, current: int, desired: float) -> bool:
        """Whether the metric is so near to its target that the count stays."""
        return current > 0 and abs(desired / current - 1.0) <= self._tolerance

    def limited(self, now: float, current: int, desired: int) -> int:
        """The count to ask for."""
        if not self._desired:
            self._desired.append((now, current))
        for kept in (self._desired, self._changes):
            while kept and kept[0][0] < now - KEPT_S:
                kept.popleft()
        least, most = min(self._within(now, self._up.window_s, desired)), max(self._within(now, self._down.window_s, desired))
        self._desired.append((now, desired))
        steady = max(current, least) if current < least else min(current, most)
        wanted = min(steady, self._highest(now, current)) if steady > current else max(steady, self._lowest(now, current))
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    def _within(self, now: float, window_s: float, desired: int) -> list[int]:
        """What is desired now, and was within the window."""
        return [desired, *_since(self._desired, now - window_s)]

    def _highest(self, now: float, current: int) -> int:
        return max((self._allowed_up(now, current, p) for p in self._up.policies), default=10**9)

    def _allowed_up(self, now: float, current: int, policy: tuple[float, int, float]) -> int:
        share, pods, period_s = policy
        began = current - self._changed(now, period_s)
        return max(ceil(began * (1.0 + share)), began + pods)

    def _lowest(self, now: float, current: int) -> int:
        return min((self._allowed_down(now, current, p) for p in self._down.policies), default=0)

    def _allowed_down(self, now: float, current: int, policy: tuple[float, int, float]) -> int:
        share, pods, period_s = policy
        began = current - self._changed(now, period_s)
        return min(floor(began * (1.0 - share)), began - pods)

    def _changed(self, now: float, period_s: float) -> int:
        """By how much the count was changed within the period."""
        return sum(_since(self._changes, now - period_s))


def _since(kept: deque[tuple[float, int]], at: float) -> list[int]:
    """What was kept after a time, newest first."""
    return [value for _, value in takewhile(lambda entry: entry[0] > at + _NEAR, reversed(kept))]

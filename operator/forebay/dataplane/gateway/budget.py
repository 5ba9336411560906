"""The retry budget of a policy: retries as a share of its requests.

A retry per failed request doubles the load on a fleet that is failing because of its load. So retries are paid from a bucket that
requests fill: with a ratio of 0.1, ten requests buy one retry. The bucket starts full, so that a quiet policy can retry too.
"""

from __future__ import annotations

BURST = 10.0
"""Most retries saved up."""


class RetryBudget:
    """A token bucket over requests, not over time."""

    __slots__ = ("_balance", "ratio")

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self._balance = BURST if ratio > 0 else 0.0

    def deposit(self) -> None:
        """Called once for every request."""
        self._balance = min(BURST, self._balance + self.ratio)

    def withdraw(self) -> bool:
        """Whether one retry may be made; it is paid for then."""
        if self.ratio <= 0 or self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True

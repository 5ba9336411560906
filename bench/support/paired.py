"""What was measured beside what was simulated, run by run: mean difference and its interval, held against a bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

MOST_RUNS = 20
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
)  # fmt: skip
"""97.5 % quantiles of Student's t by degrees of freedom, from 1 on."""


@dataclass(frozen=True, slots=True)
class Off:
    """By how much simulation differs from what was measured: the mean over runs, and half of its 95 % interval (NaN for one run)."""

    mean: float
    half: float

    def within(self, bound: float) -> bool:
        """The mean difference is no larger."""
        return abs(self.mean) <= bound

    def shown(self, bound: float) -> bool:
        """The whole interval is no larger."""
        return abs(self.mean) + self.half <= bound


def off(differences: Sequence[float]) -> Off:
    """The mean of the runs' differences. At most MOST_RUNS of them."""
    if len(differences) < 2:
        return Off(fmean(differences), math.nan)
    return Off(fmean(differences), _T_975[len(differences) - 2] * stdev(differences) / math.sqrt(len(differences)))

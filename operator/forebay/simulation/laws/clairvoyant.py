"""A bound, not a law: it knows when every request will arrive, and how long a replica takes to start.

Every bin of time has the count that the work arriving in it needs, each replica taking so much of it; that is ordered ahead by the time of
a start, and given up as soon as no bin before a new one could be ready needs it. How much one replica takes is to be searched: the most
with which the objective is kept on that very workload (`largest`). Counts follow arrivals and not the work that is left over, so a little
less may be possible; a bound to compare with, not a proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import ceil
from typing import TypeVar

from forebay.simulation.law import Observation

T = TypeVar("T")


class Foresight:
    """The work that will arrive, by bins of so many seconds, in a unit of the caller's: requests, or seconds of a replica."""

    def __init__(self, bin_s: float, arrivals: Iterable[tuple[float, float]] = ()) -> None:
        self.bin_s = bin_s
        self._steps: list[float] = []
        """By how much the work of a bin differs from that of the one before it."""
        for at, work in arrivals:
            self.add(at, work)

    def add(self, at: float, work: float, within_s: float = 0.0) -> None:
        """Work that arrives at a time and may be done evenly over so many seconds from then on."""
        bin_, over = int(at / self.bin_s), max(1, int(within_s / self.bin_s))
        self._steps.extend([0.0] * (bin_ + over + 1 - len(self._steps)))
        self._steps[bin_] += work / over
        self._steps[bin_ + over] -= work / over

    def needs(self, replica: float) -> list[int]:
        """Replicas that each bin needs where one does so much work a second."""
        return [max(0, ceil(work / self.bin_s / replica - 1e-6)) for work in accumulate(self._steps)]


class Clairvoyant:
    """`needs` are the replicas of each bin of so many seconds, from the start of the run on."""

    def __init__(self, needs: Sequence[int], bin_s: float, start_s: float, *, interval_s: float = 5.0) -> None:
        self.interval_s = interval_s
        self._needs, self._bin_s, self._start_s = needs, bin_s, start_s

    def decide(self, seen: Observation) -> int:
        """The most that is needed from now until a replica that is asked for at the next decision could be ready."""
        first, last = int(seen.now / self._bin_s), int((seen.now + self._start_s + self.interval_s) / self._bin_s)
        return max(self._needs[first : last + 1], default=0)


def largest(values: Sequence[float], run: Callable[[float], T], holds: Callable[[T], bool]) -> tuple[float, T] | None:
    """The largest of ascending values whose run holds, halved in on, and what it came to; None where none holds that was tried."""
    kept: tuple[float, T] | None = None
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        found = run(values[middle])
        if holds(found):
            kept, low = (values[middle], found), middle + 1
        else:
            high = middle
    return kept

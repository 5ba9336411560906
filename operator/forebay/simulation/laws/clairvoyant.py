"""A bound, not a law: it knows when every request will arrive, and how long a replica takes to start.

Every minute has the count that its arrivals need, each replica taking `replica_rps`; it is ordered ahead by the time of a start, and given
up as soon as no minute before a new one could be ready needs it. How much one replica takes is the caller's to search: the largest with
which the objective is met. Counts follow arrivals and not the work that is left over, so a little less may be possible; a bound to compare
with, not a proof.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from math import ceil

from forebay.simulation.law import Observation


class Clairvoyant:
    """`arrivals` are times, seconds from the start of the run. With `works` a replica takes so much work per second instead of requests."""

    def __init__(
        self,
        arrivals: Iterable[float],
        replica_rps: float,
        start_s: float,
        *,
        bin_s: float = 60.0,
        interval_s: float = 5.0,
        works: Iterable[float] = repeat(1.0),
    ) -> None:
        self.interval_s = interval_s
        self._bin_s, self._start_s = bin_s, start_s
        counts: list[float] = []
        for at, work in zip(arrivals, works, strict=False):
            bin_ = int(at / bin_s)
            counts.extend([0.0] * (bin_ + 1 - len(counts)))
            counts[bin_] += work
        self._needs = [ceil(count / bin_s / replica_rps - 1e-9) for count in counts]

    def decide(self, seen: Observation) -> int:
        """The most that is needed from now until a replica that is asked for at the next decision could be ready."""
        first, last = int(seen.now / self._bin_s), int((seen.now + self._start_s + self.interval_s) / self._bin_s)
        return max(self._needs[first : last + 1], default=0)

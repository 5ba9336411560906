"""SageServe's scaling for one model in one region: in its style, not a re-implementation of the system.

Source: the paper (arXiv 2502.14617) and its public simulator (long_term_allocation.py, global_arbiter.py, arbiter.py, read 2026-11).
Every hour an allocation covers the most that is forecast between 20 and 60 minutes ahead; with one model, one region and one kind of GPU
its integer program is a division. Between two hours memory decides, one replica at a time and none while one is on its way: more above
0.5 of the cache while the allocation allows it and above 0.9 in any case, less below 0.25 while the allocation asks for less.

Different here: forecasts come precomputed by ARIMA there. Here they are the same minutes of the day before, scaled by how the last hour
compares with its own hour then; without a day of history there is no allocation, and memory alone decides, as in its reactive baseline.
The non-interactive tenth and the exchange of models between endpoints are not here.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from forebay.simulation.law import Observation

DAY_MIN = 1440


class SageServe:
    """`replica_rps` is what one replica holds, requests/s; `cache_tokens` its KV cache. Cooldowns are start-up and reclaim times."""

    interval_s = 15.0

    def __init__(
        self,
        replica_rps: float,
        cache_tokens: float,
        *,
        up_at: float = 0.5,
        down_at: float = 0.25,
        urgent_at: float = 0.9,
        up_cooldown_s: float = 155.0,
        down_cooldown_s: float = 65.0,
        allocation_s: float = 3600.0,
    ) -> None:
        self._replica_rps, self._cache_tokens = replica_rps, cache_tokens
        self._up_at, self._down_at, self._urgent_at = up_at, down_at, urgent_at
        self._up_cooldown_s, self._down_cooldown_s, self._allocation_s = up_cooldown_s, down_cooldown_s, allocation_s
        self._minutes: deque[float] = deque(maxlen=DAY_MIN + 120)
        self._counted_to = 0.0
        self._next_at, self._allocate_at = 0.0, 0.0
        self._allocation: int | None = None

    def decide(self, seen: Observation) -> int:
        self._count(seen)
        if seen.now >= self._allocate_at:
            self._allocate_at = seen.now + self._allocation_s
            forecast = self.forecast_rps()
            self._allocation = None if forecast is None else max(1, ceil(forecast / self._replica_rps))
        if seen.now < self._next_at or not seen.samples or not seen.ready:
            return seen.replicas
        used = seen.samples[-1].context_tokens / (seen.ready * self._cache_tokens)
        missing = None if self._allocation is None else self._allocation - seen.replicas
        if used > self._urgent_at or (used > self._up_at and (missing is None or missing > 0)):
            self._next_at = seen.now + self._up_cooldown_s
            return seen.replicas + 1
        if used < self._down_at and (missing is None or missing < 0) and seen.replicas > 1:
            self._next_at = seen.now + self._down_cooldown_s
            return seen.replicas - 1
        return seen.replicas

    def forecast_rps(self) -> float | None:
        """The most of the minutes 20 to 60 ahead; None with less than a day of history."""
        minutes = list(self._minutes)
        if len(minutes) < DAY_MIN:
            return None
        day_before = minutes[-DAY_MIN:]
        then = sum(minutes[-DAY_MIN - 60 : -DAY_MIN])
        ratio = sum(minutes[-60:]) / then if then > 0 else 1.0
        return max(day_before[20:60]) * ratio

    def _count(self, seen: Observation) -> None:
        """Requests/s of each whole minute."""
        while self._counted_to + 60.0 <= seen.now + 1e-9:
            end = self._counted_to + 60.0
            self._minutes.append(sum(s.arrived for s in seen.last(120.0) if self._counted_to < s.at <= end + 1e-9) / 60.0)
            self._counted_to = end

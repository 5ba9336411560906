"""Knative's pod autoscaler on concurrency: a re-implementation.

Source: Knative Serving, "Additional autoscaling configuration" and config-autoscaler's defaults. Pods = mean concurrency over a window /
(target × utilisation); a stable window of 60 s and a panic window of a tenth of it; panic begins when the panic window asks for twice the
ready pods, never shrinks, and ends after a stable window without cause; in panic the larger of both windows counts (PR 8106). The count
changes by at most the factors `max_up` and `max_down` of what is ready, every 2 s. The target, 100 requests per pod, is Knative's where a
container declares no concurrency; it, `max_up` and `max_down` were recalled and not verified. The activator, burst capacity and scaling to
zero are not here. Samples are gauges every few seconds, where Knative averages within each second.
"""

from __future__ import annotations

from math import ceil, floor, inf

from forebay.simulation.law import Observation
from forebay.simulation.laws.measured import mean_in_flight


class Kpa:
    """`target` is requests in flight per pod at full use."""

    interval_s = 2.0

    def __init__(
        self,
        target: float = 100.0,
        *,
        utilisation: float = 0.7,
        stable_s: float = 60.0,
        panic_share: float = 0.1,
        panic_at: float = 2.0,
        max_up: float = 1000.0,
        max_down: float = 2.0,
    ) -> None:
        self._per_pod = target * utilisation
        self._stable_s, self._panic_s, self._panic_at = stable_s, stable_s * panic_share, panic_at
        self._max_up, self._max_down = max_up, max_down
        self._panics_since = -inf
        self._most = 0

    def decide(self, seen: Observation) -> int:
        if not seen.samples:
            return seen.replicas
        ready = max(1, seen.ready)
        least, most = floor(ready / self._max_down), ceil(ready * self._max_up)
        stable, panic = (self._pods(seen, window_s) for window_s in (self._stable_s, self._panic_s))
        bounded = min(max(stable, least), most)
        if panic / ready >= self._panic_at:
            if self._panics_since == -inf:
                self._most = 0
            self._panics_since = seen.now
        elif seen.now - self._panics_since > self._stable_s:
            self._panics_since = -inf
        if self._panics_since == -inf:
            return bounded
        self._most = max(self._most, bounded, min(max(panic, least), most), seen.ready)
        return self._most

    def _pods(self, seen: Observation, window_s: float) -> int:
        samples = seen.last(window_s) or seen.samples
        return ceil(mean_in_flight(samples) / self._per_pod)

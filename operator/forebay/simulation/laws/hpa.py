"""A HorizontalPodAutoscaler on the queue, as KEDA drives one: a re-implementation.

Source: Kubernetes, "Horizontal Pod Autoscaling" (algorithm, behaviour and their defaults), and KEDA's documentation: a Prometheus trigger
of the metric type AverageValue. desired = ceil(metric / target), which is ceil(count × mean per pod / target); within a tolerance of 10 %
the count stays; looked at every 15 s. The default target, 5 waiting requests per pod, is that of the vLLM production stack's KEDA
tutorial, recalled and not verified. KEDA's `pollingInterval` has no effect above zero replicas (llm-d's guide), so it is not here.
"""

from __future__ import annotations

from math import ceil, inf

from forebay.simulation.law import Observation
from forebay.simulation.laws.behavior import DOWN, UP, Behavior, Rule


class Hpa:
    """Requests per pod to aim for: those that wait, and all `in_flight` where a second trigger is wanted. The larger answer counts."""

    interval_s = 15.0

    def __init__(self, waiting: float = 5.0, in_flight: float = inf, *, up: Rule = UP, down: Rule = DOWN) -> None:
        self._waiting, self._in_flight = waiting, in_flight
        self._behavior = Behavior(up, down)

    def decide(self, seen: Observation) -> int:
        now = seen.samples[-1] if seen.samples else None
        if now is None or seen.replicas == 0:
            return seen.replicas
        triggers = (now.waiting / self._waiting, (now.waiting + now.running) / self._in_flight)
        wanted = max(self._one(seen.replicas, count) for count in triggers)
        return self._behavior.limited(seen.now, seen.replicas, wanted)

    def _one(self, current: int, count: float) -> int:
        return current if self._behavior.within_tolerance(current, count) else ceil(count)

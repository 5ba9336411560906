"""A count that never changes."""

from __future__ import annotations

from forebay.simulation.law import Observation


class Static:
    """Static capacity."""

    interval_s = 3600.0

    def __init__(self, replicas: int) -> None:
        self.replicas = replicas

    def decide(self, seen: Observation) -> int:
        return self.replicas

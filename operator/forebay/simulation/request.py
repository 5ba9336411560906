"""One request of a workload, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan


@dataclass(slots=True)
class Request:
    """Times in seconds of the virtual clock; nan until they are known. A request that was refused never has a first token."""

    arrived: float
    input_tokens: int
    output_tokens: int
    batch_class: str = "default"
    tenant: str = ""
    first_token: float = nan
    finished: float = nan
    gives_up_at: float = inf
    """Refused if it still waits for a place then."""
    held_until: float = inf
    """Turned away if no replica is there by then."""
    attempts: int = 1
    """Replicas that the gateway has sent it to."""

    @property
    def time_to_first_token_s(self) -> float:
        return self.first_token - self.arrived

    @property
    def per_output_token_s(self) -> float:
        """Mean time between its tokens; 0 where there is one only."""
        return (self.finished - self.first_token) / (self.output_tokens - 1) if self.output_tokens > 1 else 0.0

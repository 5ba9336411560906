"""What came of a simulated run: requests, replicas, and what befell them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field


@dataclass(slots=True)
class Outcome:
    """What came of a run. One entry per request, in order of their ends; times in seconds."""

    arrived: array[float] = field(default_factory=lambda: array("d"))
    first_token_s: array[float] = field(default_factory=lambda: array("d"))
    per_token_s: array[float] = field(default_factory=lambda: array("d"))
    end_to_end_s: array[float] = field(default_factory=lambda: array("d"))
    classes: array[int] = field(default_factory=lambda: array("B"))
    class_names: list[str] = field(default_factory=list)
    refused_of: dict[str, int] = field(default_factory=dict)
    """Requests that found no room in a queue or waited for too long, by class."""
    lost_of: dict[str, int] = field(default_factory=dict)
    """Requests whose answer did not come whole: its replica went when it had begun, or there was none to try after it. By class."""
    retried: int = 0
    """Requests that a replica took with it before it had answered a byte, and that were sent to another."""
    span_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    """Of all that were answered."""
    paid_s: dict[str, float] = field(default_factory=dict)
    """Replica-seconds by variant."""
    replicas: list[tuple[float, int, int]] = field(default_factory=list)
    """At each sample: time, replicas that serve, replicas that there are."""
    sample_s: float = 0.0
    arrivals: array[int] = field(default_factory=lambda: array("L"))
    arrived_tokens: array[int] = field(default_factory=lambda: array("Q"))
    """Since the last sample: requests that came, and tokens of their prompts."""
    billed: dict[str, array[int]] = field(default_factory=dict)
    """At each sample, by variant: replicas that cost something."""
    happened: list[tuple[float, str, str]] = field(default_factory=list)
    """What befell the fleet: time, what, and the replica's name."""

    @property
    def lost(self) -> int:
        return sum(self.lost_of.values())

    @property
    def refused(self) -> int:
        return sum(self.refused_of.values())

    @property
    def replica_s(self) -> float:
        """Replica-seconds of all variants."""
        return sum(self.paid_s.values())

    @property
    def replicas_mean(self) -> float:
        return self.replica_s / self.span_s if self.span_s > 0 else 0.0

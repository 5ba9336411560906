"""What came of a simulated run: requests, replicas, and what befell them."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_TENANTS = 1000
"""Tenants that are told apart, the first that come; all further ones are one."""

OTHERS = "(others)"


@dataclass(slots=True)
class Tenants:
    """Whose requests they were. Lists have a place for each tenant, whose number it is."""

    numbers: dict[str, int] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    input_tokens: list[int] = field(default_factory=list)
    output_tokens: list[int] = field(default_factory=list)
    """Of requests that were answered."""

    def number_of(self, name: str) -> int:
        """The tenant's number, a new one the first time."""
        found = self.numbers.get(name)
        if found is None:
            if len(self.numbers) >= MOST_TENANTS and name != OTHERS:
                return self.number_of(OTHERS)
            found = self.numbers[name] = len(self.numbers)
            for counts in (self.refused, self.lost, self.input_tokens, self.output_tokens):
                counts.append(0)
        return found


@dataclass(slots=True)
class Outcome:
    """What came of a run. One entry per request, in order of their ends; times in seconds."""

    arrived: array[float] = field(default_factory=lambda: array("d"))
    first_token_s: array[float] = field(default_factory=lambda: array("d"))
    per_token_s: array[float] = field(default_factory=lambda: array("d"))
    end_to_end_s: array[float] = field(default_factory=lambda: array("d"))
    classes: array[int] = field(default_factory=lambda: array("B"))
    class_names: list[str] = field(default_factory=list)
    tenants: array[int] = field(default_factory=lambda: array("H"))
    of_tenants: Tenants = field(default_factory=Tenants)
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
    counts_s: dict[str, dict[int, float]] = field(default_factory=dict)
    """By variant: for how many seconds how many replicas were paid for."""
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
    def paid_s(self) -> dict[str, float]:
        """Replica-seconds by variant."""
        return replica_seconds(self.counts_s)

    @property
    def replica_s(self) -> float:
        """Replica-seconds of all variants."""
        return sum(self.paid_s.values())

    @property
    def replicas_mean(self) -> float:
        return self.replica_s / self.span_s if self.span_s > 0 else 0.0


def replica_seconds(counts_s: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """By variant, given for how many seconds there were how many."""
    return {variant: sum(count * seconds for count, seconds in counts.items()) for variant, counts in counts_s.items()}

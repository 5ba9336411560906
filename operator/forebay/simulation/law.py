"""What a law of scaling sees, and what it answers: the seam that our planner and re-implemented peers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Protocol

from forebay.api.prompting import NOTHING


@dataclass(slots=True)
class Sample:
    """What was measured over one short interval that ends at `at`. Rates are counts of the interval, gauges its end.

    `first_token_s` and `per_token_s` are of the requests that got their first token, or their last, within it. `in_flight_variance` is that
    between replicas; None with fewer than two.
    """

    at: float
    span_s: float
    arrived: int = 0
    arrived_input_tokens: int = 0
    completed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_squared: int = 0
    output_tokens_squared: int = 0
    waiting: int = 0
    running: int = 0
    in_flight_variance: float | None = None
    context_tokens: int = 0
    ready: int = 0
    first_token_s: list[float] = field(default_factory=list)
    per_token_s: list[float] = field(default_factory=list)
    classes: dict[str, Sample] = field(default_factory=dict)
    """The same of each class by itself, where that was asked for."""
    steps: dict[str, list[float]] = field(default_factory=dict)
    """What the replicas' steps took, by variant: sums in the order of `step_moments.TERMS`."""
    prompting: tuple[float, ...] = NOTHING
    """Where prompts were sent: sums in the order of `prompting.TERMS`."""

    def of(self, name: str) -> Sample:
        """The sample of one class."""
        found = self.classes.get(name)
        if found is None:
            found = self.classes[name] = Sample(self.at, self.span_s)
        return found

    def add_arrival(self, input_tokens: int) -> None:
        self.arrived += 1
        self.arrived_input_tokens += input_tokens

    def add_end(self, input_tokens: int, output_tokens: int, per_token_s: float) -> None:
        self.completed += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        self.input_tokens_squared += input_tokens**2
        self.output_tokens_squared += output_tokens**2
        self.per_token_s.append(per_token_s)


@dataclass(frozen=True, slots=True)
class Observation:
    """The moment of a decision. `samples` are the last ones, oldest first; `starting` replicas were asked for and are not ready yet."""

    now: float
    ready: int
    starting: int
    samples: Sequence[Sample]

    @property
    def replicas(self) -> int:
        return self.ready + self.starting

    def last(self, window_s: float) -> Sequence[Sample]:
        """The samples of the last so many seconds."""
        found = list(takewhile(lambda sample: sample.at > self.now - window_s + 1e-9, reversed(self.samples)))
        found.reverse()
        return found


class Law(Protocol):
    """Decides how many replicas there should be."""

    interval_s: float
    """Seconds between two decisions."""

    def decide(self, seen: Observation) -> int | Mapping[str, int]:
        """The count to have, kept within the bounds by what asks for it; or the counts of several variants, taken as they are."""

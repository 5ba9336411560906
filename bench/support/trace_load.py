"""Two weeks of requests, drawn once from a trace of rates and kept, so that every law gets the same ones without drawing them again."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from bench.support.comparison import Arrival
from forebay.simulation.arrivals import renewal
from forebay.simulation.lengths import Lengths
from forebay.simulation.workload import Rates


@dataclass(frozen=True, slots=True)
class Trace:
    """Rates over time, lengths, and the seed that makes requests of them."""

    rates: Rates
    lengths: Lengths
    seed: int

    @property
    def span_s(self) -> float:
        return self.rates.knots[-1][0]

    def between(self, since_s: float, until_s: float) -> Iterator[Arrival]:
        """The requests of a part of it, with their times counted from its beginning."""
        times, inputs, outputs = _drawn(self)
        for index in range(bisect_left(times, since_s), bisect_left(times, until_s)):
            yield times[index] - since_s, inputs[index], outputs[index]


@lru_cache(maxsize=1)
def _drawn(trace: Trace) -> tuple[array[float], array[int], array[int]]:
    """Times, input and output tokens of all requests: 16 bytes each. What is drawn before processes fork, they have."""
    times, inputs, outputs = array("d"), array("I"), array("I")
    for at, prompt, answer in trace.lengths.drawn(renewal(trace.rates.knots, trace.seed, trace.rates.cv_at()), trace.seed):
        times.append(at)
        inputs.append(prompt)
        outputs.append(answer)
    return times, inputs, outputs

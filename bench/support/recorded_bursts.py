"""Recorded arrivals at second resolution, for a pool of a size: bursts as they came, requests as they were or of other lengths.

A trace has the rate that its service had. To need several replicas of another engine every request is repeated a number of times, each copy
at a random moment of the same second and of the length of a request near it in the trace; a number below 1 leaves requests out at random.
The first copy stays as it was recorded. The number is such that the busiest minute of the first half takes a share of what the most
replicas do; the second half has no part in it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

from bench.support.comparison import Arrival
from bench.support.ramp_laws import Engine, Mean
from forebay.planning.queueing import service_rate
from forebay.planning.work import EngineProfile, Load, work_of
from forebay.runtime.errors import ForebayError
from forebay.simulation.laws.capacity import mean_per_token_s
from forebay.simulation.score import Objective
from forebay.simulation.workload import read

SPAN_S = 3600.0
HALF_S = SPAN_S / 2
BUSIEST = 0.45
"""Share of the most replicas' throughput that the busiest minute of the first half takes."""
NEAR = 16
"""A copy has the length of one of so many requests after the one that it copies."""


@dataclass(frozen=True, slots=True)
class Mix:
    """A trace by its path in the data folder; what is promised; `tokens` in and out where requests are not as recorded."""

    name: str
    path: str
    objective: Objective
    tokens: tuple[int, int] | None = None


AZURE, MOONCAKE = "azure_llm_2023/AzureLLMInferenceTrace_code.csv.gz", "mooncake/conversation_trace.jsonl.gz"
CHAT = Objective(first_token_s=3.0, per_token_s=0.1)
MIXES = (
    # Half of its answers have 13 tokens or fewer, whose mean time others' prompts make: the first token is what counts.
    Mix("azure", AZURE, Objective(first_token_s=3.0, per_token_s=0.5)),
    # One prompt in a hundred takes 5.4 s on an idle replica.
    Mix("mooncake", MOONCAKE, Objective(first_token_s=10.0, per_token_s=0.1)),
    Mix("azure, prefill-heavy", AZURE, CHAT, (8192, 256)),
    Mix("azure, decode-heavy", AZURE, CHAT, (1000, 4000)),
    Mix("mooncake, prefill-heavy", MOONCAKE, CHAT, (8192, 256)),
    Mix("mooncake, decode-heavy", MOONCAKE, CHAT, (1000, 4000)),
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A mix, read: its requests in order, how often each is repeated, and what they are like on average."""

    mix: Mix
    requests: tuple[Arrival, ...]
    times: float
    mean: Mean

    def drawn(self, seed: int) -> list[Arrival]:
        """The requests of one run."""
        chance = random.Random(seed)
        whole, part = int(self.times), self.times % 1.0
        found = []
        for index, (at, inputs, outputs) in enumerate(self.requests):
            for copy in range(whole + (chance.random() < part)):
                if copy:
                    other = self.requests[min(index + chance.randrange(NEAR), len(self.requests) - 1)]
                    found.append((int(at) + chance.random(), *other[1:]))
                else:
                    found.append((at, inputs, outputs))
        return sorted(found)


def recorded(folder: Path, mix: Mix, engine: Engine, most_replicas: int) -> Recorded:
    """Raises ForebayError where the trace is not there or cannot be used."""
    path = folder / mix.path
    if not path.exists():
        raise ForebayError(f"{path} is not there: say --data DIR where the recorded traces are")
    requests = tuple((r.arrived, r.input_tokens, r.output_tokens) for r in read(path) if r.arrived < SPAN_S)
    if not requests or not requests[0][0] < HALF_S < requests[-1][0]:
        raise ForebayError(f"{path}: it has no requests in both halves of an hour, which tuning and scoring need")
    if mix.tokens is not None:
        chance = random.Random(mix.name)
        inputs, outputs = mix.tokens
        requests = tuple((at, _about(chance, inputs), _about(chance, outputs)) for at, _, _ in requests)
    first = [r for r in requests if r[0] < HALF_S]
    load = _load(first)
    most_rps = most_replicas * service_rate(engine.profile, work_of(load, engine.profile))
    busiest = max(Counter(int(at // 60.0) for at, _, _ in first).values()) / 60.0
    full = full_with(engine.profile, load.input_tokens, load.output_tokens, mix.objective)
    return Recorded(mix, requests, BUSIEST * most_rps / busiest, Mean(load.input_tokens, load.output_tokens, full))


def _about(chance: random.Random, mean: int) -> int:
    """Normally distributed, 8 % around a mean, within three times that."""
    return round(min(max(chance.gauss(mean, 0.08 * mean), 0.76 * mean), 1.24 * mean))


def _load(requests: Sequence[Arrival]) -> Load:
    inputs, outputs = [float(i) for _, i, _ in requests], [float(o) for _, _, o in requests]
    mean_in, mean_out = fmean(inputs), fmean(outputs)
    return Load(1.0, mean_in, mean_out, pstdev(inputs) / mean_in, pstdev(outputs) / mean_out)


def full_with(profile: EngineProfile, inputs: float, outputs: float, objective: Objective) -> int:
    """The most requests in flight with which a mean token is in time."""
    every = range(1, profile.max_concurrency + 1)
    return max((n for n in every if mean_per_token_s(profile, n, inputs, outputs) <= objective.per_token_s), default=1)

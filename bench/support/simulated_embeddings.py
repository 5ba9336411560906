"""The same arrivals in the simulator that `forebay simulate` uses: one replica that forms batches, by a profile."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt

from bench.support.real_embeddings import BATCHING, CLASS, Text
from bench.support.variant_laws import slower
from forebay.api.step_moments import TERMS
from forebay.planning.work import EngineProfile
from forebay.simulation.batches import BatchingReplica
from forebay.simulation.fleet import Fleet
from forebay.simulation.laws.static import Static
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup

_LEAST, _MOST, _HALVINGS = 0.5, 2.0, 12


def simulated(profile: EngineProfile, due: Sequence[Text]) -> tuple[list[float], float]:
    """Latencies in seconds in order of the arrivals, and for how many seconds the engine computed."""
    made = list[BatchingReplica]()

    def make(*args: object) -> BatchingReplica:
        made.append(BatchingReplica(*args, batching={CLASS: BATCHING}))
        return made[-1]

    requests = [Request(text.at_s, text.tokens, 1, CLASS) for text in due]
    # No sample is taken, for with each the sums of the steps begin anew.
    setup = Setup(profile, 0.0, 1, 1, 1, sample_s=inf)
    Run(setup, Static(1), Fleet({"": profile}, lambda _: 0.0, {"": 1}, make)).through(requests)
    return [request.finished - request.arrived for request in requests], made[0].moments[TERMS.index("seconds")]


def times_slower(profile: EngineProfile, due: Sequence[Text], took_s: float) -> float:
    """How many times as long as by the profile steps took, for an engine that computed for so many seconds in all.

    Not the ratio to what it would have computed: a slower engine has longer queues, so larger batches, so more padding to compute.
    """
    low, high = _LEAST, _MOST
    for _ in range(_HALVINGS):
        middle = sqrt(low * high)
        low, high = (middle, high) if simulated(slower(profile, middle), due)[1] < took_s else (low, middle)
    return sqrt(low * high)

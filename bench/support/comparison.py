"""Laws of scaling on workloads of several seeds: run, tuned, and put into rows.

A law has settings, the first of which is the one that it is shipped with. Tuning takes, on seeds of its own, the cheapest setting that
meets the target on average, or the one that comes nearest; what is scored afterwards, on other seeds, had no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from bench.support.table import digits
from forebay.simulation.law import Law
from forebay.simulation.laws.static import Static
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup
from forebay.simulation.score import Objective, Score, score

Arrival = tuple[float, int, int]
"""Time, seconds, input and output tokens."""

Workload = Sequence[Arrival]
Settings = dict[str, Callable[[Workload], Law]]
"""Laws by what distinguishes them; the first is as shipped. Made anew for every run."""


@dataclass(frozen=True, slots=True)
class Case:
    """What all laws have in common."""

    setup: Setup
    objective: Objective
    gpus: int
    usd_per_gpu_hour: float | None = None

    def run(self, law: Law, workload: Workload) -> Score:
        # A pool that never changes has its replicas from the beginning.
        setup = replace(self.setup, first_replicas=law.replicas) if isinstance(law, Static) else self.setup
        outcome = Run(setup, law).through(Request(*arrival) for arrival in workload)
        return score(outcome, self.objective)

    def scores(self, make: Callable[[Workload], Law], workloads: Sequence[Workload]) -> list[Score]:
        return [self.run(make(workload), workload) for workload in workloads]


def tuned(case: Case, settings: Settings, workloads: Sequence[Workload], targets: Sequence[float]) -> dict[float, str]:
    """The setting for each target attainment: the cheapest that meets it on average, else the one with the most."""
    found = {name: means(case.scores(make, workloads)) for name, make in settings.items()}
    return {target: cheapest(found, target) for target in targets}


def means(scores: Sequence[Score]) -> tuple[float, float]:
    """Attainment and replicas, over the seeds."""
    return fmean(s.attainment for s in scores), fmean(s.replicas_mean for s in scores)


def cheapest(found: Mapping[str, tuple[float, float]], target: float) -> str:
    """Of settings with their attainment and replicas the cheapest that keeps the target, else the one with the most attainment."""
    meet = [name for name, (attainment, _) in found.items() if attainment >= target]
    return min(meet, key=lambda name: found[name][1]) if meet else max(found, key=lambda name: found[name][0])


def row(name: str, setting: str, scores: Sequence[Score], case: Case) -> dict[str, Any]:
    """Means over the seeds, and beside each its standard deviation; None of a single one."""
    hours = [s.replica_hours * case.gpus for s in scores]
    price = case.usd_per_gpu_hour
    return {
        "name": name,
        **spread("attainment", [s.attainment for s in scores], 4),
        **spread("replicas_mean", [s.replicas_mean for s in scores], 3),
        **spread("gpu_hours", hours, 3),
        **spread("p99_ttft_s", [s.p99_first_token_s for s in scores], 3),
        **(spread("usd", [h * price for h in hours], 3) if price is not None else {"usd": None, "usd_sd": None}),
        "setting": setting,
    }


def spread(name: str, values: Sequence[float], count: int) -> dict[str, float | None]:
    """A figure to so many digits and its deviation over the seeds, of which a single one says nothing."""
    return {name: digits(fmean(values), count), f"{name}_sd": digits(stdev(values), 2) if len(values) > 1 else None}

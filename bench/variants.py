"""A pool on two accelerators that cost 10 and 5 dollars an hour: 5 minutes at 2 requests/s, then 12 minutes at 10, as in llm-d's PR 1435.

Source of the scenario: llm-d-autoscaling PR 1435 (5 min at 2 and 12 min at 10 requests/s, variants of cost 10 and 5). Its engines are not
known: the dear one is the ramp's frozen engine, the cheap one takes 1.7 times as long for every step, so it is the cheaper for its work and
holds less of a latency. Requests are the ramp's. Every law has had ten minutes at 2 requests/s before. The planner is the operator's own,
over the simulated fleet. The exact optimum is searched in the simulator, mix by mix from the cheapest on, for each of the two loads; it
knows when the second begins. Steady rows hold the planner's mix against an exhaustive search in its model.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import cpu_count
from statistics import fmean
from typing import Any

from bench.ramp import PROFILE, load_engine, tokens
from bench.support import options
from bench.support.comparison import spread
from bench.support.progress import progress
from bench.support.table import digits
from bench.support.variant_laws import FAST, SLOW, CostOrdered, Counts, Paid, Schedule, objects, slower
from forebay.planning.candidates import Bounds
from forebay.planning.cheapest import Search, held_rps
from forebay.planning.mix import Fleet as Mixed
from forebay.planning.mix import kind
from forebay.planning.sizing import Demanded
from forebay.planning.work import Load, Promise
from forebay.simulation.fleet import Fleet
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.outcome import Outcome
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup
from forebay.simulation.score import quantile

NAME = "variants"
HELP = "two accelerators at cost 10 and 5: forebay's mix, the exact optimum, one accelerator alone, and WVA's rule"
OPTIONS = (options.seeds,)

TARGET_S = 3.0
TIMES_SLOWER = 1.7
PRICES = {"fast": 10.0, "slow": 5.0}
SETTLED_S, STEP_S, END_S = 600.0, 900.0, 1620.0
"""When scoring begins, the load steps up, and the run ends; seconds."""
LOADS = (2.0, 10.0)
STARTS = (100.0, 15.0)
"""Seconds that a replica takes to start: as in the ramp, and where weights are at hand."""
FIRST_SEED, SEARCH_SEED = 301, 201
STEADY = tuple(product((1.0, 2.0, 5.0, 10.0, 20.0), (4.0, 5.0, 6.5)))
"""Requests/s, and dollars of the slow accelerator beside 10 of the fast one."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One run from SETTLED_S on."""

    requests: int
    errors: int
    within: float
    first_token_s: tuple[float, float, float]
    usd: float
    replica_hours: float


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds_of(args))
    with ProcessPoolExecutor(max_workers=cpu_count()) as pool:
        steady = pool.map(steady_row, *zip(*STEADY, strict=True))
        quiet, busy = pool.map(optimal, LOADS)
        optimum = (quiet, busy)
        progress(NAME, f"the optimum is found, now {len(seeds)} seeds of every law")
        rows: list[dict[str, Any]] = []
        for start_s in STARTS:
            scores = {}
            for name in NAMES:
                scores[name] = list(pool.map(partial(scored, name, optimum, start_s), seeds))
                progress(NAME, f"{name}, starts of {start_s:g} s")
            best = fmean(s.usd for s in scores["optimum"])
            rows += [_row(name, start_s, found, best) for name, found in scores.items()]
        return [*rows, *steady]


def engines() -> dict[str, Any]:
    """Profiles by accelerator."""
    fast = load_engine(PROFILE).profile
    return {"fast": fast, "slow": slower(fast, TIMES_SLOWER)}


def workload(seed: int, steps: Sequence[tuple[float, float]]) -> Iterator[Request]:
    """Poisson arrivals at each rate until its end, with the ramp's lengths."""
    chance, at, begins = random.Random(seed), 0.0, 0.0
    for rate, ends in steps:
        at = begins + chance.expovariate(rate)
        while at < ends:
            yield Request(at, tokens(chance, 4000, 300, 3500, 4500), tokens(chance, 1000, 80, 900, 1100))
            at += chance.expovariate(rate)
        begins = ends


def optimal(rate: float) -> Counts:
    """The cheapest mix that meets the target in the simulator at this rate, tried from the cheapest on."""
    most_rps = {"fast": 2.0, "slow": 2.0 / TIMES_SLOWER}
    for fast, slow in sorted(product(range(30), range(60)), key=lambda c: (c[0] * PRICES["fast"] + c[1] * PRICES["slow"], c[1])):
        if fast * most_rps["fast"] + slow * most_rps["slow"] < rate:
            continue
        mix = {FAST: fast, SLOW: slow}
        outcome = _outcome(Schedule(mix, mix, 0.0), mix, ((rate, 900.0),), SEARCH_SEED, 1.0)[0]
        if quantile(sorted(x for at, x in zip(outcome.arrived, outcome.first_token_s, strict=True) if at > 180.0), 0.95) < TARGET_S:
            return mix
    raise AssertionError("no mix holds")


def _outcome(law: Any, first: Counts, steps: Sequence[tuple[float, float]], seed: int, start_s: float) -> tuple[Outcome, Paid]:
    profiles = {f"{name}-on-demand": engine for name, engine in engines().items()}
    fleet, paid = Fleet(profiles, lambda _: start_s, first), Paid(law, SETTLED_S)
    random.Random(seed).shuffle(fleet.serving)
    paid.fleet = fleet
    if isinstance(law, SimulatedOperator):
        law.attach(fleet)
    setup = Setup(engines()["fast"], start_s, 0, 0, 0, until_s=steps[-1][1], by_class=True)
    return Run(setup, paid, fleet).through(workload(seed, steps)), paid


NAMES = ("forebay", "optimum", "forebay, fast alone", "forebay, slow alone", "wva")
"""WVA's is its cost-ordered rule, re-implemented."""


def scored(name: str, optimum: tuple[Counts, Counts], start_s: float, seed: int) -> Scored:
    """One run of one law."""
    steps = ((LOADS[0], STEP_S), (LOADS[1], END_S))
    if name == "optimum":
        law: Any = Schedule(*optimum, STEP_S - start_s - Schedule.interval_s)
    elif name == "wva":
        law = CostOrdered(optimum[0], (SLOW, FAST), load_engine(PROFILE).cache_tokens)
    else:
        used = {n: e for n, e in engines().items() if "alone" not in name or n in name}
        law = SimulatedOperator(objects(used, PRICES, TARGET_S), "default", "pool", started_in_s=start_s)
    try:
        first = law.counts() if isinstance(law, SimulatedOperator) else law.first
        outcome, paid = _outcome(law, first, steps, seed, start_s)
    finally:
        if isinstance(law, SimulatedOperator):
            law.close()
    firsts = sorted(x for at, x in zip(outcome.arrived, outcome.first_token_s, strict=True) if at >= SETTLED_S)
    errors = outcome.refused + outcome.lost
    hours = {v: (s - paid.before_s.get(v, 0.0)) / 3600.0 for v, s in outcome.paid_s.items()}
    return Scored(
        requests=len(firsts) + errors,
        errors=errors,
        within=sum(x <= TARGET_S for x in firsts) / (len(firsts) + errors),
        first_token_s=(quantile(firsts, 0.5), quantile(firsts, 0.95), quantile(firsts, 0.99)),
        usd=sum(h * PRICES[v.partition("-")[0]] for v, h in hours.items()),
        replica_hours=sum(hours.values()),
    )


def _row(name: str, start_s: float, scores: Sequence[Scored], optimum_usd: float) -> dict[str, Any]:
    p50_s, p95_s, p99_s = ([s.first_token_s[i] for s in scores] for i in range(3))
    hours, gpus = [s.replica_hours for s in scores], load_engine(PROFILE).gpus
    return {
        "name": name,
        "start_s": start_s,
        **spread("attainment", [s.within for s in scores], 4),
        "errors": sum(s.errors for s in scores),
        "p50_ttft_s": digits(fmean(p50_s), 3),
        **spread("p95_ttft_s", p95_s, 3),
        **spread("p99_ttft_s", p99_s, 3),
        **spread("replicas_mean", [h * 3600.0 / (END_S - SETTLED_S) for h in hours], 3),
        **spread("gpu_hours", [h * gpus for h in hours], 3),
        **spread("usd", [s.usd for s in scores], 4),
        "usd_over_optimum": digits(fmean(s.usd for s in scores) / optimum_usd, 3),
    }


@dataclass(frozen=True, slots=True)
class _Linear:
    """A price for each replica."""

    each: tuple[float, ...]
    in_dollars: bool = True

    def of(self, counts: tuple[int, ...]) -> float:
        return sum(n * price for n, price in zip(counts, self.each, strict=True))

    def least(self, total: int) -> float:
        return total * min(self.each)


def steady_row(rate: float, slow_usd: float) -> dict[str, Any]:
    """The planner's mix for a steady load, and the cheapest of all mixes by its model; in dollars an hour."""
    classes = (Demanded(Load(rate, 4000.0, 1000.0, 0.1, 0.1), (Promise("timeToFirstToken", 0.95, TARGET_S),), 600.0),)
    fleet, prices = Mixed(classes, tuple(kind(name, classes, e) for name, e in engines().items())), _Linear((PRICES["fast"], slow_usd))
    found = Search(fleet, held_rps(fleet, 60), prices).cheapest(Bounds((0, 0), (60, 60), 1, 60))
    every = sorted((c for c in product(range(31), range(61)) if 0 < sum(c) <= 60), key=prices.of)
    best = next(c for c in every if not fleet.failure(c, rate))
    alone = {n: next((prices.of(c) for c in every if not c[1 - i] and not fleet.failure(c, rate)), None) for i, n in enumerate(PRICES)}
    assert found is not None
    return {
        "name": f"steady {rate:g} rps, 10 and {slow_usd:g}",
        "usd": digits(prices.of(found), 4),
        "usd_over_optimum": digits(prices.of(found) / prices.of(best), 4),
        "mix": f"{found[0]} fast + {found[1]} slow",
        "fast_alone_usd": alone["fast"],
        "slow_alone_usd": alone["slow"],
    }

"""Bursts at second resolution in the simulator: the tail of the first token under every law, for no more than a queue-driven HPA costs.

Arrivals are those of Azure's LLM trace of 2023 (code) and of Mooncake's, an hour each, with the requests as recorded and with prefill-heavy
and decode-heavy ones in their place (support/recorded_bursts.py). 1 to 10 replicas of the ramp's engine that take 110 s to start, as in
llm-d-autoscaling's issue 1412. Settings are tuned on the first half hour and scored on the second: the plain name has the least p99 of the
first token among those settings that cost no more there than the HPA as shipped; a second row the cheapest that keeps 99 % of the
requests within their objective. The clairvoyant, a bound, is searched on the second half.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.ramp import PROFILE, load_engine
from bench.support import options
from bench.support.burst_laws import QUEUE_ONLY, burst_laws, clairvoyants
from bench.support.comparison import Case, Settings, cheapest, means, row
from bench.support.progress import progress
from bench.support.ramp_laws import Engine
from bench.support.recorded_bursts import HALF_S, MIXES, SPAN_S, Recorded, recorded
from bench.support.table import digits
from forebay.runtime.errors import UsageError
from forebay.simulation.laws.static import Static
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup
from forebay.simulation.score import Score, score

NAME = "burst"
HELP = "recorded bursts in the simulator: the tail of the first token at the cost of a queue-driven HPA, by law"
OPTIONS = (options.seeds, options.price)

START_S, MOST_REPLICAS = 110.0, 10
FIRST_REPLICAS = 5
"""At the start of the first half, so that it is tuned on bursts and not on a cold start."""
TARGET = 0.99
TUNING_SEEDS = (201, 202)
FIRST_SEED = 101
BOUND = "clairvoyant"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mixes", metavar="MIX;MIX", help="these mixes of load (default: all)")
    parser.add_argument("--laws", metavar="LAW,LAW", help="these laws, hpa and the clairvoyant (default: all)")


@dataclass(frozen=True, slots=True)
class Job:
    """Runs of one setting of one law on one mix, a run for each seed: the first half alone, or both with the second scored."""

    folder: Path
    mix: str
    law: str
    setting: str
    seeds: tuple[int, ...]
    scored: bool


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    seeds = tuple(range(FIRST_SEED, FIRST_SEED + options.seeds_of(args)))
    progress(NAME, f"scored on the second half with seeds {seeds[0]} to {seeds[-1]}, tuned on the first with {TUNING_SEEDS}")
    mixes = _chosen(args.mixes, [mix.name for mix in MIXES], "--mixes", ";")
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor() as pool:
        for mix in mixes:
            known = _mix(args.data, mix)
            progress(NAME, f"{mix}: every request {known.times:.2f} times, {known.mean.inputs:.0f} tokens in")
            rows += _Compared(pool, args.data, mix, seeds, args.usd_per_gpu_hour).rows(_laws(args.laws, known))
    return rows


def _chosen(asked: str | None, known: Sequence[str], option: str, separator: str) -> list[str]:
    """Raises UsageError."""
    wanted = list(known) if asked is None else asked.split(separator)
    if unknown := sorted(set(wanted) - set(known)):
        raise UsageError(f"{option} {unknown[0]}: there are {f'{separator} '.join(known)}")
    return [name for name in known if name in wanted]


def _laws(asked: str | None, known: Recorded) -> list[str]:
    every = list(_settings(known))
    return every if asked is None else sorted({"hpa", BOUND, *_chosen(asked, every, "--laws", ",")}, key=every.index)


@lru_cache(maxsize=4)
def _engine() -> Engine:
    return load_engine(PROFILE)


@lru_cache(maxsize=4)
def _mix(folder: Path, name: str) -> Recorded:
    return recorded(folder, next(m for m in MIXES if m.name == name), _engine(), MOST_REPLICAS)


def _settings(known: Recorded) -> dict[str, Settings]:
    """Laws by name, with what they may be set to. Places are what limits the engine, not its cache."""
    engine = _engine().holding(known.mean)
    return burst_laws(engine, _setup(), known.mix.objective, known.mean) | {BOUND: clairvoyants(engine.profile, START_S)}


def _setup() -> Setup:
    return Setup(_engine().profile, START_S, 1, MOST_REPLICAS, first_replicas=FIRST_REPLICAS)


def scores(job: Job) -> list[Score]:
    """What became of the first half, or of the second after it: of requests by their arrival, of replicas by when they were paid for."""
    known = _mix(job.folder, job.mix)
    since_s, until_s = (HALF_S, SPAN_S) if job.scored else (0.0, HALF_S)
    setup = replace(_setup(), by_class=job.law == "forebay", until_s=until_s)
    found = []
    for seed in job.seeds:
        workload = known.drawn(seed)
        law = _settings(known)[job.law][job.setting](workload)
        if isinstance(law, Static):
            setup = replace(setup, first_replicas=law.replicas)
        outcome = Run(setup, law).through(Request(*one) for one in workload)
        counts = [count for at, _, count in outcome.replicas if since_s < at <= until_s]
        mean = fmean(counts)
        of_half = score(outcome, known.mix.objective, since_s, until_s)
        found.append(replace(of_half, replicas_mean=mean, replica_hours=mean * HALF_S / 3600.0))
    return found


@dataclass(frozen=True, slots=True)
class _Compared:
    """One mix under every law."""

    pool: ProcessPoolExecutor
    folder: Path
    mix: str
    seeds: tuple[int, ...]
    usd_per_gpu_hour: float | None

    def rows(self, laws: Sequence[str]) -> list[dict[str, Any]]:
        known = _settings(_mix(self.folder, self.mix))
        # What a queue alone drives is among the settings of the HPA.
        tuning = {law: {s: self._submitted(law, s, scored=law == BOUND) for s in known[law]} for law in laws if law != QUEUE_ONLY}
        first = {}
        for law, of_law in tuning.items():
            first[law] = {s: future.result() for s, future in of_law.items()}
            progress(NAME, f"{self.mix}: {law}: {len(of_law)} settings")
        first[QUEUE_ONLY] = {s: first["hpa"][s] for s in known[QUEUE_ONLY]}
        shipped = next(iter(known["hpa"]))
        wanted = {}
        for law in laws:
            limit = _cost(first["hpa"][shipped]) if law != BOUND else _cost(self._submitted("hpa", shipped, scored=True).result())
            wanted[law] = least_tail(first[law], limit)
            wanted[f"{law}, for {TARGET:.0%}"] = cheapest({name: means(scores) for name, scores in first[law].items()}, TARGET)
            if law != BOUND:
                wanted[f"{law}, as shipped"] = next(iter(known[law]))
        last = {label: self._submitted(_law_of(label, laws), s, scored=True) for label, s in wanted.items()}
        found = {label: future.result() for label, future in last.items()}
        return [self._row(label, wanted[label], scores, found["hpa, as shipped"]) for label, scores in found.items()]

    def _submitted(self, law: str, setting: str, *, scored: bool) -> Future[list[Score]]:
        return self.pool.submit(scores, Job(self.folder, self.mix, law, setting, self.seeds if scored else TUNING_SEEDS, scored))

    def _row(self, label: str, setting: str, scores: Sequence[Score], hpa: Sequence[Score]) -> dict[str, Any]:
        case = Case(_setup(), _mix(self.folder, self.mix).mix.objective, _engine().gpus, self.usd_per_gpu_hour)
        figures = row(label, setting, scores, case)
        name = {"name": figures.pop("name"), "mix": self.mix}
        ratios = {
            "p99_ttft_times_hpa": digits(_tail(scores) / _tail(hpa), 3),
            "cost_times_hpa": digits(_cost(scores) / _cost(hpa), 3),
        }
        return {**name, **figures, **ratios, "setting": figures.pop("setting")}


def _law_of(label: str, laws: Sequence[str]) -> str:
    return max((law for law in laws if label.startswith(law)), key=len)


def least_tail(found: Mapping[str, Sequence[Score]], limit: float) -> str:
    """The setting with the least p99 of the first token among those that cost no more than the limit, in replicas; else the cheapest."""
    within = [name for name, scores in found.items() if _cost(scores) <= limit]
    return min(within, key=lambda name: _tail(found[name])) if within else min(found, key=lambda name: _cost(found[name]))


def _tail(scores: Sequence[Score]) -> float:
    return fmean(s.p99_first_token_s for s in scores)


def _cost(scores: Sequence[Score]) -> float:
    return fmean(s.replicas_mean for s in scores)

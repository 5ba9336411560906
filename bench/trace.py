"""Two weeks of a recorded load in the simulator: what 99 % within the objective cost under every law, and what a clairvoyant would pay.

The rate is linear between the middles of the trace's steps, rescaled to a mean; requests are drawn from it with gamma gaps of the row's
coefficient of variation, clipped. Every request is simulated, there is no fluid model. Settings are tuned on the first half of the days,
scored on the second; the clairvoyant, a bound, is searched on the second.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from bench.ramp import OBJECTIVE, PROFILE, load_engine
from bench.support.ramp_laws import Engine, laws, promised
from bench.support.table import digits
from bench.support.trace_tokens import Lengths, read_lengths
from forebay.api.durations import parse_duration
from forebay.runtime.errors import ForebayError, UsageError
from forebay.simulation.arrivals import renewal
from forebay.simulation.law import Law
from forebay.simulation.laws.clairvoyant import Clairvoyant
from forebay.simulation.laws.forebay import Forebay, pool_of
from forebay.simulation.laws.static import Static
from forebay.simulation.request import Request
from forebay.simulation.run import Outcome, Run, Setup
from forebay.simulation.score import score
from forebay.simulation.workload import Rates, read_rates

NAME = "trace"
HELP = "two weeks of recorded load in the simulator: cost of 99 % within the objective, by law"

TARGET = 0.99
MOST_REPLICAS = 40
LEADS = "5m"
DEFAULT = "servegen/m-large_rate_10min.csv"
SEED = 11
MOST_SETTINGS = 4
"""Of a peer's settings that are tried: as shipped, and the next ones."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arrivals", metavar="CSV", help=f"trace of rates: ts_s, total_rate_rps, rate_weighted_cv (default: {DEFAULT})")
    parser.add_argument(
        "--tokens", metavar="CSV", help="trace of lengths: ts_s, field, mean, p50 (default: 4000 in and 1000 out, all alike)"
    )
    parser.add_argument(
        "--lead", default=LEADS, metavar="TIME,TIME", help=f"how long a replica takes to start, such as 2m,5m,8m (default: {LEADS})"
    )
    parser.add_argument("--mean-rps", type=float, default=2.0, metavar="R", help="the trace is rescaled to this mean (default: 2)")
    parser.add_argument("--days", type=float, default=14.0, metavar="D", help="days of the trace, at most (default: 14)")
    parser.add_argument("--only", metavar="LAW,LAW", help="these laws, and the clairvoyant (default: all)")


@dataclass(frozen=True, slots=True)
class Job:
    """One run of one setting of one law, over the first so many seconds of the trace."""

    rates: Rates
    lengths: Lengths
    lead_s: float
    law: str
    setting: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Half:
    """What became of one half."""

    requests: int
    attainment: float
    replicas_mean: float
    p99_first_token_s: float


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    rates, leads = _rates(args), _leads(args.lead)
    lengths = Lengths(0.0, ()) if args.tokens is None else read_lengths(Path(args.tokens))
    span_s = rates.knots[-1][0]
    print(f"trace: {span_s / 86400:.1f} days at a mean of {args.mean_rps:g} rps, seed {SEED}", file=sys.stderr)
    with ProcessPoolExecutor() as pool:
        return [
            row
            for lead_s in leads
            for row in _compared(pool, partial(Job, rates, lengths, lead_s), _wanted(args.only), args.usd_per_gpu_hour)
        ]


def _leads(text: str) -> list[float]:
    try:
        return [parse_duration(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--lead {text}: {error}") from error


def _wanted(only: str | None) -> list[str]:
    known = [*_settings(300.0), "clairvoyant"]
    chosen = known if only is None else [*only.split(","), "clairvoyant"]
    if unknown := sorted(set(chosen) - set(known)):
        raise UsageError(f"--only {unknown[0]}: there are {', '.join(known)}")
    return [name for name in known if name in chosen]


def _rates(args: argparse.Namespace) -> Rates:
    path = args.data / DEFAULT if args.arrivals is None else Path(args.arrivals)
    if not path.exists():
        raise ForebayError(f"{path} is not there: say --data DIR where the recorded traces are, or --arrivals CSV")
    whole = read_rates(path)
    end = min(whole.knots[-1][0], args.days * 86400.0)
    kept = tuple(k for k in whole.knots if k[0] <= end)
    return Rates(kept, whole.cv_from).scaled_to(args.mean_rps)


def _compared(
    pool: ProcessPoolExecutor, job: Callable[[str, str, float], Job], wanted: Sequence[str], usd_per_gpu_hour: float | None
) -> list[dict[str, Any]]:
    any_job = job("", "", 0.0)
    lead_s, span_s = any_job.lead_s, any_job.rates.knots[-1][0]
    settings = _settings(lead_s)
    tuning = {
        (name, setting): pool.submit(_first_half, job(name, setting, span_s / 2))
        for name in wanted
        if name != "clairvoyant" and len(settings[name]) > 1
        for setting in settings[name]
    }
    first = {key: future.result() for key, future in tuning.items()}
    rows, chosen_of = [], {}
    for name in wanted:
        if name == "clairvoyant":
            continue
        mine = {setting: half for (law, setting), half in first.items() if law == name}
        chosen = _cheapest(mine) if mine else next(iter(settings[name]))
        chosen_of |= {name: (name, chosen), f"{name}, as shipped": (name, next(iter(settings[name])))}
    scored = {key: pool.submit(_both_halves, job(*key, span_s)) for key in dict.fromkeys(chosen_of.values())}
    bounds = {s: pool.submit(_both_halves, job("clairvoyant", s, span_s)) for s in CLAIRVOYANT}
    found = {setting: future.result() for setting, future in bounds.items()}
    best = _cheapest({setting: halves[1] for setting, halves in found.items()})
    bound = found[best][1]
    for label, key in chosen_of.items():
        rows.append(_row(label, key[1], lead_s, scored[key].result(), bound, span_s, usd_per_gpu_hour))
        print(f"trace: {rows[-1]}", file=sys.stderr)
    return [*rows, _row("clairvoyant", best, lead_s, found[best], bound, span_s, usd_per_gpu_hour)]


def _cheapest(halves: dict[str, Half]) -> str:
    """The cheapest that meets the target, else the one with the most."""
    meet = [name for name, half in halves.items() if half.attainment >= TARGET]
    return min(meet, key=lambda n: halves[n].replicas_mean) if meet else max(halves, key=lambda n: halves[n].attainment)


def _row(
    label: str, setting: str, lead_s: float, halves: tuple[Half, Half], bound: Half, span_s: float, usd_per_gpu_hour: float | None
) -> dict[str, Any]:
    half = halves[1]
    hours = half.replicas_mean * span_s / 2 / 3600 * load_engine(PROFILE).gpus
    return {
        "name": label,
        "lead_s": lead_s,
        "attainment": digits(half.attainment, 4),
        "replicas_mean": digits(half.replicas_mean, 4),
        "times_clairvoyant": digits(half.replicas_mean / bound.replicas_mean, 4),
        "gpu_hours": digits(hours, 5),
        "p99_ttft_s": digits(half.p99_first_token_s, 3),
        "usd": None if usd_per_gpu_hour is None else digits(hours * usd_per_gpu_hour, 5),
        "attainment_tuned_on": digits(halves[0].attainment, 4),
        "setting": setting,
    }


CLAIRVOYANT = [f"{rps:g} rps a replica" for rps in (1.0, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8)]


def _settings(lead_s: float) -> dict[str, dict[str, Callable[[], Law]]]:
    """Laws by name, their settings by what distinguishes them; the first is as shipped."""
    engine = load_engine(PROFILE)
    setup = _setup(engine, lead_s)
    peers: dict[str, dict[str, Callable[[], Law]]] = {
        name: {setting: partial(make, []) for setting, make in islice(settings.items(), MOST_SETTINGS)}
        for name, settings in laws(engine, setup, OBJECTIVE).items()
        if name not in ("forebay", "static")
    }
    static: dict[str, Callable[[], Law]] = {f"{n} replicas": partial(Static, n) for n in (6, 5, 4, 3, 7, 8)}
    return {"forebay": _forebay(engine, lead_s), **peers, "static": static}


def _forebay(engine: Engine, lead_s: float) -> dict[str, Callable[[], Law]]:
    """As shipped: what there is to choose it chooses by itself."""
    pool = pool_of(engine.profile, min_replicas=1, max_replicas=MOST_REPLICAS)
    return {"as shipped": lambda: Forebay(pool, promised(OBJECTIVE, 0.95), lead_s, interval_s=30.0)}


def _setup(engine: Engine, lead_s: float) -> Setup:
    return Setup(engine.profile, lead_s, 1, MOST_REPLICAS, first_replicas=3, sample_s=5.0)


def _first_half(job: Job) -> Half:
    return _halves(job, _simulated(job))[0]


def _both_halves(job: Job) -> tuple[Half, Half]:
    return _halves(job, _simulated(job))


def _simulated(job: Job) -> Outcome:
    engine = load_engine(PROFILE)
    setup = replace(_setup(engine, job.lead_s), by_class=job.law == "forebay", until_s=job.until_s)
    if job.law == "clairvoyant":
        law: Law = Clairvoyant(_times(job), float(job.setting.split()[0]), job.lead_s)
    else:
        law = _settings(job.lead_s)[job.law][job.setting]()
    if isinstance(law, Static):
        setup = replace(setup, first_replicas=law.replicas)
    return Run(setup, law).through(Request(*one) for one in job.lengths.drawn(_times(job), SEED))


def _times(job: Job) -> Iterator[float]:
    return renewal(job.rates.knots, SEED, job.rates.cv_at())


def _halves(job: Job, outcome: Outcome) -> tuple[Half, Half]:
    """Requests by when they arrived; replicas by when they were paid for."""
    middle = job.rates.knots[-1][0] / 2
    return _half(outcome, 0.0, middle), _half(outcome, middle, 2 * middle)


def _half(outcome: Outcome, since_s: float, until_s: float) -> Half:
    found = score(outcome, OBJECTIVE, since_s, until_s)
    counts = [count for at, _, count in outcome.replicas if since_s < at <= until_s]
    return Half(found.requests, found.attainment, sum(counts) / max(1, len(counts)), found.p99_first_token_s)

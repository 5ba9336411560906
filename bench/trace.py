"""Two weeks of a recorded load in the simulator: what 99 % within the objective cost under every law, and what a clairvoyant would pay.

The rate is linear between the middles of the trace's steps, rescaled to a mean; requests are drawn from it with gamma gaps of the row's
coefficient of variation, clipped. Every request is simulated, there is no fluid model. Peers are tuned on the first half of the days: all
of their settings on one day of it; the few that come near the target there, and the one that is shipped, on all of it. They are scored on
the second, which they enter a day early. Forebay is as shipped and runs through both. The clairvoyant, a bound, is searched on the second.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.ramp import OBJECTIVE, PROFILE, load_engine
from bench.support import options
from bench.support.comparison import cheapest
from bench.support.over_seeds import over_seeds
from bench.support.progress import progress
from bench.support.ramp_laws import RAMP
from bench.support.table import digits
from bench.support.trace_laws import BOUND, SHARES, bound, engine_for, given, mean_of, setup_for, trace_laws
from bench.support.trace_load import Trace
from forebay.cli.values import number, some_time
from forebay.runtime.errors import ForebayError, UsageError
from forebay.simulation.law import Law
from forebay.simulation.laws.clairvoyant import largest
from forebay.simulation.laws.static import Static
from forebay.simulation.lengths import alike, read_lengths
from forebay.simulation.outcome import Outcome
from forebay.simulation.request import Request
from forebay.simulation.run import Run
from forebay.simulation.score import score
from forebay.simulation.workload import Rates, read_rates

NAME = "trace"
HELP = "two weeks of recorded load in the simulator: cost of 99 % within the objective, by law"
OPTIONS = (options.seeds, options.price)

TARGET = 0.99
NEAR_TARGET = (0.98, TARGET, 0.997)
"""Of a law's settings the cheapest that keeps each of these on the one day is tried on the whole half."""
LEADS = "5m"
DEFAULT = "servegen/m-large_rate_10min.csv"
SEED = 11
LEAST_S = 600.0
DAY_S = 86_400.0
SETTLED = 1.0 / 12.0
"""Share of the one day that is left out at its beginning, while a law finds its count."""

Window = tuple[float, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arrivals", metavar="CSV", help=f"trace of rates: ts_s, total_rate_rps, rate_weighted_cv (default: {DEFAULT})")
    parser.add_argument(
        "--tokens", metavar="CSV", help="trace of lengths: ts_s, field, mean, p50 (default: 4000 in and 1000 out, all alike)"
    )
    parser.add_argument(
        "--lead",
        type=_leads,
        default=LEADS,
        metavar="TIME,TIME",
        help=f"how long a replica takes to start, such as 2m,5m,8m (default: {LEADS})",
    )
    mean = "the trace is rescaled to this mean (default: 2)"
    parser.add_argument("--mean-rps", type=number(0.001, 10_000), default=2.0, metavar="R", help=mean)
    parser.add_argument("--days", type=number(0.01, 3660), default=14.0, metavar="D", help="days of the trace, at most (default: 14)")
    parser.add_argument("--only", metavar="LAW,LAW", help="these laws, and the clairvoyant (default: all)")


@dataclass(frozen=True, slots=True)
class Job:
    """A run of one setting of one law, from a moment on to the end of the last window; what is scored are the windows."""

    trace: Trace
    lead_s: float
    law: str
    setting: str
    since_s: float
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What became of a window."""

    requests: int
    attainment: float
    replicas_mean: float
    p99_first_token_s: float


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    rates = _rates(args)
    lengths = alike(int(RAMP.inputs), int(RAMP.outputs)) if args.tokens is None else read_lengths(Path(args.tokens))
    wanted = _wanted(args.only, Trace(rates, lengths, SEED))
    return over_seeds([_of_seed(args, Trace(rates, lengths, SEED + i), wanted) for i in range(options.seeds_of(args, 1))])


def _of_seed(args: argparse.Namespace, trace: Trace, wanted: Sequence[str]) -> list[dict[str, Any]]:
    requests = sum(1 for _ in trace.between(0.0, trace.span_s))
    what = f"{trace.span_s / DAY_S:.1f} days, {requests:,} requests at a mean of {args.mean_rps:g} rps, seed {trace.seed}"
    progress(NAME, what)
    with ProcessPoolExecutor() as pool:
        return [row for lead_s in args.lead for row in _Compared(pool, trace, lead_s, args.usd_per_gpu_hour).rows(wanted)]


def _leads(text: str) -> list[float]:
    return list(dict.fromkeys(some_time(part.strip()) for part in text.split(",")))


def _wanted(only: str | None, trace: Trace) -> list[str]:
    known = [*trace_laws(mean_of(trace), 300.0), BOUND]
    chosen = known if only is None else [*only.split(","), BOUND]
    if unknown := sorted(set(chosen) - set(known)):
        raise UsageError(f"--only {unknown[0]}: there are {', '.join(known)}")
    return [name for name in known if name in chosen and name != BOUND]


def _rates(args: argparse.Namespace) -> Rates:
    path = args.data / DEFAULT if args.arrivals is None else Path(args.arrivals)
    if not path.exists():
        raise ForebayError(f"{path} is not there: say --data DIR where the recorded traces are, or --arrivals CSV")
    whole = read_rates(path)
    end = min(whole.knots[-1][0], args.days * DAY_S)
    kept = tuple(k for k in whole.knots if k[0] <= end)
    if kept[-1][0] < LEAST_S:
        raise UsageError(f"{path}: {kept[-1][0]:g} s of it are too few for two halves: at least {LEAST_S:g} s of steps are needed (--days)")
    if not any(rate for _, rate in kept):
        raise UsageError(f"--days {args.days:g}: there are no arrivals within them")
    return Rates(kept, whole.cv_from).scaled_to(args.mean_rps)


@dataclass(frozen=True, slots=True)
class _Compared:
    """All laws with one time of starting."""

    pool: ProcessPoolExecutor
    trace: Trace
    lead_s: float
    usd_per_gpu_hour: float | None

    def rows(self, wanted: Sequence[str]) -> list[dict[str, Any]]:
        settings = {law: list(known) for law, known in trace_laws(mean_of(self.trace), self.lead_s).items() if law in wanted}
        # The longest runs begin first.
        whole = {law: self._scored(law, known[0], of_both=True) for law, known in settings.items() if len(known) == 1}
        best = self.pool.submit(_searched, self._job(BOUND, "", self._early_s, [self._second]))
        shipped = {law: self._scored(law, known[0]) for law, known in settings.items() if len(known) > 1}
        tuned = self._tuned({law: known for law, known in settings.items() if len(known) > 1})
        scored = {law: shipped[law] if s == settings[law][0] else self._scored(law, s) for law, (s, _) in tuned.items()}
        setting, least = best.result()
        row = partial(self._row, least)
        found = []
        for law, known in settings.items():
            if law in whole:
                first, second = whole[law].result()
                found += [row(f"{law}, as shipped", known[0], first, second), row(law, known[0], first, second)]
                continue
            chosen, halves = tuned[law]
            found += [
                row(law, chosen, halves[chosen], scored[law].result()[0]),
                row(f"{law}, as shipped", known[0], halves[known[0]], shipped[law].result()[0]),
            ]
        return [*found, row(BOUND, setting, None, least)]

    @property
    def _half_s(self) -> float:
        return self.trace.span_s / 2

    @property
    def _second(self) -> Window:
        return self._half_s, self.trace.span_s

    @property
    def _early_s(self) -> float:
        return self._half_s - min(DAY_S, self._half_s / 2)

    def _job(self, law: str, setting: str, since_s: float, windows: Sequence[Window]) -> Job:
        return Job(self.trace, self.lead_s, law, setting, since_s, tuple(windows))

    def _scored(self, law: str, setting: str, *, of_both: bool = False) -> Future[list[Part]]:
        """On the second half; what was not tuned on the first, on that one too."""
        if of_both:
            return self.pool.submit(_parts, self._job(law, setting, 0.0, [(0.0, self._half_s), self._second]))
        return self.pool.submit(_parts, self._job(law, setting, self._early_s, [self._second]))

    def _tuned(self, settings: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, dict[str, Part]]]:
        """Each law's cheapest setting that keeps the target on the first half, and what those that were tried on it came to there."""
        day_s = min(DAY_S, self._half_s / 2)
        since_s = min(DAY_S, self._half_s - day_s)
        day = (since_s + SETTLED * day_s, since_s + day_s)
        # What one day asks for says nothing of a count that never changes.
        near = {law: list(known) for law, known in settings.items() if law == "static"}
        tried = {
            (law, s): self.pool.submit(_parts, self._job(law, s, since_s, [day]))
            for law, known in settings.items()
            if law not in near
            for s in known
        }
        for law, known in settings.items():
            if law not in near:
                parts = {s: tried[law, s].result()[0] for s in known}
                near[law] = list(dict.fromkeys([*(_cheapest(parts, target) for target in NEAR_TARGET), known[0]]))
            progress(NAME, f"{law}: {len(known)} settings, on the first half {'; '.join(near[law])}")
        halves = {(law, s): self.pool.submit(_parts, self._job(law, s, 0.0, [(0.0, self._half_s)])) for law in near for s in near[law]}
        found = {}
        for law, names in near.items():
            parts = {s: halves[law, s].result()[0] for s in names}
            found[law] = _cheapest(parts, TARGET), parts
        return found

    def _row(self, least: Part, label: str, setting: str, first: Part | None, second: Part) -> dict[str, Any]:
        hours = second.replicas_mean * self._half_s / 3600 * load_engine(PROFILE).gpus
        found = {
            "name": label,
            "lead_s": self.lead_s,
            "attainment": digits(second.attainment, 4),
            "replicas_mean": digits(second.replicas_mean, 4),
            "times_clairvoyant": digits(second.replicas_mean / least.replicas_mean, 4),
            "gpu_hours": digits(hours, 5),
            "p99_ttft_s": digits(second.p99_first_token_s, 3),
            "usd": None if self.usd_per_gpu_hour is None else digits(hours * self.usd_per_gpu_hour, 5),
            "attainment_first_half": None if first is None else digits(first.attainment, 4),
            "setting": setting,
        }
        progress(NAME, str(found))
        return found


def _cheapest(parts: Mapping[str, Part], target: float) -> str:
    return cheapest({setting: (part.attainment, part.replicas_mean) for setting, part in parts.items()}, target)


def _parts(job: Job) -> list[Part]:
    """What came of each window."""
    law = trace_laws(mean_of(job.trace), job.lead_s)[job.law][job.setting]([])
    return _windows(job, _simulated(job, law))


def _searched(job: Job) -> tuple[str, Part]:
    """The bound: the most that its replicas can be given with the target kept, halved in on; and what it comes to."""

    def run(share: float) -> Part:
        law = bound(job.trace, share, job.lead_s, job.since_s, job.windows[-1][1])
        return _windows(job, _simulated(job, law))[0]

    kept = largest(SHARES, run, lambda part: part.attainment >= TARGET)
    if kept is None:
        raise ForebayError(f"not even a clairvoyant keeps {TARGET:.0%} within the objective with starts of {job.lead_s:g} s")
    return given(mean_of(job.trace), kept[0]), kept[1]


def _simulated(job: Job, law: Law) -> Outcome:
    end_s = job.windows[-1][1]
    setup = setup_for(engine_for(mean_of(job.trace)), job.lead_s)
    setup = replace(setup, by_class=job.law == "forebay", until_s=end_s - job.since_s)
    if isinstance(law, Static):
        setup = replace(setup, first_replicas=law.replicas)
    return Run(setup, law).through(Request(*one) for one in job.trace.between(job.since_s, end_s))


def _windows(job: Job, outcome: Outcome) -> list[Part]:
    return [_part(outcome, since_s - job.since_s, until_s - job.since_s) for since_s, until_s in job.windows]


def _part(outcome: Outcome, since_s: float, until_s: float) -> Part:
    """Requests by when they arrived; replicas by when they were paid for."""
    found = score(outcome, OBJECTIVE, since_s, until_s)
    counts = [count for at, _, count in outcome.replicas if since_s < at <= until_s]
    return Part(found.requests, found.attainment, sum(counts) / max(1, len(counts)), found.p99_first_token_s)

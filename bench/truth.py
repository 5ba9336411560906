"""Simulation against real processes: the embeddings engine under load, and `forebay up` as it scales.

Embeddings: one real replica, engine on a core of its own and the sidecar before it. Its profile is measured, as `forebay profile` does;
then come Poisson arrivals at a share of what that profile holds, and the same arrivals in the simulator with that profile. The objective is
what nine of ten meet in a longer simulation with other arrivals, so that meeting it says something. Each run has a profile, arrivals
and an objective of its own. What nobody can simulate is a machine whose speed changes: the profile is measured again after the run, and
a run is repeated, a few times in all, where it differs, or where others took the engine's core. Whether it is repeated does not depend on
what the run's requests saw.

Scaling: `forebay up` on a folder with simulated engines under a load that steps up and down, and `forebay simulate` on the same folder,
requests, interval and start time, which is that of the first replica. Replicas count from being asked for to being gone, in both.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.support import folder_under_load
from bench.support.paired import MOST_RUNS, Off, off
from bench.support.priority import favoured
from bench.support.process import measuring
from bench.support.progress import progress
from bench.support.real_embeddings import MEAN_TOKENS, Replica, Text, replica, texts
from bench.support.simulated_embeddings import simulated, times_slower
from bench.support.table import digits, quantile
from bench.support.variant_laws import slower
from forebay.cli.values import number
from forebay.dataplane.outcome import Outcome
from forebay.planning.work import EngineProfile
from forebay.runtime.errors import ForebayError

NAME = "truth"
HELP = "simulation against real processes: the embeddings engine's latency and attainment, and replica-hours of forebay up"

BUSY = 0.6
"""Arrivals, as a share of those that the profile can answer one by one. Batches are padded to their longest text, which adds work."""
WITHIN = 0.9
"""Of the requests of a simulation that others than those of the runs are in, within the objective."""
POINTS, SHARE = 2.0, 0.1
"""The targets: attainment within so many points, mean latency and replica-hours within this share."""
PROFILE_S = 15.0
MOST_TAKEN, MOST_DRIFT = 0.03, 0.05
"""A run is repeated where others took more of the core, or the profile after it differs by more from the one before."""
MOST_REPEATS = 4
_OBJECTIVE_S, _OBJECTIVE_SEED, _UP_SEED = 600.0, 900, 11


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=_runs, default=8, metavar="N", help="runs of the embeddings engine (default: 8)")
    parser.add_argument("--run-seconds", type=number(1, 3600), default=25.0, metavar="S", help="length of one (default: 25)")
    parser.add_argument(
        "--busy", type=number(0.05, 0.9), default=BUSY, metavar="SHARE", help="load of one, of what its profile answers (default: 0.6)"
    )


def _runs(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= MOST_RUNS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number between 2 and {MOST_RUNS}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Paired:
    """One run, measured and simulated. Latencies in seconds, `None` where a request was not answered.

    Args:
        taken: share of the run in which the engine could not have its core.
        drift: by how much longer a mean text took in the profile after the run than in that before it, as a share.
        slower: how many times as long as by the profile its steps took, by its CPU time and what others took meanwhile.
        sidecar_s: what the sidecar adds to a text that comes alone, which the simulator knows nothing of.
    """

    seed: int
    profile: EngineProfile
    due: Sequence[Text]
    objective_s: float
    seen: Sequence[float | None]
    simulated: Sequence[float]
    taken: float
    drift: float
    slower: float
    sidecar_s: float
    favoured: bool

    @property
    def undisturbed(self) -> bool:
        return self.taken <= MOST_TAKEN and abs(self.drift) <= MOST_DRIFT

    def at_its_speed(self) -> list[float]:
        """Simulated once more, with an engine as fast as it was in the run, and with what the sidecar adds."""
        return [latency + self.sidecar_s for latency in simulated(slower(self.profile, self.slower), self.due)[0]]


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    runs, repeated = measuring(_embeddings(args.runs, args.run_seconds, args.busy))
    return [*summary(runs, repeated), *map(row, runs), _scaled()]


async def _embeddings(runs: int, seconds: float, busy: float) -> tuple[list[Paired], int]:
    """So many runs, and how many were repeated for what befell the machine."""
    with tempfile.TemporaryDirectory(prefix="forebay-bench-", ignore_cleanup_errors=True) as root:
        async with replica(Path(root)) as pair:
            found, repeated = list[Paired](), 0
            with favoured():
                progress(NAME, "the engine's profile")
                sidecar_s, profile = await pair.sidecar_s(), await pair.profile(PROFILE_S)
            while len(found) < runs:
                one, profile = await _paired(pair, profile, sidecar_s, len(found) + 1, seconds, busy)
                said = "" if one.undisturbed else f", disturbed: {one.taken:.1%} of the core taken, {one.drift:+.1%} slower after it"
                progress(NAME, f"run {len(found) + 1} of {runs}{said}")
                if one.undisturbed or repeated >= MOST_REPEATS:
                    found.append(one)
                else:
                    repeated += 1
    return found, repeated


async def _paired(
    pair: Replica, profile: EngineProfile, sidecar_s: float, seed: int, seconds: float, busy: float
) -> tuple[Paired, EngineProfile]:
    """A run, and the profile after it."""
    rate = busy / text_s(profile)
    due, objective_s = texts(seed, rate, seconds), objective(profile, rate)
    with favoured():
        before = pair.spent()
        seen = await pair.load(due, seed)
        spent = pair.spent().since(before)
        after = await pair.profile(PROFILE_S)
    if all(x is None for x in seen):
        raise ForebayError("no request to the embeddings engine was answered")
    expected, _ = simulated(profile, due)
    one = Paired(
        seed=seed,
        profile=profile,
        due=due,
        objective_s=objective_s,
        seen=seen,
        simulated=expected,
        taken=spent.taken_s() / seconds,
        drift=text_s(after) / text_s(profile) - 1.0,
        slower=times_slower(profile, due, spent.cpu_s + spent.taken_s()),
        sidecar_s=sidecar_s,
        favoured=pair.favoured,
    )
    return one, after


def text_s(profile: EngineProfile) -> float:
    """Seconds that a text of mean length takes alone."""
    return profile.base_s + profile.per_token_s * MEAN_TOKENS


def objective(profile: EngineProfile, rate: float) -> float:
    """What WITHIN of all requests meet in a longer simulation."""
    return quantile(simulated(profile, texts(_OBJECTIVE_SEED, rate, _OBJECTIVE_S))[0], WITHIN)


def attainment(latencies: Sequence[float | None], objective_s: float) -> float:
    """The share that met the objective; a request that was not answered has missed it."""
    return sum(x is not None and x <= objective_s for x in latencies) / len(latencies)


def mean_s(latencies: Sequence[float | None]) -> float:
    """Of those that were answered."""
    return fmean(x for x in latencies if x is not None)


def summary(runs: Sequence[Paired], repeated: int) -> list[dict[str, Any]]:
    """Both figures by the profile alone; and again with what the simulator cannot know, without a target: it says why they differ."""
    at_speed = [one.at_its_speed() for one in runs]
    points = "within 2 points"
    share = "within 10 %"
    head = f"embeddings, {len(runs)} runs, {repeated} more repeated"
    return [
        {"name": f"{head}: attainment", **_attained(runs, [one.simulated for one in runs], points)},
        {"name": f"{head}: mean latency", **_latency(runs, [one.simulated for one in runs], share)},
        {"name": "attainment, at the speed of the run and with the sidecar's time", **_attained(runs, at_speed, "")},
        {"name": "mean latency, at the speed of the run and with the sidecar's time", **_latency(runs, at_speed, "")},
    ]


def _attained(runs: Sequence[Paired], expected: Sequence[Sequence[float]], target: str) -> dict[str, Any]:
    seen = [100.0 * attainment(one.seen, one.objective_s) for one in runs]
    said = [100.0 * attainment(latencies, one.objective_s) for one, latencies in zip(runs, expected, strict=True)]
    found = off([b - a for a, b in zip(seen, said, strict=True)])
    return {
        "measured": digits(fmean(seen), 4),
        "simulated": digits(fmean(said), 4),
        "unit": "%",
        "off": digits(found.mean),
        "plus_minus": digits(found.half),
        "off_unit": "points",
        **_judged(found, POINTS, target),
    }


def _latency(runs: Sequence[Paired], expected: Sequence[Sequence[float]], target: str) -> dict[str, Any]:
    seen, said = [mean_s(one.seen) for one in runs], [fmean(latencies) for latencies in expected]
    found = off([100.0 * (b / a - 1.0) for a, b in zip(seen, said, strict=True)])
    return {
        "measured": digits(1e3 * fmean(seen)),
        "simulated": digits(1e3 * fmean(said)),
        "unit": "ms",
        "off": digits(found.mean),
        "plus_minus": digits(found.half),
        "off_unit": "%",
        **_judged(found, 100.0 * SHARE, target),
    }


def _judged(found: Off, bound: float, target: str) -> dict[str, Any]:
    """`kept`: the mean is within the target; `shown`: the whole interval is."""
    return {"target": target, "kept": found.within(bound), "shown": found.shown(bound)} if target else {}


def row(one: Paired) -> dict[str, Any]:
    """One run by itself, and whether it is to be believed."""
    seen_s, said_s = mean_s(one.seen), fmean(one.simulated)
    return {
        "name": f"run {one.seed}" + ("" if one.undisturbed else ", disturbed"),
        "measured": digits(1e3 * seen_s),
        "simulated": digits(1e3 * said_s),
        "unit": "ms",
        "off": digits(100.0 * (said_s / seen_s - 1.0)),
        "off_unit": "%",
        "attainment": digits(100.0 * attainment(one.seen, one.objective_s), 4),
        "simulated_attainment": digits(100.0 * attainment(one.simulated, one.objective_s), 4),
        "objective_ms": digits(1e3 * one.objective_s),
        "base_ms": digits(1e3 * one.profile.base_s),
        "per_token_ms": digits(1e3 * one.profile.per_token_s),
        "requests": len(one.seen),
        "failed": sum(x is None for x in one.seen),
        "taken_percent": digits(100.0 * one.taken, 2),
        "drift_percent": digits(100.0 * one.drift, 2),
        "times_slower": digits(one.slower),
        "sidecar_ms": digits(1e3 * one.sidecar_s),
        "real_time": one.favoured,
    }


def _scaled() -> dict[str, Any]:
    """The row of `forebay up`."""
    asked = folder_under_load.askings(folder_under_load.SHAPE, _UP_SEED)
    progress(NAME, f"forebay up under {len(asked)} requests")
    with tempfile.TemporaryDirectory(prefix="forebay-bench-", ignore_cleanup_errors=True) as root:
        folder, seen = asyncio.run(folder_under_load.observed(asked, Path(root)))
    document = folder_under_load.simulated(folder, asked, seen.start_s)
    # Both count up to when the simulation has answered all.
    measured = folder_under_load.replica_s(seen.looks, seen.began_s, seen.began_s + document["seconds"]) / 3600.0
    expected = sum(document["replicas"]["hours"].values())
    found = Off(100.0 * (expected / measured - 1.0), 0.0)
    return {
        "name": "forebay up: replica-hours",
        "measured": digits(measured, 4),
        "simulated": digits(expected, 4),
        "unit": "h",
        "off": digits(found.mean),
        "off_unit": "%",
        "target": "within 10 %",
        "kept": found.within(100.0 * SHARE),
        "requests": len(asked),
        "failed": seen.outcomes[Outcome.REFUSED],
        "lost": seen.outcomes[Outcome.LOST],
        "most_replicas": max(look.there for look in seen.looks),
        "simulated_most_replicas": document["replicas"]["most"],
        "start_s": digits(seen.start_s),
    }

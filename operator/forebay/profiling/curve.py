"""The saturation curve of an engine, its knee, and the profile that explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, log

from forebay.api.inference_pool import Task
from forebay.api.meta import format_duration
from forebay.api.step_moments import TERMS
from forebay.planning.fit import Fit, fit
from forebay.planning.measured import StepMoments
from forebay.planning.profiles import ENOUGH, sums_of
from forebay.profiling.load import Level
from forebay.runtime.errors import ForebayError

GAIN = 0.1
"""What twice the concurrency must add to the throughput to be worth it."""
_ROUNDS = 4
_MARGIN = 1.25
"""So much longer than it should take is said to be enough."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found: the profile's times and how sure they are, and the concurrency at which more stops paying.

    `tokens_per_s` is the highest throughput that was seen up to there.
    """

    times: Fit
    knee: int
    tokens_per_s: float


def concurrencies(most: int) -> list[int]:
    """1, 2, 4 and so on, and the most."""
    steps = [1]
    while steps[-1] * 2 < most:
        steps.append(steps[-1] * 2)
    return [*steps, most] if most > 1 else steps


def knee(levels: Sequence[Level], task: Task) -> tuple[int, bool]:
    """The concurrency beyond which throughput gains less than GAIN for each doubling, and whether that was reached."""
    for before, after in pairwise(levels):
        low, high = before.throughput(task), after.throughput(task)
        doublings = log(after.concurrency / before.concurrency) / log(2.0)
        if low <= 0.0 or after.refused or high <= 0.0 or exp(log(high / low) / doublings) < 1.0 + GAIN:
            return before.concurrency, True
    return levels[-1].concurrency, False


def measured(levels: Sequence[Level], sums: Sequence[float], task: Task) -> Measured:
    """Fits the profile.

    Raises:
        ForebayError: too little was seen.
    """
    if sums[0] < ENOUGH:
        raise ForebayError(f"only {sums[0]:.0f} observations of steps were made, {ENOUGH:.0f} are needed: {_more(levels, sums[0])}")
    moments = StepMoments.model_validate(dict(zip(TERMS, sums, strict=True)))
    found = sums_of(moments, 2 if task is Task.EMBEDDINGS else 3)
    # At first each time is guessed to make up a part of the mean step; what comes of it is the next guess, so that the first counts little.
    times = tuple(found.mean_s / (len(found.mean) * max(x, 1.0)) for x in found.mean)
    for _ in range(_ROUNDS):
        result = fit(found, times, times)
        times = result.times_s
    at, _ = knee(levels, task)
    return Measured(result, at, max(level.throughput(task) for level in levels if level.concurrency <= at))


def _more(levels: Sequence[Level], observations: float) -> str:
    """What would have made enough observations: they come at the pace of the seconds that were spent."""
    if not any(level.requests for level in levels):
        return "the engine turned every request away (429 or 503); it may be starting, full, or have a limit for this key"
    if observations <= 0.0:
        return "give it more --seconds and longer answers"
    seconds = sum(level.span_s for level in levels) / len(levels) * ENOUGH / observations
    return f"--seconds {ceil(_MARGIN * seconds)} would be enough"


def entry(found: Measured, accelerator: str, gpus: int) -> str:
    """The entry of a pool's `profiles`, as YAML."""
    names = ("base", "perToken", "perKvToken")
    times = "".join(f"\n    {name}: {format_duration(float(f'{t:.4g}'))}" for name, t in zip(names, found.times.times_s, strict=False))
    return f"- accelerator: {accelerator}\n  gpus: {gpus}\n  maxConcurrency: {found.knee}\n  iteration:{times}\n"

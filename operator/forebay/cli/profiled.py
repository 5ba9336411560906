"""What `forebay profile` tells: the curve and its knee, the times that explain it, and what a replica holds."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from forebay.runtime.columns import columns
from forebay.runtime.errors import ForebayError
from forebay.runtime.output import say

if TYPE_CHECKING:
    from forebay.profiling.capacity import Capacity
    from forebay.profiling.curve import Measured
    from forebay.profiling.load import Endpoint, Level

_TIMES = ("base", "perToken", "perKvToken")
_BAR = 48


def report(endpoint: Endpoint, levels: list[Level], sums: list[float], args: argparse.Namespace) -> None:
    """Prints all that was found, and writes the entry to `--out`. What was measured is printed before anything fails.

    Raises:
        ForebayError: too little was seen for a profile, or the file cannot be written.
    """
    from forebay.profiling.capacity import capacity
    from forebay.profiling.curve import entry, measured

    seen, shown = document(endpoint, levels, sums[0]), curve(endpoint, levels, sums[0], args.max_concurrency)
    try:
        found = measured(levels, sums, endpoint.task)
    except ForebayError:
        say(json.dumps({**seen, "iteration": None, "holds": []}) if args.json else "\n".join(shown))
        raise
    held = capacity(found, endpoint.task, endpoint.input_tokens, endpoint.output_tokens, args.objective)
    text, failure = entry(found, args.accelerator, args.gpus), None
    if args.out:
        try:
            args.out.write_text(text, encoding="utf-8")
        except OSError as error:
            failure = ForebayError(f"--out {args.out}: {error.strerror}")
    if args.json:
        say(json.dumps({**seen, "iteration": times(found), "holds": [_holds(one) for one in held]}))
    else:
        where = f"written to {args.out}" if args.out and not failure else "for the pool, under spec.profiles:"
        told = [*shown, "", *_time_lines(found), "", *(one.said for one in held), "", where]
        say("\n".join([*told, "", text.removesuffix("\n")]))
    if failure:
        raise failure


def _holds(one: Capacity) -> dict[str, Any]:
    rate = float(f"{one.requests_per_s:.4g}")
    return {"objectives": list(one.objectives), "requestsPerSecond": rate, "bestSeconds": one.best_s, "limitedBy": one.limit}


def _row(level: Level, endpoint: Endpoint) -> dict[str, float | int | None]:
    firsts, between = sorted(level.first_token_s), sorted(level.per_token_s)
    return {
        "concurrency": level.concurrency,
        "requests": level.requests,
        "refused": level.refused,
        "tokensPerSecond": round(level.throughput(endpoint.task), 2),
        "p95FirstSeconds": round(firsts[int(0.95 * (len(firsts) - 1))], 6) if firsts else None,
        "p95PerTokenSeconds": round(between[int(0.95 * (len(between) - 1))], 6) if between else None,
    }


def document(endpoint: Endpoint, levels: list[Level], observations: float) -> dict[str, Any]:
    """What was seen, before anything is made of it."""
    from forebay.profiling.curve import knee

    at, saturated = knee(levels, endpoint.task)
    return {
        "schemaVersion": 1,
        "model": endpoint.model,
        "task": endpoint.task.value,
        "maxConcurrency": at,
        "saturated": saturated,
        "observations": round(observations),
        "levels": [_row(level, endpoint) for level in levels],
    }


def times(found: Measured) -> dict[str, dict[str, float]]:
    """The profile's times, with their relative uncertainties."""
    return {
        name: {"seconds": float(f"{t:.4g}"), "uncertainty": float(f"{found.times.covariance[i][i] ** 0.5:.2g}")}
        for i, (name, t) in enumerate(zip(_TIMES, found.times.times_s, strict=False))
    }


def _time_lines(found: Measured) -> list[str]:
    return [
        f"{name:<11}{t * 1e3:.4g} ms ± {found.times.covariance[i][i] ** 0.5:.1%}"
        for i, (name, t) in enumerate(zip(_TIMES, found.times.times_s, strict=False))
    ]


def _rate(tokens_per_s: float) -> str:
    """Two digits at least."""
    return f"{tokens_per_s:,.0f}" if tokens_per_s >= 10.0 else f"{tokens_per_s:.1f}"


def curve(endpoint: Endpoint, levels: list[Level], observations: float, most_at_once: int) -> list[str]:
    """The curve and its knee, for a terminal. One that ended before `most_at_once` was reached is not said to go on paying."""
    from forebay.profiling.curve import knee

    at, saturated = knee(levels, endpoint.task)
    most = max(level.throughput(endpoint.task) for level in levels)
    table: list[tuple[str, ...]] = [("AT ONCE", "TOKENS/S", "P95 FIRST", "P95 BETWEEN", "")]
    for level in levels:
        row, share = _row(level, endpoint), level.throughput(endpoint.task) / most if most > 0 else 0.0
        mark = " knee" if level.concurrency == at and saturated else " turned away" if level.refused else ""
        seconds = (f"{row[name]:.3g}s" if row[name] is not None else "" for name in ("p95FirstSeconds", "p95PerTokenSeconds"))
        table.append((str(level.concurrency), _rate(level.throughput(endpoint.task)), *seconds, "█" * round(_BAR * share) + mark))
    # The bar stands at the left of its column, all else are figures.
    bars = [row[-1] for row in table]
    rows = [f"{line}  {bar}".rstrip() for line, bar in zip(columns([row[:-1] for row in table], left=0), bars, strict=True)]
    end = (
        [] if saturated or levels[-1].concurrency < most_at_once else ["more at once still paid: raise --max-concurrency to find the knee"]
    )
    return [f"{endpoint.model}: {observations:.0f} observations", "", *rows, *end]

"""Passes over a fleet: every pool is decided anew, with four variants in use, several classes and two weeks of learned forecasts.

Demand is new in each pass, an interval after the last one, and in each a minute ends for a quarter of the pools, whose forecasts close a
step. Beside it in the same process and over the same snapshots: writing each as JSON, and the Horizontal Pod Autoscaler's formula.
And what one pool's new demand costs through the operator's whole loop, and how many pools are planned for it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from bench.support import options
from bench.support.progress import progress
from bench.support.table import digits, quantile
from forebay.cli.values import number, whole
from forebay.runtime.errors import ForebayError

NAME = "planner"
HELP = "time and memory of a pass over every pool, and what a change replans"
OPTIONS = (options.pools,)

MOST_IN_LOOP = 100
"""Pools that there are beside the one that changes. With more of them it takes long to begin, and a change costs the same."""

_SHOWN = {"forebay": "forebay", "json": "json of the same snapshots", "hpa": "hpa's formula alone"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--passes", type=whole(1, 100_000), default=40, metavar="N", help="passes that count (default: 40)")
    seen = "days that every forecast has seen (default: 14)"
    parser.add_argument("--learned-days", type=number(0, 366), default=14.0, metavar="D", help=seen)


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    pools = max(args.pools)
    progress(NAME, f"one pool of {min(pools, MOST_IN_LOOP)} changes, {args.passes} times")
    changes = _child("bench.support.changed_pools", str(min(pools, MOST_IN_LOOP)), str(args.passes))
    progress(NAME, f"{args.passes} passes over {pools} pools")
    return [*_passes(pools, args.passes, args.learned_days), {"name": "one pool's demand changes, through the loop", **changes}]


def _passes(pools: int, passes: int, days: float) -> list[dict[str, Any]]:
    found = _child("bench.support.planned_passes", str(pools), str(passes), str(days))
    timed: dict[str, list[dict[str, float]]] = found.pop("timed")
    held = {key: digits(value) for key, value in (found.pop("held") | found).items()}
    rows = [{**_row("forebay", pools, timed["forebay settled"]), **held}]
    rows.append(_row("forebay, every pool waits to move to another mix", pools, timed["forebay moving"]))
    rows.append(_row("forebay, nothing remembered", pools, timed["nothing remembered"]))
    return rows + [_row(_SHOWN[name], pools, timed[f"{name} settled"]) for name in ("json", "hpa")]


def _row(name: str, pools: int, figures: list[dict[str, float]]) -> dict[str, Any]:
    cpu_s, wall_s = [f["cpu_s"] for f in figures], [f["wall_s"] for f in figures]
    return {
        "name": name,
        "pools": pools,
        "passes": len(figures),
        "cpu_p50_s": digits(quantile(cpu_s, 0.5)),
        "cpu_p99_s": digits(quantile(cpu_s, 0.99)),
        "cpu_max_s": digits(max(cpu_s)),
        "wall_p50_s": digits(quantile(wall_s, 0.5)),
        "wall_p99_s": digits(quantile(wall_s, 0.99)),
        "one_pool_max_ms": digits(1e3 * max(f["most_s"] for f in figures)),
    }


def _child(module: str, *argv: str) -> dict[str, Any]:
    """What a process of its own prints: one document.

    Raises:
        ForebayError: it failed, with the end of what it said.
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-m", module, *argv], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ForebayError(f"{module} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))

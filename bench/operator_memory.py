"""What it takes to operate many pools: resident memory, and CPU of one reconcile.

A process of its own runs the operator's loop with every pool's pods, moving demand and all that the operator imports in a cluster. The
API it talks to is in the same process, so its objects count too: `rss_before_mib` is the process with the API's pools, before the
loop has begun. A cluster's operator holds only its own copies, and pays for HTTP and JSON instead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from bench.support.fleet import SETTINGS
from bench.support.table import digits
from forebay.runtime.errors import ForebayError

NAME = "operator-memory"
HELP = "memory and CPU of the operator's loop, by the number of pools"

_LONGEST_S = 300.0


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    return [_row(pools) for pools in args.pools]


def _row(pools: int) -> dict[str, Any]:
    """Every pool is reconciled once an interval, so one interval shows all of them."""
    argv = [sys.executable, "-m", "bench.support.control_loop", str(pools), str(SETTINGS.interval_s)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_LONGEST_S)
    except subprocess.TimeoutExpired as error:
        raise ForebayError(f"{pools} pools were not all reconciled within {_LONGEST_S:.0f} s") from error
    if done.returncode:
        raise ForebayError(f"the loop with {pools} pools ended: {done.stderr[-2000:]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    rounded = {key: digits(value) if isinstance(value, float) else value for key, value in figures.items()}
    return {"name": f"{pools} pools", "every_s": SETTINGS.interval_s, **rounded}

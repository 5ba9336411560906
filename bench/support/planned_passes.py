"""Passes over a fleet, for `bench.planner`: `python -m bench.support.planned_passes POOLS PASSES DAYS` prints a JSON line of figures.

A process of its own on one core, so that its memory is the fleet's and nothing else's. What a pass takes is what its decisions take;
between two of them the next pool's snapshot is made, as an operator would.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.support.fleet import SETTINGS
from bench.support.learned import MEAN, PHASES, scaled, taught
from bench.support.planned_fleet import INPUT_TOKENS, OUTPUT_TOKENS, Place, a_planned_demand, size_rps
from bench.support.process import on
from forebay.planning.decision import Plan
from forebay.planning.demand import TREND_WINDOW_S
from forebay.planning.hold import AUTO_FLOOR_S
from forebay.planning.memory import ClassForecast, Memory
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot

START = 1_800_000_000.0
WARM_UP = int(TREND_WINDOW_S / SETTINGS.interval_s) + 1
"""Passes that are not counted: until the trend's window is full."""
MOVED = int(AUTO_FLOOR_S / SETTINGS.interval_s) + 6
"""Pass from which on pools have the mix that they want. Until then each waits with another one, and looks for the best in every pass."""

IN_FLIGHT = 8.0
"""Requests in flight of a replica that the formula aims at."""


def formula(snapshot: Snapshot) -> int:
    """The Horizontal Pod Autoscaler's: what there is, times the metric over its target, unless that is within a tenth of 1."""
    current, scaling = sum(d.replicas for d in snapshot.deployments), snapshot.spec.scaling
    in_flight = sum(c.in_flight for c in snapshot.demand.classes.values()) if snapshot.demand else 0.0
    ratio = in_flight / current / IN_FLIGHT
    wanted = current if abs(ratio - 1.0) <= 0.1 else math.ceil(current * ratio)
    return min(max(wanted, scaling.min_replicas), scaling.max_replicas)


def text(snapshot: Snapshot) -> str:
    """The snapshot as a decision record has it."""
    return snapshot.model_dump_json(by_alias=True)


WORK: dict[str, Callable[[Snapshot], Any]] = {"forebay": plan, "json": text, "hpa": formula}


def measured(pools: int, passes: int, days: float) -> dict[str, Any]:
    """Figures by work and pass, and what the process holds."""
    held = {"rss_mib_empty": status_mib("VmRSS")}
    places = _places(pools, days)
    timed: dict[str, list[dict[str, float]]] = {"nothing remembered": [_pass(_forgetful(places), START - SETTINGS.interval_s)["forebay"]]}
    for number in range(MOVED + passes):
        now = START + number * SETTINGS.interval_s
        kind = "moving" if number < MOVED else "settled"
        figures = _pass(places, now)
        if number >= WARM_UP:
            for name, row in figures.items():
                timed.setdefault(f"{name} {kind}", []).append(row)
    held |= {"rss_mib": status_mib("VmRSS"), "rss_mib_peak": status_mib("VmHWM")}
    return {"timed": timed, "held": held, **_sizes(places)}


def _sizes(places: list[Place]) -> dict[str, float]:
    """Of a pool in the mean."""
    return {
        "variants": fmean(len(p.deployments) for p in places),
        "replicas": fmean(sum(d.replicas for d in p.deployments) for p in places),
        "forecasts": fmean(2 * len(p.memory.forecasts) for p in places),
        "memory_kb": fmean(len(p.memory.model_dump_json(by_alias=True)) for p in places) / 1e3,
    }


def _forgetful(places: list[Place]) -> list[Place]:
    return [Place.first(p.number, Memory()) for p in places]


def _places(pools: int, days: float) -> list[Place]:
    phases = [taught(phase, START, days) for phase in range(PHASES)]
    places = []
    for number in range(pools):
        known = {}
        for name in a_planned_demand(number, START).classes:
            inputs, outputs = (scaled(phases[number % PHASES], size_rps(number) * n / MEAN) for n in (INPUT_TOKENS, OUTPUT_TOKENS))
            known[name] = ClassForecast(input_tokens=inputs, output_tokens=outputs)
        places.append(Place.first(number, Memory(forecasts=known)))
    return places


def _pass(places: list[Place], now: float) -> dict[str, dict[str, float]]:
    """Seconds that each work takes of all pools together, and of the pool that took longest."""
    spent = {name: {"cpu_s": 0.0, "wall_s": 0.0, "most_s": 0.0} for name in WORK}
    for place in places:
        snapshot = place.snapshot(now, a_planned_demand(place.number, now))
        for name, work in WORK.items():
            wall, cpu = time.perf_counter(), time.process_time()
            found = work(snapshot)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            so_far = spent[name]
            so_far["cpu_s"] += cpu
            so_far["wall_s"] += wall
            so_far["most_s"] = max(so_far["most_s"], cpu)
            if isinstance(found, Plan):
                place.carry_out(found)
    return spent


def status_mib(field: str) -> float:
    """A figure of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


if __name__ == "__main__":
    with on(0):
        print(json.dumps(measured(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))

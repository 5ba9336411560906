"""llm-d's published benchmark, simulated: 2-4-6-8-10-4-1 requests/s, 4,000 tokens in and 1,000 out, 3 to 8 replicas, 100 s to start.

Source of the workload: llm-d, guides/workload-autoscaling/slo-aware/benchmark-templates (BENCHMARK.md, scored-config.yml); within a stage
inference-perf spaces requests exponentially and stretches them to the stage's length, which is as many uniform times in order. The engine
is frozen in profiles/llmd_qwen3_32b.json. Cost counts from the first second to the last of the load, each replica from being asked for to
being gone, those that drain included.
"""

from __future__ import annotations

import argparse
import json
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import cpu_count
from pathlib import Path
from typing import Any

from bench.support import options
from bench.support.comparison import Arrival, Case, row, tuned
from bench.support.progress import progress
from bench.support.ramp_laws import Engine, clairvoyants, laws
from forebay.planning.work import EngineProfile
from forebay.simulation.run import Setup
from forebay.simulation.score import Objective

NAME = "ramp"
HELP = "llm-d's published ramp in the simulator: forebay, peers re-implemented, and bounds"
OPTIONS = (options.seeds, options.price)

STAGES = ((2, 330), (4, 360), (6, 360), (8, 360), (10, 360), (4, 360), (1, 300))
SPAN_S = float(sum(seconds for _, seconds in STAGES))
OBJECTIVE = Objective(first_token_s=3.0, per_token_s=0.1)
TARGETS = (0.98, 0.958)
PROFILE = Path(__file__).parent / "profiles" / "llmd_qwen3_32b.json"

TUNING_SEEDS = (201, 202, 203)
FIRST_SEED = 101


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    engine, seeds = load_engine(PROFILE), options.seeds_of(args)
    names = [*laws(engine, setup(engine), OBJECTIVE), "clairvoyant"]
    progress(NAME, f"scored on seeds {FIRST_SEED} to {FIRST_SEED + seeds - 1}, tuned on {TUNING_SEEDS}")
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(max_workers=min(len(names), cpu_count())) as pool:
        for name, found in zip(names, pool.map(partial(_rows, seeds, args.usd_per_gpu_hour), names), strict=True):
            progress(NAME, name)
            rows += found
    return rows


def _rows(seeds: int, usd_per_gpu_hour: float | None, name: str) -> list[dict[str, Any]]:
    """One law: tuned for each target, and as shipped."""
    engine = load_engine(PROFILE)
    case = Case(replace(setup(engine), by_class=name == "forebay"), OBJECTIVE, engine.gpus, usd_per_gpu_hour)
    scored = [workload(seed) for seed in range(FIRST_SEED, FIRST_SEED + seeds)]
    if name == "clairvoyant":
        # It is searched on the very workloads that it is scored on: it is a bound.
        settings, apart = clairvoyants(case.setup), scored
    else:
        settings, apart = laws(engine, case.setup, OBJECTIVE)[name], [workload(seed) for seed in TUNING_SEEDS]
    chosen = tuned(case, settings, apart, TARGETS)
    wanted = {name: chosen[TARGETS[0]], f"{name}, for {TARGETS[1]:.1%}": chosen[TARGETS[1]]}
    if name != "clairvoyant":
        wanted[f"{name}, as shipped"] = next(iter(settings))
    scores = {setting: case.scores(settings[setting], scored) for setting in set(wanted.values())}
    return [row(label, setting, scores[setting], case) for label, setting in wanted.items()]


def load_engine(path: Path) -> Engine:
    """The frozen replica."""
    found = json.loads(path.read_text())
    return Engine(EngineProfile(**found["engine"]), found["gpus"], found["cache_tokens"])


def setup(engine: Engine) -> Setup:
    """The benchmark's bounds and warm-up; the pool begins settled at its floor."""
    return Setup(engine.profile, start_s=100.0, min_replicas=3, max_replicas=8, first_replicas=3, until_s=SPAN_S)


def workload(seed: int) -> list[Arrival]:
    """One episode's requests in order."""
    chance = random.Random(seed)
    began, requests = 0.0, []
    for rate, seconds in STAGES:
        times = sorted(chance.uniform(began, began + seconds) for _ in range(rate * seconds))
        requests += [(at, tokens(chance, 4000, 300, 3500, 4500), tokens(chance, 1000, 80, 900, 1100)) for at in times]
        began += seconds
    return requests


def tokens(chance: random.Random, mean: int, deviation: int, least: int, most: int) -> int:
    """Normally distributed within bounds."""
    while True:
        tokens = round(chance.gauss(mean, deviation))
        if least <= tokens <= most:
            return tokens

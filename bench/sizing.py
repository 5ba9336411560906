"""CPU time of one sizing: `replicas_for` alone, over profiles and loads from small models to large ones.

Every pool is sized again on every pass over every pool, and nothing is remembered between two sizings, so this bounds how many pools one
operator can plan.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace
from typing import Any

from bench.support import options
from bench.support.table import digits, quantile
from forebay.api.inference_pool import Task
from forebay.planning.capacity import capacity_rps, tail_s
from forebay.planning.queueing import EngineProfile, Load, Promise
from forebay.planning.sizing import Demanded, replicas_for

NAME = "sizing"
HELP = "CPU time of sizing one pool, by what is asked of it"
OPTIONS = (options.rounds,)

_PROFILES = 30

_Case = tuple[tuple[Demanded, ...], EngineProfile]


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    kinds: dict[str, list[_Case]] = {
        "one promise, requests alike": [_case(n, ("timeToFirstToken",)) for n in range(_PROFILES)],
        "two promises, requests alike": [_case(n, ("timeToFirstToken", "interTokenLatency")) for n in range(_PROFILES)],
        "two promises, requests unequal": [_case(n, ("timeToFirstToken", "interTokenLatency"), unequal=1.0) for n in range(_PROFILES)],
        "three classes": [_classes(n) for n in range(_PROFILES)],
        "embeddings": [_case(n, ("endToEnd",), task=Task.EMBEDDINGS) for n in range(_PROFILES)],
    }
    return [_row(name, cases, args.rounds) for name, cases in kinds.items()]


def _row(name: str, cases: list[_Case], rounds: int) -> dict[str, Any]:
    each_s, replicas = [], []
    for classes, engine in cases:
        times = []
        for _ in range(rounds):
            start = time.process_time()
            sizing = replicas_for(classes, engine, max_replicas=1000)
            times.append(time.process_time() - start)
        each_s.append(quantile(times, 0.5))
        replicas.append(float(sizing.replicas))
    return {
        "name": name,
        "profiles": len(cases),
        "replicas_p50": quantile(replicas, 0.5),
        "mean_cpu_us": digits(sum(each_s) / len(each_s) * 1e6),
        "p50_cpu_us": digits(quantile(each_s, 0.5) * 1e6),
        "max_cpu_us": digits(max(each_s) * 1e6),
    }


def _case(number: int, metrics: tuple[Any, ...], unequal: float = 0.0, task: Task = Task.CHAT) -> _Case:
    """The same number is the same profile and the same load, whatever is promised."""
    chance = random.Random(number)
    engine = EngineProfile(
        base_s=10 ** chance.uniform(-2.7, -1.5),
        per_token_s=10 ** chance.uniform(-5.3, -3.7),
        per_kv_token_s=10 ** chance.uniform(-8.0, -6.3),
        max_concurrency=chance.choice((8, 32, 64, 128, 256)),
        task=task,
    )
    load = Load(0.0, round(10 ** chance.uniform(1.3, 3.6)), round(10 ** chance.uniform(0.3, 2.6)), unequal, unequal)
    loose = chance.uniform(1.5, 6.0)
    promises = tuple(Promise(metric, 0.95, tail_s(load, engine, metric, 0.95, 1) * loose) for metric in metrics)
    rate = capacity_rps(load, engine, promises) * chance.uniform(0.5, 30.0)
    return (Demanded(replace(load, requests_per_s=rate), promises, max_wait_s=30.0),), engine


def _classes(number: int) -> _Case:
    """An interactive class, a slower one with requests twice as long, and one that is only to be served."""
    (first,), engine = _case(number, ("timeToFirstToken",))
    half = replace(first.load, requests_per_s=first.load.requests_per_s / 2)
    longer = replace(half, input_tokens=2 * half.input_tokens, output_tokens=2 * half.output_tokens)
    second = replace(first, load=longer, promises=tuple(replace(p, target_s=10 * p.target_s) for p in first.promises))
    return (replace(first, load=half), second, replace(first, load=half, promises=())), engine

"""The smallest replica count that holds every class's tail objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forebay.api.inference_pool import Task
from forebay.planning.queueing import EngineProfile, Load, Promise, Metric
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Demanded:
    load: Load
    promises: tuple[Promise, ...]
    max_wait_s: float
    batch_window_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Sizing:
    replicas: int
    binding: str
    per_replica_rps: float
    utilisation: float


class Infeasible(Exception):
    def __init__(self, metric: str, target_s: float, best_target_s: float) -> None:
        super().__init__(f"{metric} {target_s} < {best_target_s}")
        self.metric, self.target_s, self.best_target_s = metric, target_s, best_target_s


def _together(classes: tuple[Demanded, ...]) -> Load:
    rate = sum(c.load.requests_per_s for c in classes)
    share = [(c.load.requests_per_s / rate if rate else 1 / len(classes)) for c in classes]
    return Load(rate, sum(s * c.load.input_tokens for s, c in zip(share, classes, strict=True)), sum(s * c.load.output_tokens for s, c in zip(share, classes, strict=True)))


def replicas_for(classes: tuple[Demanded, ...], engine: EngineProfile, *, efficiency: float = 1.0, max_replicas: int) -> Sizing:
    for c in classes:
        for p in c.promises:
            best = tail_s(Load(1e-9, c.load.input_tokens, c.load.output_tokens), engine, p.metric, p.quantile) + c.batch_window_s
            if best > p.target_s:
                raise Infeasible(p.metric, p.target_s, best)
    if not classes:
        return Sizing(1, "floor", 0.0, 0.0)
    load = _together(classes)
    for n in range(1, max_replicas + 1):
        part = Load(load.requests_per_s / n, load.input_tokens, load.output_tokens)
        if part.requests_per_s > 0.9 * max_rps(engine, load):
            continue
        tails = [(p, tail_s(part, engine, p.metric, p.quantile) + c.batch_window_s) for c in classes for p in c.promises]
        if all(t <= p.target_s for p, t in tails):
            return Sizing(n, tails[0][0].metric if tails else "throughput", part.requests_per_s, part.requests_per_s / max_rps(engine, load))
    return Sizing(max_replicas, "maxReplicas", load.requests_per_s / max_replicas, math.inf)


def step_s(e, load, n):
    if e.task == Task.EMBEDDINGS:
        return e.base_s + n * e.per_token_s * load.input_tokens
    c = (load.input_tokens + load.output_tokens) / (load.output_tokens + 1)
    m = load.input_tokens + load.output_tokens / 2
    return e.base_s + n * (e.per_token_s * c + e.per_kv_token_s * m)


def prefill_s(e, load, n):
    return step_s(e, load, n) + (0.0 if e.task == Task.EMBEDDINGS else e.per_token_s * load.input_tokens)


def service_s(e, load, n):
    outputs = 0.0 if e.task == Task.EMBEDDINGS else max(0.0, load.output_tokens - 1)
    return prefill_s(e, load, n) + outputs * step_s(e, load, n)


def max_rps(e, load):
    return e.max_concurrency / service_s(e, load, e.max_concurrency)


@lru_cache(maxsize=4096)
def occupancy(e, load):
    logs, value = [0.0], 0.0
    for n in range(1, e.max_concurrency + 1):
        value += math.log(max(load.requests_per_s, 1e-12)) - math.log(n / service_s(e, load, n))
        logs.append(value)
    ratio = load.requests_per_s / max_rps(e, load)
    top = max(logs)
    weights = [math.exp(x - top) for x in logs]
    total = sum(weights) + weights[-1] * ratio / (1 - ratio)
    return tuple(w / total for w in weights), ratio


def tail_s(load, e, metric, quantile):
    if load.requests_per_s >= max_rps(e, load):
        return math.inf
    p, ratio = occupancy(e, load)
    seen, n = 0.0, 0
    for n, share in enumerate(p):
        seen += share
        if seen >= quantile:
            break
    n = max(1, min(n + 1, e.max_concurrency))
    waiting = p[-1] / (1 - ratio)
    wait = 0.0
    if waiting > 1 - quantile:
        wait = math.log(waiting / (1 - quantile)) / (max_rps(e, load) - load.requests_per_s)
    if metric == "interTokenLatency":
        return step_s(e, load, n)
    start = wait + step_s(e, load, n) + prefill_s(e, load, n)
    return start if metric == "timeToFirstToken" else start + service_s(e, load, n) - prefill_s(e, load, n)

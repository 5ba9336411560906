"""The smallest replica count that holds every class's tail objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forebay.planning.queueing import EngineProfile, Load, Promise, max_rps, tail_s


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

"""What one replica of a measured profile holds, by the function that sizes pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from forebay.api.inference_pool import Task
from forebay.api.meta import format_duration
from forebay.planning.capacity import capacity_rps
from forebay.planning.queueing import EngineProfile, Load, Metric, Promise
from forebay.planning.sizing import MOST_UTILISED, Demanded, Infeasible, replicas_for
from forebay.profiling.curve import Measured

FITTED, MEASURED = "fitted", "measured"


@dataclass(frozen=True, slots=True)
class Capacity:
    """The largest rate at which one replica holds these objectives, requests/s (with embeddings inputs/s); `best_s` where it never does.

    `limit` is what the rate comes from: the fitted times, or the throughput that was measured where this is less than they promise.
    """

    objectives: tuple[str, ...]
    requests_per_s: float
    best_s: float | None
    limit: str
    said: str


def capacity(
    found: Measured, task: Task, input_tokens: float, output_tokens: float, objectives: Sequence[tuple[str, float, float]]
) -> list[Capacity]:
    """Without an objective, and with all that were asked for together. Objectives are metric, quantile and target in seconds."""
    base_s, per_token_s, per_kv_token_s = (*found.times.times_s, 0.0)[:3]
    engine = EngineProfile(base_s, per_token_s, per_kv_token_s, found.knee, task)
    load = Load(0.0, input_tokens, output_tokens if task is Task.CHAT else 0.0)
    promises = tuple(Promise(cast(Metric, metric), quantile, target_s) for metric, quantile, target_s in objectives)
    seen_rps = found.tokens_per_s / (output_tokens if task is Task.CHAT else input_tokens)
    return [_held(load, engine, wanted, seen_rps) for wanted in (((), promises) if promises else ((),))]


def _held(load: Load, engine: EngineProfile, promises: tuple[Promise, ...], seen_rps: float) -> Capacity:
    unit = "inputs" if engine.task is Task.EMBEDDINGS else "requests"
    shape = (
        f"{load.input_tokens:.0f} tokens"
        if engine.task is Task.EMBEDDINGS
        else f"{load.input_tokens:.0f} and {load.output_tokens:.0f} tokens"
    )
    names = tuple(f"p{100.0 * p.quantile:g} of {p.metric} within {format_duration(p.target_s)}" for p in promises)
    try:
        replicas_for((Demanded(replace(load, requests_per_s=1e-9), promises),), engine, max_replicas=1)
    except Infeasible as miss:
        said = f"one replica never holds {miss.metric} {format_duration(miss.target_s)}: idle it needs {miss.best} for {shape}"
        return Capacity(names, 0.0, miss.best_target_s, FITTED, said)
    fitted, seen = capacity_rps(load, engine, promises), MOST_UTILISED * seen_rps
    rate, limit = min((fitted, FITTED), (seen, MEASURED))
    # What the times promise without an objective is a throughput too.
    throughput = f"its {limit} throughput, less a tenth"
    why = " and ".join(names) + (f" ({throughput})" if limit == MEASURED else "") if names else throughput
    return Capacity(names, rate, None, limit, f"one replica holds {rate:.3g} {unit}/s of {shape}: {why}")

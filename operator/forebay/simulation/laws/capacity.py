"""What one replica holds when its latencies are taken at their means, in the steady state of a profile: how peers size.

A replica that works on n requests makes a token of each in base + n d seconds and computes a prompt p for each that comes, so
a token takes each(n) = base + n d + n p / O on average and n requests leave at n / (O each(n)), for O output tokens.
"""

from __future__ import annotations

from forebay.planning.work import EngineProfile, Load, work_of
from forebay.simulation.score import Objective


def mean_per_token_s(engine: EngineProfile, running: float, inputs: float, outputs: float) -> float:
    """Seconds per token, its share of others' prompts included, with so many requests running."""
    decode_s = engine.per_token_s + engine.per_kv_token_s * (inputs + outputs / 2.0)
    prompt_s = (engine.per_token_s + engine.per_kv_token_s) * inputs
    return engine.base_s + running * (decode_s + prompt_s / outputs)


def most_rps(engine: EngineProfile, inputs: float, outputs: float, objective: Objective) -> float:
    """The largest rate of one replica, requests/s, at which the means of both latencies meet their objectives; 0 where none does."""
    best = 0.0
    for running in range(1, engine.max_concurrency + 1):
        each_s = mean_per_token_s(engine, running, inputs, outputs)
        first_s = each_s + (engine.per_token_s + engine.per_kv_token_s) * inputs
        if each_s > objective.per_token_s or first_s > objective.first_token_s:
            break
        best = max(best, running / (outputs * each_s))
    return best


def full_s(engine: EngineProfile, inputs: float, outputs: float) -> float:
    """Seconds that a request takes of a replica with every place taken."""
    work = work_of(Load(1.0, inputs, outputs), engine)
    return work.total_s + (work.decodes + 1.0) * engine.base_s / engine.max_concurrency

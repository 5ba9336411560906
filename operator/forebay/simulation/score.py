"""What a run was worth: how many requests met their objective, what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from forebay.simulation.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Objective:
    """A request meets it within both, seconds."""

    first_token_s: float = inf
    per_token_s: float = inf


@dataclass(frozen=True, slots=True)
class Score:
    """Attainment is a share of all requests, those refused and lost included; times in seconds, cost in replica hours."""

    requests: int
    attainment: float
    replicas_mean: float
    replica_hours: float
    p50_first_token_s: float
    p99_first_token_s: float


def score(outcome: Outcome, objective: Objective, since_s: float = 0.0, until_s: float = inf) -> Score:
    """Of the requests that arrived within the span. Cost is that of the whole run."""
    chosen = [i for i, at in enumerate(outcome.arrived) if since_s <= at < until_s]
    firsts = sorted(outcome.first_token_s[i] for i in chosen)
    met = sum(outcome.first_token_s[i] <= objective.first_token_s and outcome.per_token_s[i] <= objective.per_token_s for i in chosen)
    total = len(chosen) + outcome.refused + outcome.lost
    return Score(
        requests=total,
        attainment=met / total if total else 1.0,
        replicas_mean=outcome.replicas_mean,
        replica_hours=outcome.replica_s / 3600.0,
        p50_first_token_s=quantile(firsts, 0.5),
        p99_first_token_s=quantile(firsts, 0.99),
    )


def quantile(ordered: list[float], q: float) -> float:
    """Of values in order; 0 where there are none."""
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0

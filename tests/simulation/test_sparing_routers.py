"""What is learned in a simulated fleet of a router that spares prompts, as the gateway does, and of one that counts requests alone."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from forebay.api.batch_class import BatchClassSpec
from forebay.planning.sparing import spares
from forebay.planning.work import EngineProfile
from forebay.simulation import fleet
from forebay.simulation.laws.forebay import Forebay, pool_of
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup
from forebay.simulation.score import Objective, score

ENGINE = EngineProfile(base_s=0.02, per_token_s=6.2733e-05, per_kv_token_s=2.5e-08, max_concurrency=136)
OWED = Objective(first_token_s=0.54, per_token_s=10.0)
"""Twice what an idle replica needs for the first token of 4,000."""
HALF_S, SPAN_S, RPS = 3600.0, 7200.0, 8.0


def scaled() -> tuple[float, float, float]:
    """The share that is believed to be spared after two hours; of the second hour replicas, and how many requests met the objective."""
    promised = BatchClassSpec.model_validate(
        {"tier": "Interactive", "objectives": {"timeToFirstToken": {"target": f"{OWED.first_token_s}s"}}, "queue": {"maxWait": "10m"}}
    )
    law = Forebay(pool_of(ENGINE, min_replicas=1, max_replicas=40), promised, 60.0)
    chance, at, requests = random.Random(5), 0.0, []
    while (at := at + chance.expovariate(RPS)) < SPAN_S:
        requests.append(Request(at, 4000, 200))
    run = Run(Setup(ENGINE, 60.0, 1, 40, first_replicas=12, by_class=True, until_s=SPAN_S), law)
    outcome = run.through(requests)
    mean = fmean(count for at, _, count in outcome.replicas if HALF_S < at <= SPAN_S)
    return spares(law._memory.sparing), mean, score(outcome, OWED, HALF_S, SPAN_S).attainment


def test_a_gateway_that_spares_prompts_is_seen_to_and_the_promise_held_with_fewer_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    spared, fewer, kept = scaled()
    monkeypatch.setattr(fleet, "PROMPT_TOKENS", 10**9)
    counted, more, held = scaled()
    assert spared >= 0.9 and counted <= 0.3
    assert fewer < 0.7 * more
    assert kept >= 0.95 and held >= 0.94

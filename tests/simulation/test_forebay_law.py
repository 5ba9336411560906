"""Our planner behind the seam that peers share: what it is told, and that it decides by it."""

from __future__ import annotations

import pytest

from forebay.api.batch_class import BatchClassSpec
from forebay.planning.work import EngineProfile
from forebay.simulation.law import Observation, Sample
from forebay.simulation.laws.forebay import CLASS, Forebay, pool_of
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup

ENGINE = EngineProfile(base_s=0.02, per_token_s=6.2733e-05, per_kv_token_s=3e-08, max_concurrency=136)
OWED = BatchClassSpec.model_validate(
    {"tier": "Interactive", "objectives": {"timeToFirstToken": {"quantile": 0.95, "target": "3s"}}, "queue": {"maxWait": "10m"}}
)


def a_law(stabilization: str = "300s") -> Forebay:
    return Forebay(pool_of(ENGINE, min_replicas=1, max_replicas=8, scaleDown={"stabilization": stabilization}), OWED, 100.0)


def samples(until: float, rps: float) -> list[Sample]:
    found = []
    for i in range(24):
        sample = Sample(until - 5.0 * (23 - i), 5.0, ready=1)
        own = sample.of(CLASS)
        own.arrived = own.completed = round(5 * rps)
        own.input_tokens, own.output_tokens = 4000 * own.completed, 1000 * own.completed
        own.input_tokens_squared, own.output_tokens_squared = 4000**2 * own.completed, 1000**2 * own.completed
        found.append(sample)
    return found


def test_the_pool_has_the_engines_own_profile() -> None:
    step = pool_of(ENGINE, min_replicas=1, max_replicas=8).profiles[0].iteration
    assert (step.base, step.per_token, step.per_kv_token) == (ENGINE.base_s, ENGINE.per_token_s, ENGINE.per_kv_token_s)


def test_it_asks_for_what_the_planner_wants_and_tells_why() -> None:
    law = a_law()
    assert law.decide(Observation(120.0, 1, 0, samples(120.0, 4.0))) == 3
    assert "4 requests/s" in law.why[0] and "3 replicas by throughput" in law.why[1]


def test_it_knows_how_long_replicas_took_and_learns_how_long_they_take() -> None:
    law = a_law()
    law.decide(Observation(120.0, 1, 0, samples(120.0, 4.0)))
    assert law._memory.start_times_s == (100.0,)
    law.decide(Observation(135.0, 1, 2, samples(135.0, 4.0)))
    law.decide(Observation(225.0, 3, 0, samples(225.0, 4.0)))
    assert law._memory.start_times_s[1:] == (105.0, 105.0), "counted from the decision, seen at the next look"


def test_a_run_that_does_not_sample_by_class_is_refused_and_not_taken_for_no_load() -> None:
    setup = Setup(ENGINE, start_s=100.0, min_replicas=1, max_replicas=8, first_replicas=1)
    with pytest.raises(ValueError, match="by_class"):
        Run(setup, a_law()).through(Request(i / 4.0, 4000, 1000) for i in range(200))


def test_it_follows_load_up_and_gives_back_after_its_window() -> None:
    requests = [Request(i / 4.0, 4000, 1000) for i in range(2400)]
    setup = Setup(ENGINE, start_s=100.0, min_replicas=1, max_replicas=8, first_replicas=1, until_s=1600.0, by_class=True)
    outcome = Run(setup, a_law("60s")).through([*requests, *(Request(600.0 + 5.0 * i, 4000, 1000) for i in range(200))])
    serving = {round(at): count for at, count, _ in outcome.replicas}
    assert serving[5] == 1 and 3 <= serving[500] <= 5 and serving[1500] == 1

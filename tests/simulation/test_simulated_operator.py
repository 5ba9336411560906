"""The operator on a virtual clock: the decisions of a cluster, for a fleet that exists in numbers only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forebay.local.folder import read_folder
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot
from forebay.planning.variants import engine_profile
from forebay.simulation.arrivals import renewal, stages
from forebay.simulation.fleet import Fleet
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.outcome import Outcome
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
DAY = [(1.0, 600.0), (6.0, 900.0), (0.5, 900.0)]


@contextmanager
def an_operator() -> Iterator[tuple[SimulatedOperator, Fleet]]:
    operator = SimulatedOperator(read_folder(QUICKSTART).objects.values(), "default", "chat")
    profiles = {name: engine_profile(operator.spec, v.profile) for name, v in operator.variants().items() if v.profile}
    fleet = Fleet(profiles, lambda _: 60.0, operator.counts())
    operator.attach(fleet)
    try:
        yield operator, fleet
    finally:
        operator.close()


def a_day(operator: SimulatedOperator, fleet: Fleet, seed: int = 1) -> Outcome:
    setup = Setup(next(iter(fleet.profiles.values())), 60.0, 1, 6, 1, by_class=True)
    return Run(setup, operator, fleet).through(Request(t, 40, 80, "interactive") for t in renewal(stages(DAY), seed))


def test_the_fleet_follows_the_load_up_and_down() -> None:
    with an_operator() as (operator, fleet):
        outcome = a_day(operator, fleet)
        quiet, busy, calm = ([n for t, n, _ in outcome.replicas if a < t <= b] for a, b in ((300, 600), (1200, 1500), (2100, 2400)))
        assert max(quiet) <= 2 < max(busy) and max(calm) < max(busy)
        assert len(outcome.arrived) == len(list(renewal(stages(DAY), 1))) and outcome.refused == outcome.lost == 0
        assert outcome.replicas_mean > 1 and set(outcome.paid_s) == {"sim-gpu-on-demand", "sim-gpu-spot"}
        condition = {c["type"]: c["status"] for c in operator.status()["conditions"]}
        assert condition["Accepted"] == condition["MetricsFresh"] == "True"
        why = " ".join(operator.status()["plan"]["why"])
        assert "forebay_sidecar_arrivals_total" in why and "40 input and 80 output tokens" in why


def test_the_same_workload_gives_the_same_decisions_and_they_replay() -> None:
    with an_operator() as (one, fleet):
        first = a_day(one, fleet)
    with an_operator() as (other, fleet):
        second = a_day(other, fleet)
    assert first.replicas == second.replicas and first.first_token_s == second.first_token_s
    assert len(one.decisions.records) > 3
    for record in one.decisions.records:
        again = plan(Snapshot.model_validate(record["snapshot"]))
        assert again.model_dump(mode="json", by_alias=True) == record["plan"]

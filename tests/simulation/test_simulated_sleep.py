"""A simulated pool with minReplicas 0: a night of silence costs nothing, and the first request waits for about a start."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from forebay.adapters.cluster import INFERENCE_POOLS
from forebay.local.folder import read_folder
from forebay.planning.variants import engine_profile
from forebay.simulation.fleet import Fleet
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.outcome import Outcome
from forebay.simulation.queues import Rule
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup
from forebay.simulation.study import Asked, study

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
EVENING_S, MORNING_S, END_S = 1800, 30_000, 31_000
NIGHT = (*range(10, EVENING_S, 5), *range(MORNING_S, END_S, 5))
"""An evening of a request every five seconds, eight hours of silence, and a morning."""
START_S = 60.0


def asked(least: int) -> Asked:
    objects = dict(read_folder(QUICKSTART).objects)
    for (kind, _, name), obj in objects.items():
        if kind == INFERENCE_POOLS and name == "chat":
            obj["spec"]["scaling"].update(minReplicas=least, scaleDown={"stabilization": "5m"}, forecast={"mode": "Disabled"})
    return Asked(tuple(objects.values()), "default", "chat", start_s=START_S)


def hours(least: int) -> float:
    """Replica-hours of the night; every request of it was answered."""
    report = study(asked(least), (Request(float(at), 40, 80, "interactive") for at in NIGHT))
    assert report["requests"] == {"answered": len(NIGHT), "refused": 0, "lost": 0, "retried": 0}
    return float(sum(report["replicas"]["hours"].values()))


def test_a_night_of_silence_costs_nothing() -> None:
    asleep = hours(0)
    awake = (EVENING_S + END_S - MORNING_S) / 3600
    assert awake - 0.1 < asleep < awake + 0.3
    assert hours(1) - asleep > 7.0


def test_the_first_request_waits_for_about_a_start() -> None:
    outcome = first_requests((10.0, 10.5, 2000.0))
    assert outcome.first_token_s[0] == pytest.approx(START_S + 1.0, abs=1.0)
    assert outcome.first_token_s[2] == pytest.approx(START_S + 1.0, abs=1.0)


def test_who_is_held_is_turned_away_when_no_replica_comes() -> None:
    """As by the gateway: after the time that the class may wait and a start takes, not at the end of the workload."""
    outcome = first_requests((10.0, 10.5, 2000.0), comes_in_s=inf, max_wait_s=30.0)
    assert outcome.refused_of == {"interactive": 3} and not outcome.lost and not len(outcome.arrived)


def first_requests(times: tuple[float, ...], comes_in_s: float = START_S, max_wait_s: float = inf) -> Outcome:
    given = asked(0)
    operator = SimulatedOperator(given.objects, "default", "chat")
    try:
        profiles = {name: engine_profile(operator.spec, v.profile) for name, v in operator.variants().items() if v.profile}
        fleet = Fleet(profiles, lambda _: comes_in_s, operator.counts(), rules={"interactive": Rule(max_wait_s=max_wait_s)})
        operator.attach(fleet)
        setup = Setup(next(iter(profiles.values())), START_S, 0, 6, 0, by_class=True, wake_s=1.0)
        return Run(setup, operator, fleet).through(Request(at, 40, 80, "interactive") for at in times)
    finally:
        operator.close()

"""A simulated pool with minReplicas 0: a night of silence costs nothing, and the first request waits for about a start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from forebay.adapters.cluster import INFERENCE_POOLS
from forebay.local.folder import read_folder
from forebay.planning.variants import engine_profile
from forebay.simulation.fleet import Fleet
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.outcome import Outcome
from forebay.simulation.queues import Hold, Rule
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


def test_the_gateway_is_heard_from_the_first_decision_on() -> None:
    """It was said not to answer, and that nothing could wake the pool."""
    one = asked(0)
    operator = SimulatedOperator(one.objects, one.namespace, one.pool)
    operator.close()
    (first,) = operator.decisions.records
    assert first["snapshot"]["gateways"]["answered"] == 1 and not any("do not answer" in why for why in first["plan"]["why"])


def test_who_is_held_is_turned_away_when_no_replica_comes() -> None:
    """As by the gateway: after the time that the class may wait and a start takes, not at the end of the workload."""
    outcome = first_requests((10.0, 10.5, 2000.0), comes_in_s=inf, max_wait_s=30.0)
    assert outcome.refused_of == {"interactive": 3} and not outcome.lost and not len(outcome.arrived)


def test_who_wakes_a_pool_whose_start_was_not_seen_yet_is_held_for_a_minute_and_what_its_class_may_wait() -> None:
    """A start of 110 s: as by the gateway the first is turned away before it, and who comes later is answered; then the start is known."""
    times = (10.0, 80.0, 3000.0)
    report = study(replace(asked(0), start_s=110.0), (Request(at, 40, 80, "interactive") for at in times))
    assert report["requests"] == {"answered": 2, "refused": 1, "lost": 0, "retried": 0}


@pytest.mark.parametrize(("tenants", "answered"), [(("",), 10), (("acme",), 5), (("acme", "other"), 10)])
def test_a_gateway_holds_so_many_and_of_one_tenant_half_of_them(tenants: tuple[str, ...], answered: int) -> None:
    requests = [Request(10.0 + 0.1 * n, 40, 8, "interactive", tenants[n % len(tenants)]) for n in range(30)]
    outcome = first_requests(requests, max_wait_s=30.0, most=10)
    assert outcome.refused_of == {"interactive": 30 - answered} and len(outcome.arrived) == answered


def first_requests(times: Sequence[float | Request], comes_in_s: float = START_S, max_wait_s: float = inf, most: int = 1000) -> Outcome:
    given = asked(0)
    operator = SimulatedOperator(given.objects, "default", "chat")
    try:
        profiles = {name: engine_profile(operator.spec, v.profile) for name, v in operator.variants().items() if v.profile}
        fleet = Fleet(profiles, lambda _: comes_in_s, operator.counts(), rules={"interactive": Rule(max_wait_s=max_wait_s)})
        operator.attach(fleet)
        setup = Setup(
            next(iter(profiles.values())), START_S, 0, 6, 0, by_class=True, wake_s=1.0, hold=lambda _: Hold(most, START_S + max_wait_s)
        )
        return Run(setup, operator, fleet).through(t if isinstance(t, Request) else Request(t, 40, 80, "interactive") for t in times)
    finally:
        operator.close()

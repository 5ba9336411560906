"""Classes of different priorities in one line: the model beside a simulated replica, and what must hold of it anyway."""

from __future__ import annotations

import random
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.planning.latency import miss
from forebay.planning.mix import Fleet, kind
from forebay.planning.priorities import in_lines
from forebay.planning.queueing import EngineProfile, Load, Promise, occupancy, work_of
from forebay.planning.sizing import Demanded, expected, kind_of, replicas_for
from forebay.simulation.arrivals import renewal, stages
from forebay.simulation.fleet import Fleet as SimulatedFleet
from forebay.simulation.law import Observation
from forebay.simulation.queues import Rule
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup

ENGINE = EngineProfile(0.02, 5e-5, 2e-7, 8)
FIRST, LAST = Promise("timeToFirstToken", 0.95, 1.0), Promise("timeToFirstToken", 0.95, 4.0)


def classes(high_rps: float, low_rps: float, high: int = 10, low: int = 0) -> tuple[Demanded, ...]:
    alike = Load(0.0, 300.0, 100.0, 0.0, 1.0)
    return (
        Demanded(replace(alike, requests_per_s=high_rps), (FIRST,), inf, 0.0, "chat", high),
        Demanded(replace(alike, requests_per_s=low_rps), (LAST,), inf, 0.0, "batch", low),
    )


class One:
    """One replica, always."""

    interval_s = 1e9

    def decide(self, seen: Observation) -> int:
        return 1


def simulated(asked: tuple[Demanded, ...], seconds: float, seed: int) -> dict[str, float]:
    """The share of each class that was within its target on one replica."""
    rules = {d.name: Rule(d.priority) for d in asked}
    run = Run(
        Setup(ENGINE, 0.0, 1, 1, 1, by_class=True, sample_s=60.0), One(), SimulatedFleet({"": ENGINE}, lambda _: 0.0, {"": 1}, rules=rules)
    )
    chance = random.Random(seed)
    workload = [
        Request(at, 300, 1 + int(chance.expovariate(1.0 / d.load.output_tokens)), d.name)
        for number, d in enumerate(asked)
        for at in renewal(stages([(d.load.requests_per_s, seconds)]), 10 * seed + number)
    ]
    outcome = run.through(sorted(workload, key=lambda r: r.arrived))
    met: dict[str, list[bool]] = {d.name: [] for d in asked}
    targets = {d.name: d.promises[0].target_s for d in asked}
    for which, took in zip(outcome.classes, outcome.first_token_s, strict=True):
        name = outcome.class_names[which]
        met[name].append(took <= targets[name])
    return {name: sum(of) / len(of) for name, of in met.items()}


def modelled(asked: tuple[Demanded, ...]) -> dict[str, float]:
    """The same by the model."""
    pool = kind_of(asked, ENGINE)
    state = pool.state(1, pool.rate)
    assert state is not None
    lines = pool.in_lines(state, 1, pool.rate)
    found = zip(asked, pool.works, lines, strict=True)
    return {d.name: 1.0 - miss(line, own, "timeToFirstToken", d.promises[0].target_s) for d, own, line in found}


@pytest.mark.parametrize(("high_rps", "low_rps"), [(1.0, 2.1), (1.55, 1.55), (2.0, 1.0)])
def test_the_model_says_what_a_replica_does_that_serves_by_priority(high_rps: float, low_rps: float) -> None:
    asked = classes(high_rps, low_rps)
    seen, said, alike = simulated(asked, 2500.0, 3), modelled(asked), modelled(classes(high_rps, low_rps, high=0))
    for name in seen:
        assert said[name] == pytest.approx(seen[name], abs=0.06)
    assert alike["chat"] < seen["chat"] - 0.15, "as one line for all it would be far off"


def test_a_promise_to_those_who_go_first_needs_fewer_replicas_than_to_all() -> None:
    def patient(high: int) -> tuple[Demanded, ...]:
        chat, batch = classes(0.7, 2.1, high=high)
        return chat, replace(batch, promises=(replace(LAST, target_s=20.0),))

    assert replicas_for(patient(10), ENGINE, max_replicas=9).replicas == 1
    assert replicas_for(patient(0), ENGINE, max_replicas=9).replicas == 2


def test_who_waits_last_is_provided_for_too() -> None:
    """Two thirds of the work go before it, so what would do for one line does not do for it."""
    strict = tuple(replace(d, promises=(FIRST,)) if d.name == "batch" else d for d in classes(2.1, 0.7))
    tail = {e.name: e.tail_s for e in expected(strict, ENGINE, 1)}
    plain = {e.name: e.tail_s for e in expected(tuple(replace(d, priority=0) for d in strict), ENGINE, 1)}
    assert tail["chat"] < plain["chat"] and tail["batch"] > plain["batch"]
    assert plain["chat"] == plain["batch"]


def test_a_mix_of_one_kind_says_the_same_as_its_replicas() -> None:
    asked = classes(0.9, 2.2)
    fleet = Fleet(asked, (kind("h100", asked, ENGINE),))
    one, other = fleet.expected((1,), fleet.rate), expected(asked, ENGINE, 1)
    assert [e.tail_s for e in one] == pytest.approx([e.tail_s for e in other], rel=0.05)


PARTS = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6).map(lambda ws: [w / sum(ws) for w in ws])


@given(PARTS, st.floats(0.05, 0.95), st.data())
def test_what_some_gain_others_lose(parts: list[float], utilised: float, data: st.DataObject) -> None:
    """L. Kleinrock's conservation law (1965): waits, each weighted with its part of the work, add up to the same in any order."""
    priorities = [data.draw(st.integers(-3, 3)) for _ in parts]
    work = work_of(Load(0.0, 300.0, 100.0, 0.0, 1.0), ENGINE)
    state = occupancy(work, ENGINE, utilised * 3.0, 1)
    assert state is not None and state.waits > 0.0
    lines = in_lines(state, list(zip(priorities, parts, strict=True)), utilised)
    assert sum(part * line.mean_wait_s for part, line in zip(parts, lines, strict=True)) == pytest.approx(state.mean_wait_s)
    ordered = [line.mean_wait_s for _, line in sorted(zip(priorities, lines, strict=True), key=lambda x: -x[0])]
    assert ordered == sorted(ordered)


def test_alike_priorities_change_nothing() -> None:
    work = work_of(Load(0.0, 300.0, 100.0), ENGINE)
    state = occupancy(work, ENGINE, 2.0, 1)
    assert state is not None
    assert in_lines(state, [(5, 0.3), (5, 0.7)], 0.7) == [state, state]

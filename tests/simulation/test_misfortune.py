"""What befalls a fleet: spot nodes that go with and without notice or cannot be had, and starts that never end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path

import pytest

from forebay.adapters import cluster as kinds
from forebay.local.folder import read_folder
from forebay.planning.variants import engine_profile
from forebay.planning.work import EngineProfile
from forebay.simulation.fleet import Fleet
from forebay.simulation.fortune import Fortune, befall
from forebay.simulation.law import Observation
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.outcome import Outcome
from forebay.simulation.queues import Rule
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request
from forebay.simulation.run import INTERRUPTED, LOST, STUCK, Run, Setup
from forebay.simulation.spot_events import ADD, REMOVE, Change
from forebay.simulation.spot_events import LOST as GO

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
ENGINE = EngineProfile(0.1, 0.0, 0.0, 4)
SPOT = "spot"


class Wants:
    """A law that wants so many spot replicas, and writes down when it was asked."""

    interval_s = 15.0

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[float] = []

    def decide(self, seen: Observation) -> dict[str, int]:
        self.asked.append(seen.now)
        return {SPOT: self.count}


def a_run(law: Wants, fortune: Fortune, first: int, rules: dict[str, Rule] | None = None, start_s: float = 60.0) -> Run:
    fleet = Fleet({SPOT: ENGINE}, lambda _: start_s, {SPOT: first}, rules=rules)
    run = Run(Setup(ENGINE, start_s, 1, 10, first), law, fleet)
    befall(run, fortune, [SPOT], 1)
    return run


def of(outcome: Outcome, what: str) -> list[float]:
    return [at for at, kind, _ in outcome.happened if kind == what]


def every(gap_s: float, until_s: float, output_tokens: int = 20) -> Iterator[Request]:
    at = 0.0
    while at < until_s:
        yield Request(at, 10, output_tokens)
        at += gap_s


def test_a_node_goes_when_its_notice_is_over_and_the_law_is_asked_at_both() -> None:
    law = Wants(2)
    outcome = a_run(law, Fortune((Change(400.0, GO, count=1),), spot_notice_s=130.0), 2).through(every(5.0, 900.0))
    assert of(outcome, INTERRUPTED) == [270.0] and of(outcome, LOST) == [400.0]
    assert {270.0, 400.0} <= set(law.asked)
    after = {round(at): there for at, _, there in outcome.replicas}
    assert after[395] == 2 and after[405] == 2, "the law asks for another one at once"


def test_what_had_begun_is_lost_and_what_had_not_is_tried_again_as_often_as_the_class_says() -> None:
    """A gateway tries another replica only before the first byte."""
    for attempts, lost, retried in ((2, 4, 6), (1, 10, 0)):
        rules = {"default": Rule(max_attempts=attempts)}
        run = a_run(Wants(1), Fortune((Change(100.0, GO, count=1),), spot_notice_s=0.0), 1, rules, start_s=10.0)
        outcome = run.through([*(Request(99.0, 10, 100) for _ in range(10)), Request(600.0, 10, 5)])
        assert (outcome.lost, outcome.retried, len(outcome.arrived), outcome.refused) == (lost, retried, 11 - lost, 0)
        assert all(first_s > 10.0 for at, first_s in zip(outcome.arrived, outcome.first_token_s, strict=True) if at < 600)


def test_a_replica_without_a_node_waits_for_one_and_costs_nothing_meanwhile() -> None:
    changes = (Change(0.0, ADD, "one"), Change(0.0, ADD, "two"), Change(500.0, ADD, "three"))
    outcome = a_run(Wants(3), Fortune(changes), 1).through(every(5.0, 1000.0))
    there = {round(at): (ready, count, cost) for (at, ready, count), cost in zip(outcome.replicas, outcome.billed[SPOT], strict=True)}
    assert there[300] == (2, 3, 2) and there[495] == (2, 3, 2) and there[900] == (3, 3, 3)
    ready_at = min(at for at, (ready, _, _) in there.items() if ready == 3)
    assert 560 <= ready_at <= 580, "a start after its node came, and it was asked for again"


def test_a_node_of_the_record_takes_down_the_replica_that_has_it_and_no_other() -> None:
    changes = (*(Change(0.0, ADD, str(i)) for i in range(8)), *(Change(600.0 + i, REMOVE, str(i)) for i in range(8)))
    outcome = a_run(Wants(3), Fortune(changes, spot_notice_s=30.0), 3).through(every(5.0, 900.0))
    # All nodes go: each of the three once, and those that came instead of them, while there were nodes.
    assert len(of(outcome, LOST)) >= 3 and outcome.replicas[-1][1] == 0
    assert len({name for _, kind, name in outcome.happened if kind == LOST}) == len(of(outcome, LOST))


@pytest.mark.parametrize("zones", [0, 1])
def test_nodes_live_as_long_as_is_said_and_zones_go_together(zones: int) -> None:
    hours = 100
    law = Wants(10)
    outcome = a_run(law, Fortune(spot_mean_life_s=3600.0, spot_zones=zones, spot_notice_s=60.0), 10).through(every(600.0, hours * 3600.0))
    losses = of(outcome, LOST)
    # Ten replicas, one life an hour: a Poisson count, of zones ten times as unequal.
    spread = 4.0 * (10 * hours * (10 if zones else 1)) ** 0.5
    assert abs(len(losses) - 10 * hours) < spread
    assert (len(set(losses)) < 0.2 * len(losses)) == bool(zones)


def test_a_share_of_starts_never_ends_and_half_of_these_have_no_node() -> None:
    class Restless(Wants):
        """Gives all up and asks anew, so that there are many starts."""

        def decide(self, seen: Observation) -> dict[str, int]:
            super().decide(seen)
            return {SPOT: 10 if len(self.asked) % 2 else 0}

    run = a_run(Restless(10), Fortune(stuck_share=0.2), 0, start_s=5.0)
    nodes: list[float] = []
    fate = run.fleet.fate

    def watched(replica: Replica) -> None:
        fate(replica)
        if replica.ready_at == inf:
            nodes.append(replica.node_at)

    run.fleet.fate = watched
    outcome = run.through(every(50.0, 6000.0))
    assert len(of(outcome, STUCK)) == len(nodes) and 0.15 < len(nodes) / 2000 < 0.25
    assert abs(nodes.count(inf) - len(nodes) / 2) <= 1


def test_a_fleet_that_never_comes_does_not_keep_a_run_from_ending() -> None:
    run = a_run(Wants(2), Fortune(stuck_share=1.0), 0)
    outcome = run.through(every(5.0, 300.0))
    assert not outcome.arrived and outcome.lost == 60


@contextmanager
def an_operator(
    fortune: Fortune, load: Sequence[tuple[float, float]], fate: Callable[[Replica], None] | None = None
) -> Iterator[tuple[SimulatedOperator, Callable[[], Outcome]]]:
    operator = SimulatedOperator(read_folder(QUICKSTART).objects.values(), "default", "chat")
    variants = operator.variants()
    fleet = Fleet(
        {name: engine_profile(operator.spec, v.profile) for name, v in variants.items() if v.profile}, lambda _: 60.0, operator.counts()
    )
    operator.attach(fleet)
    run = Run(Setup(next(iter(fleet.profiles.values())), 60.0, 1, 6, 1, by_class=True), operator, fleet)
    befall(run, fortune, [name for name, v in variants.items() if v.capacity_type == "spot"], 1)
    fleet.fate = fate or fleet.fate

    def through() -> Outcome:
        def requests() -> Iterator[Request]:
            at = 0.0
            for rate, until_s in load:
                while at < until_s:
                    yield Request(at, 40, 80, "interactive")
                    at += 1.0 / rate

        return run.through(requests())

    try:
        yield operator, through
    finally:
        operator.close()


def test_the_operator_unroutes_and_replaces_an_interrupted_replica_before_it_goes() -> None:
    """With a notice that is longer than a start and an answer nothing is lost; without one, what had begun is."""
    with an_operator(Fortune((Change(900.0, GO, count=1),), spot_notice_s=120.0), [(4.0, 1200.0)]) as (operator, through):
        outcome = through()
        assert of(outcome, LOST) == [900.0] and outcome.lost == 0
        there = {round(at): count for at, _, count in outcome.replicas}
        assert there[800] == there[775] + 1, "the one that is to go is replaced beside what still runs"
        why = " ".join(" ".join(change["why"]) for change in operator.course.changes)
        records = " ".join(str(r["plan"]["why"]) for r in operator.decisions.records)
        assert "karpenter.sh/disrupted (Karpenter)" in why + records
    with an_operator(Fortune((Change(900.0, GO, count=2),), spot_notice_s=0.0), [(4.0, 1200.0)]) as (_, through):
        assert through().lost > 0


def test_on_demand_stands_in_for_spot_that_cannot_be_had() -> None:
    with an_operator(Fortune((Change(5000.0, ADD, "late"),)), [(4.0, 1500.0)]) as (operator, through):
        outcome = through()
        assert set(outcome.billed["sim-gpu-spot"]) == {0} and max(outcome.billed["sim-gpu-on-demand"]) >= 2
        assert any(record["plan"]["status"]["desired"]["spot"] for record in operator.decisions.records)
        assert "on-demand stands in" in str(list(operator.decisions.records))


def within(outcome: Outcome, since_s: float, until_s: float, target_s: float = 1.0) -> float:
    """Share of the first tokens that came within the target, of requests that arrived then."""
    firsts = [took for at, took in zip(outcome.arrived, outcome.first_token_s, strict=True) if since_s <= at < until_s]
    return sum(took <= target_s for took in firsts) / len(firsts)


@pytest.mark.parametrize("on_a_node", [False, True])
def test_a_pod_stuck_pending_is_released_and_another_comes(on_a_node: bool) -> None:
    """Dynamo #14251: of the replicas that are asked for when the load rises two never start."""
    stuck: list[Replica] = []

    def fate(replica: Replica) -> None:
        if replica.created_at >= 300.0 and len(stuck) < 2:
            stuck.append(replica)
            replica.ready_at = inf
            if not on_a_node:
                replica.node_at = replica.billed_at = inf

    with an_operator(Fortune(), [(2.0, 300.0), (5.0, 1500.0)], fate) as (_, through):
        outcome = through()
    assert within(outcome, 400.0, 430.0) < 0.5, "two are too few"
    assert within(outcome, 750.0, 1500.0) == 1.0
    # What has no node is given up and comes otherwise; what has one may still start, and another is asked for beside.
    assert max(count for _, _, count in outcome.replicas) <= 6
    assert on_a_node or all(replica.gone_at < 600.0 for replica in stuck)


def test_a_pod_that_is_deleted_is_a_replica_that_goes_and_is_made_anew() -> None:
    """What releases a stuck pod is a deletion."""
    with an_operator(Fortune(), [(4.0, 900.0)]) as (operator, through):
        decide = operator.decide
        deleted: list[str] = []

        def deleting(seen: Observation) -> Mapping[str, int]:
            if seen.now == 600.0:
                pods = asyncio.run(operator.cluster.list(kinds.PODS))
                deleted.append(min(pod["metadata"]["name"] for pod in pods))
                asyncio.run(operator.cluster.delete(kinds.PODS, "default", deleted[0], grace_s=0))
            return decide(seen)

        operator.decide = deleting  # type: ignore[method-assign]
        outcome = through()
        ready = {round(at): ready for at, ready, _ in outcome.replicas}
        assert ready[605] == ready[595] - 1 and ready[700] >= ready[595]
        assert len(outcome.arrived) + outcome.refused == 3600 and outcome.lost == 0
        left = asyncio.run(operator.cluster.list(kinds.PODS))
        assert deleted[0] not in [pod["metadata"]["name"] for pod in left]

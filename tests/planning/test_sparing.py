"""How rarely requests are sent where a prompt waits or is computed: what is learned of it, and what it does to a size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.planning.builders import NOW, a_class, a_snapshot, a_spec, demand, running

from forebay.planning.measured import Demand, PromptMeetings
from forebay.planning.memory import Memory, Sparing
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot
from forebay.planning.sparing import spares

INTERACTIVE = {"interactive": a_class(objectives={"timeToFirstToken": {"target": "400ms"}})}
PROFILE = {"accelerator": "h100", "maxConcurrency": 64, "iteration": {"base": "20ms", "perToken": "60us", "perKvToken": "20ns"}}
RPS, REPLICAS, WINDOW_S = 8.0, 10, 45.0


def told(met: float, open_share: float = 0.25, streamed: float = 1.0, reporting: int = REPLICAS) -> Demand:
    """4,000 tokens in, on so many replicas: of the prompts a share meets another one, and one is open for a share of their time."""
    arrivals = streamed * RPS * WINDOW_S
    prompting = PromptMeetings(
        arrivals=arrivals, met=met * arrivals, open_seconds=open_share * reporting * WINDOW_S, seconds=reporting * WINDOW_S
    )
    measured = demand(RPS, input_tokens=4000, output_tokens=200, reporting=reporting)
    return measured.model_copy(update={"prompting": prompting})


def learned(measured: Demand, looks: int = 240, **fields: Any) -> Sparing | None:
    memory = Memory()
    for look in range(looks):
        memory = plan(a_pool(measured, memory, look, **fields)).memory
    return memory.sparing


def a_pool(measured: Demand, memory: Memory, look: int = 0, **fields: Any) -> Snapshot:
    """The pool at so many looks from now, just measured."""
    now = NOW + 15.0 * look
    given = {"spec": a_spec(profiles=[PROFILE], scaling={"maxReplicas": 100}), "classes": INTERACTIVE, **running(REPLICAS), **fields}
    return a_snapshot(now=now, demand=measured.model_copy(update={"measured_at": now}), memory=memory, **given)


def test_a_router_that_meets_no_prompts_spares_them_and_one_that_meets_as_many_as_chance_has_it_does_not() -> None:
    assert spares(learned(told(met=0.01))) >= 0.9
    assert spares(learned(told(met=0.125))) == pytest.approx(0.5, abs=0.1)
    assert spares(learned(told(met=0.25))) == 0.0
    assert spares(learned(told(met=0.4))) == 0.0


def test_little_is_believed_of_few_requests() -> None:
    assert spares(Sparing(avoidable=10.0, avoided=10.0)) == 0.5
    assert spares(Sparing(avoidable=1.0, avoided=1.0)) <= 0.1
    assert spares(None) == 0.0


def test_a_measurement_that_is_looked_at_twice_counts_once() -> None:
    once = plan(a_pool(told(met=0.01), Memory())).memory
    again = plan(a_pool(told(met=0.01), once)).memory
    assert once.sparing is not None and once.sparing.avoidable > 0 and again.sparing == once.sparing


def test_clock_step_back_counts_nothing_twice_and_goes_on_from_there() -> None:
    memory = plan(a_pool(told(met=0.01), Memory(), look=40)).memory
    back = plan(a_pool(told(met=0.01), memory)).memory
    assert memory.sparing is not None and back.sparing == memory.sparing.model_copy(update={"at": NOW})
    later = plan(a_pool(told(met=0.01), back, look=1)).memory
    assert later.sparing is not None and later.sparing.avoidable > memory.sparing.avoidable


def test_answers_in_one_piece_are_not_spared() -> None:
    """A gateway does not see when their prompts have been computed: of the streams that are spared three in four answers are none."""
    assert spares(learned(told(met=0.0, streamed=0.25))) <= 0.25


def test_one_replica_spares_nobody_anything() -> None:
    assert learned(told(met=0.0, reporting=1), **running(1)) is None


def test_a_replica_that_has_just_become_ready_says_nothing() -> None:
    """It was empty, and is sent more than its share."""
    fresh = running(REPLICAS)
    fresh["pods"] = (*fresh["pods"][:-1], fresh["pods"][-1].model_copy(update={"created_at": NOW - 60, "ready_at": NOW - 20}))
    assert learned(told(met=0.0), looks=1, **fresh) is None


def test_sidecars_that_tell_nothing_of_prompts_change_nothing() -> None:
    known = Sparing(avoidable=100.0, avoided=90.0)
    silent = told(0.0).model_copy(update={"prompting": None})
    assert plan(a_pool(silent, Memory(sparing=known))).memory.sparing == known
    assert plan(a_pool(told(0.0).model_copy(update={"prompting": PromptMeetings()}), Memory(sparing=known))).memory.sparing == known


def test_a_router_that_is_replaced_by_a_blind_one_is_forgotten_within_about_an_hour() -> None:
    memory = Memory(sparing=Sparing(avoidable=5000.0, avoided=5000.0))
    for look in range(240):
        memory = plan(a_pool(told(met=0.25), memory, look)).memory
    assert spares(memory.sparing) < 0.3


def test_fewer_replicas_hold_a_tight_first_token_where_prompts_are_spared_and_the_decision_says_so() -> None:
    blind, sparing = (plan(a_pool(told(0.0), Memory(sparing=Sparing(avoidable=5000.0, avoided=n)))) for n in (0.0, 5000.0))
    sizes = [int(next(w for w in decision.why if "replicas by" in w).split(": ")[1].split()[0]) for decision in (blind, sparing)]
    assert sizes[1] < 0.6 * sizes[0]
    assert "95% of prompts that another replica could spare a request are not met (forebay_sidecar_prompting_total)" in sparing.why
    assert not any("prompting" in w for w in blind.why)


@given(*(st.floats(0, 1e15) for _ in range(4)))
def test_whatever_sidecars_tell_a_share_comes_of_it(arrivals: float, met: float, open_s: float, seconds: float) -> None:
    prompting = PromptMeetings(arrivals=arrivals, met=met, open_seconds=open_s, seconds=seconds)
    absurd = told(0.0).model_copy(update={"prompting": prompting})
    assert 0.0 <= spares(plan(a_pool(absurd, Memory())).memory.sparing) <= 1.0

"""The bench of pools on two accelerators: its optimum, its laws and its rows."""

from __future__ import annotations

from bench.support.variant_laws import FAST, SLOW, CostOrdered, Schedule
from bench.variants import END_S, LOADS, STEP_S, scored, steady_row, workload

from forebay.simulation.law import Observation, Sample


def test_the_load_steps_up_when_it_is_said_to() -> None:
    times = [request.arrived for request in workload(1, ((LOADS[0], STEP_S), (LOADS[1], END_S)))]
    before = sum(at < STEP_S for at in times)
    assert times == sorted(times) and times[-1] < END_S
    assert abs(before / STEP_S - LOADS[0]) < 0.3 and abs((len(times) - before) / (END_S - STEP_S) - LOADS[1]) < 0.6


def test_the_steady_mix_costs_what_the_cheapest_of_all_mixes_costs() -> None:
    row = steady_row(5.0, 6.5)
    assert row["usd_over_optimum"] == 1.0 and row["usd"] <= min(row["fast_alone_usd"], row["slow_alone_usd"])


def test_the_cost_ordered_rule_adds_the_cheapest_and_takes_the_dearest() -> None:
    law = CostOrdered({FAST: 1, SLOW: 1}, (SLOW, FAST), 1000.0)
    full = Sample(60.0, 5.0, context_tokens=1900, ready=2)
    assert law.decide(Observation(60.0, 2, 0, [full])) == {FAST: 1, SLOW: 2}
    assert law.decide(Observation(120.0, 2, 1, [full])) == {FAST: 1, SLOW: 2}, "nothing while one starts"
    idle = Sample(180.0, 5.0, context_tokens=100, ready=3)
    assert law.decide(Observation(180.0, 3, 0, [idle])) == {FAST: 0, SLOW: 2}


def test_a_schedule_that_knows_the_load_meets_it() -> None:
    mixes = {FAST: 1, SLOW: 1}, {FAST: 3, SLOW: 5}
    found = scored("optimum", mixes, 100.0, 301)
    assert found.errors == 0 and found.within > 0.99
    assert Schedule(*mixes, at_s=10.0).decide(Observation(10.0, 2, 0, [])) == mixes[1]

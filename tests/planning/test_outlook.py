"""What forecasts do to a plan: they add to what is measured, never take from it, and only while their bounds hold."""

from __future__ import annotations

from dataclasses import replace
from math import sin
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planning.builders import NOW, a_class, a_snapshot, a_spec, demand, learned, running, verdict

from forebay.planning.demand import loads
from forebay.planning.forecast import predict
from forebay.planning.forecast_status import forecast_status, forecast_verdict
from forebay.planning.measured import Demand
from forebay.planning.memory import Memory, Shape
from forebay.planning.outlook import MOST_CLASSES, Outlook, early_s, learn
from forebay.planning.planner import plan
from forebay.planning.snapshot import PoolIdentity, Snapshot

SHAPES = {"interactive": Shape(input_tokens=200, output_tokens=100)}
MISSED = 400
"""Minutes of bounds that do not hold."""
RISING = [2.0 + 0.1 * minute for minute in range(61)]


def snapshot(rates: list[float], rps: float, **forecast: Any) -> Snapshot:
    spec = a_spec(scaling={"minReplicas": 1, "maxReplicas": 50, "forecast": forecast})
    return a_snapshot(spec=spec, demand=demand(rps), memory=learned(rates), **running(2))


def outlook(one: Snapshot) -> Outlook:
    expected = loads(one, {}, SHAPES)[0].expected
    assert expected is not None
    return expected


def provisioned(one: Snapshot) -> float:
    return loads(one, {}, SHAPES)[0].load.requests_per_s


def test_a_rise_is_sized_ahead_of_by_the_forecast_once_it_is_learned() -> None:
    ahead = snapshot(RISING, 8.0)
    assert provisioned(ahead) > 8.0
    decision = plan(ahead)
    assert verdict(decision, "ForecastCalibrated").status == "True"
    (found,) = decision.status.demand.forecast
    assert found.drives and found.model == "trend" and found.coverage == 0.9 and found.horizon == "45s"
    assert found.input_tokens_per_second is not None and found.output_tokens_per_second is not None
    assert found.input_tokens_per_second.upper >= found.input_tokens_per_second.p50 > 0
    assert found.input_tokens_per_second.upper == pytest.approx(2 * found.output_tokens_per_second.upper, rel=0.02)
    why = " ".join(decision.why)
    assert "forecast" in why and "with coverage 0.9" in why
    assert "of the last 1h" in why, "there was no day yet"


def test_reactive_learns_and_shows_but_does_not_size() -> None:
    decision = plan(snapshot(RISING, 8.0, mode="Reactive"))
    assert provisioned(snapshot(RISING, 8.0, mode="Reactive")) == 8.0
    (found,) = decision.status.demand.forecast
    assert not found.drives and decision.memory.forecasts
    told = verdict(decision, "ForecastCalibrated")
    assert (told.status, told.reason) == ("Unknown", "Learning") and "mode is Reactive" in told.message


def test_disabled_neither_learns_nor_shows() -> None:
    decision = plan(snapshot(RISING, 8.0, mode="Disabled"))
    assert decision.memory.forecasts == {} and decision.status.demand.forecast == []
    assert verdict(decision, "ForecastCalibrated").reason == "ForecastDisabled"


def test_a_class_that_may_wait_is_not_forecast_for_nobody_would_read_it() -> None:
    patient = plan(a_snapshot(classes={"interactive": a_class(objectives=None)}, demand=demand(5.0), memory=learned(RISING)))
    assert patient.memory.forecasts == {} and patient.status.demand.forecast == []


def test_minutes_of_many_pools_end_apart() -> None:
    """A quarter of them in each look of a minute, and in its own look each."""
    pools = [PoolIdentity(namespace="a", name=f"pool-{number}") for number in range(400)]
    looks = [int((NOW + early_s(pool)) % 60 // 15) for pool in pools]
    assert all(70 < looks.count(look) < 130 for look in range(4))
    made_anew = PoolIdentity(namespace="a", name="pool-7", uid="another")
    assert early_s(made_anew) == early_s(pools[7]), "a simulation of it gives the same again"


@pytest.mark.parametrize("early", [17.0, 59.0])
def test_a_clock_that_is_fast_forecasts_the_same(early: float) -> None:
    memory = Memory()
    for minute, rate in enumerate(RISING):
        look = demand(rate).model_copy(update={"measured_at": NOW + 60.0 * (minute - len(RISING)) - early})
        memory = memory.model_copy(update={"forecasts": learn(memory.forecasts, look, SHAPES, ("interactive",), early)})
    assert memory.forecasts == learned(RISING).forecasts


def test_more_coverage_is_more_capacity() -> None:
    wavy = [6.0 + 3 * sin(minute * 1.7) for minute in range(240)]
    low, high = (provisioned(snapshot(wavy, 1.0, coverage=c)) for c in (0.5, 0.99))
    assert low < high


def test_a_young_series_does_not_size() -> None:
    decision = plan(snapshot([5.0] * 5, 5.0))
    young = decision.status.demand.forecast[0]
    assert not young.drives and young.doubt.endswith("forecasts came due, 45 are needed") and young.observed_coverage is None
    assert "forecasts came due, 45 are needed" in verdict(decision, "ForecastCalibrated").message


def test_bounds_that_did_not_hold_for_a_day_are_named_and_do_not_size() -> None:
    one = snapshot(RISING, 8.0)
    known = loads(one, {}, SHAPES)[0]
    assert known.expected is not None
    reason = "its bounds for input tokens did not hold as declared over the last day"
    doubted = replace(known.expected, trusted=False, reason=reason, drifted=True)
    told = forecast_verdict(one, [replace(known, expected=doubted)])
    assert (told.status, told.reason) == ("False", "Drifted") and "class interactive: its bounds for input tokens" in told.message
    assert not forecast_status([replace(known, expected=doubted)])[0].drives


def test_a_pool_whose_classes_may_wait_does_not_say_that_it_will_be_forecast() -> None:
    """It was to be measured for longer, for ever."""
    patient = a_snapshot(classes={"interactive": a_class(objectives=None)}, demand=demand(3.0), memory=learned(RISING))
    told = verdict(plan(patient), "ForecastCalibrated")
    assert (told.status, told.reason) == ("Unknown", "Learning")
    assert told.message == "no class has objectives: what may wait is not forecast"


def test_a_pool_whose_bounds_did_not_hold_for_a_day_falls_back_to_what_is_measured_and_says_so() -> None:
    """Two days calm, then hours in which every other minute is just above its bound."""
    calm = [6.0 + 2.0 * sin(minute / 9.0) for minute in range(2 * 1440)]
    before = snapshot([], 2.0).model_copy(update={"memory": learned(calm)})
    assert outlook(before).trusted and provisioned(before) > 2.0
    memory = before.memory
    for minute in range(MISSED):
        at = NOW + 60.0 * minute
        expected = outlook(before.model_copy(update={"now": at, "memory": memory}))
        rate = 1.1 * expected.requests_per_s if minute % 2 else 0.0
        look = demand(rate).model_copy(update={"measured_at": at})
        memory = memory.model_copy(update={"forecasts": learn(memory.forecasts, look, SHAPES, ("interactive",))})
    later = NOW + 60.0 * MISSED
    after = before.model_copy(update={"now": later, "memory": memory, "demand": demand(2.0).model_copy(update={"measured_at": later})})
    expected = outlook(after)
    assert expected.drifted and expected.requests_per_s > 2.0 and provisioned(after) == 2.0
    decision = plan(after)
    told = verdict(decision, "ForecastCalibrated")
    assert (told.status, told.reason) == ("False", "Drifted")
    assert not decision.status.demand.forecast[0].drives


@given(
    st.lists(st.floats(0, 200), min_size=100, max_size=110),
    st.floats(0, 300),
    st.sampled_from((0.5, 0.9, 0.99)),
)
@settings(max_examples=40, deadline=None)
def test_a_forecast_never_takes_capacity_away(rates: list[float], rps: float, coverage: float) -> None:
    memory = learned(rates)
    with_forecast = a_snapshot(
        spec=a_spec(scaling={"minReplicas": 1, "maxReplicas": 500, "forecast": {"coverage": coverage}}), demand=demand(rps), memory=memory
    )
    (load,) = loads(with_forecast, {}, SHAPES)
    assert load.expected is not None and load.expected.trusted, "or nothing is shown"
    assert provisioned(with_forecast) >= rps
    assert load.lasting.load.requests_per_s >= rps, "nor is what is measured given back sooner for it"
    assert plan(with_forecast) == plan(with_forecast)


def test_the_memory_of_a_pool_of_many_classes_stays_below_100_kilobytes() -> None:
    names = tuple(f"class-{i}" for i in range(10))
    shapes = {name: Shape(input_tokens=200, output_tokens=100) for name in names}
    memory = Memory()
    for minute in range(30):
        look = Demand(
            measured_at=NOW + 60.0 * minute,
            window_s=45,
            source="scrape",
            replicas_reporting=1,
            classes={name: demand(3.0 + minute % 4).classes["interactive"] for name in names},
        )
        memory = memory.model_copy(update={"forecasts": learn(memory.forecasts, look, shapes, names)})
    assert len(memory.forecasts) == MOST_CLASSES and len(memory.model_dump_json(by_alias=True)) < 100_000


def test_absurd_measurements_do_not_poison_a_forecast() -> None:
    memory = learned([5.0] * 60)
    for index, value in enumerate((1e300, 1e15, 0.0)):
        look = demand(value).model_copy(update={"measured_at": NOW + index})
        memory = memory.model_copy(update={"forecasts": learn(memory.forecasts, look, SHAPES, ("interactive",))})
    found = predict(memory.forecasts["interactive"].input_tokens, 300, 0.9)
    assert found is not None and found.upper < 200 * 50

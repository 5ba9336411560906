"""How much arrivals clump and how evenly replicas are used: what is measured of it, and what it does to a size."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.planning.builders import NOW, a_snapshot, a_spec, demand, points, running, settled

from forebay.planning.burstiness import MOST, PRIOR_S, at_rate, averaged, dispersed, evenness, in_steps, stepped
from forebay.planning.measured import ClassDemand, Demand
from forebay.planning.memory import Clumping, DemandPoint, Memory, Spread
from forebay.planning.planner import plan
from forebay.planning.sharing import Router
from forebay.planning.sizing import Demanded, replicas_for
from forebay.planning.work import EngineProfile, Load, Promise

WINDOW_S, EVERY_S = 45.0, 15.0
ENGINE = EngineProfile(0.02, 0.00006, 2.5e-8, 64)


def looked_at(cv: float, hours: float, rate: float = 4.0, slope: float = 0.0, seed: int = 3, every_s: float = EVERY_S) -> Clumping | None:
    """What is known of arrivals with gamma gaps after so many hours of looks at their rate over the last window."""
    chance, shape = random.Random(seed), cv**-2
    arrivals, at = [], 0.0
    while at < hours * 3600.0:
        at += chance.gammavariate(shape, 1.0 / (shape * (rate + slope * at)))
        arrivals.append(at)
    known: Clumping | None = None
    points: tuple[DemandPoint, ...] = ()
    low, high = 0, 0
    for look in range(int(WINDOW_S / every_s) + 1, int(hours * 3600.0 / every_s)):
        now = look * every_s
        while high < len(arrivals) and arrivals[high] <= now:
            high += 1
        while arrivals[low] <= now - WINDOW_S:
            low += 1
        points = (*points, DemandPoint(at=now, requests_per_s=(high - low) / WINDOW_S))[-int(180 / every_s) - 1 :]
        known = dispersed(known, points, WINDOW_S)
    return known


@pytest.mark.parametrize("every_s", [5.0, 15.0, 30.0, 60.0])
@pytest.mark.parametrize("cv", [1.0, 2.0, 3.0])
def test_the_dispersion_of_arrivals_is_found_within_hours_however_often_it_is_looked(cv: float, every_s: float) -> None:
    found = looked_at(cv, hours=8.0, every_s=every_s)
    assert found is not None and found.value == pytest.approx(cv * cv, rel=0.5)


def test_a_rising_rate_is_not_a_burst() -> None:
    found = looked_at(1.0, hours=3.0, slope=0.001)
    assert found is not None and found.value < 1.6


def test_one_step_in_demand_is_not_taken_for_bursts() -> None:
    known = Clumping(value=1.0, seconds=3600.0)
    points: tuple[DemandPoint, ...] = ()
    for look in range(60):
        points = (*points, DemandPoint(at=look * EVERY_S, requests_per_s=2.0 if look < 30 else 20.0))[-13:]
        known = dispersed(known, points, WINDOW_S)
    assert known.value < 1.5


def test_nothing_is_said_of_a_pool_that_is_looked_at_for_the_first_time_or_silent() -> None:
    assert dispersed(None, (), WINDOW_S) == Clumping(value=1.0, seconds=PRIOR_S)
    silent = tuple(DemandPoint(at=look * EVERY_S, requests_per_s=0.0) for look in range(13))
    assert dispersed(None, silent, WINDOW_S) == Clumping(value=1.0, seconds=PRIOR_S)


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=60), st.floats(1, 120))
def test_whatever_is_measured_the_dispersion_stays_within_bounds(rates: list[float], window_s: float) -> None:
    known: Clumping | None = None
    points: tuple[DemandPoint, ...] = ()
    for look, rate in enumerate(rates):
        points = (*points, DemandPoint(at=look * EVERY_S, requests_per_s=rate))[-13:]
        known = dispersed(known, points, window_s)
        assert 0.0 <= known.value <= MOST and 1.0 <= in_steps(known.value) <= MOST


def test_more_clumping_and_a_blinder_router_never_need_fewer_replicas() -> None:
    promise = (Promise("timeToFirstToken", 0.99, 1.0),)

    def size(dispersion: float, efficiency: float = 1.0) -> int:
        wanted = (Demanded(Load(6.0, 4000, 500, dispersion=dispersion), promise),)
        return replicas_for(wanted, ENGINE, router=Router(efficiency), max_replicas=500).replicas

    sizes = [size(z) for z in (1.0, 2.0, 4.0, 8.0, 16.0)]
    assert sizes == sorted(sizes) and sizes[-1] > sizes[0]
    routed = [size(4.0, efficiency) for efficiency in (1.0, 0.7, 0.4, 0.0)]
    assert routed == sorted(routed) and routed[-1] > routed[0]


def test_a_pool_whose_arrivals_clump_gets_more_replicas_and_says_so() -> None:
    def planned(dispersion: float) -> tuple[int, str]:
        memory = settled(2, dispersion={"interactive": Clumping(value=dispersion, seconds=3600.0)})
        decision = plan(a_snapshot(demand=demand(6.0, input_tokens=4000), memory=memory, **running(2)))
        return decision.replicas, " ".join(decision.why)

    (calm, said), (clumped, why) = planned(1.0), planned(16.0)
    assert clumped > calm
    assert "arrivals clump: their index of dispersion is 16 (forebay_sidecar_arrivals_total)" in why and "clump" not in said


def test_a_pool_that_is_asked_rarely_is_not_sized_for_the_clumps_of_its_busy_hours() -> None:
    busy = settled(2, dispersion={"interactive": Clumping(value=16.0, seconds=3600.0, requests_per_s=6.0)})
    rarely, as_then = (plan(a_snapshot(demand=demand(rps, input_tokens=4000), memory=busy, **running(2))) for rps in (0.02, 6.0))
    assert "clump" not in " ".join(rarely.why) and "1 replicas by floor" in " ".join(rarely.why)
    assert "their index of dispersion is 16 " in " ".join(as_then.why)


def test_the_rate_at_which_clumps_were_seen_is_learned_with_them() -> None:
    found = looked_at(2.0, hours=2.0)
    assert found is not None and found.requests_per_s == pytest.approx(4.0, rel=0.15)


@given(st.floats(0, 16), st.floats(0, 1e9), st.lists(st.floats(0, 1e9), min_size=2, max_size=2))
def test_at_less_demand_there_is_never_more_of_clumps(value: float, seen_at: float, rates: list[float]) -> None:
    known = Clumping(value=value, seconds=3600.0, requests_per_s=seen_at)
    less, more = (at_rate(known, rate) for rate in sorted(rates))
    assert 1.0 <= less <= more <= in_steps(value)


def shared_out(in_flight: list[int]) -> Demand:
    mean = sum(in_flight) / len(in_flight)
    return Demand(
        measured_at=NOW,
        window_s=45,
        source="scrape",
        replicas_reporting=len(in_flight),
        in_flight_variance=sum((n - mean) ** 2 for n in in_flight) / (len(in_flight) - 1),
        classes={"interactive": ClassDemand(requests_per_s=8.0, completed_per_s=8.0, input_tokens_per_s=1600, in_flight=sum(in_flight))},
    )


def learned_router(in_flight: list[int]) -> float:
    memory = Memory()
    for _ in range(200):
        decision = plan(a_snapshot(spec=a_spec(), demand=shared_out(in_flight), memory=memory, **running(len(in_flight))))
        memory = decision.memory
    assert memory.router is not None
    return memory.router.value


def test_the_routers_efficiency_is_learned_from_how_unequal_replicas_are() -> None:
    """Several gateways that each count for themselves share out worse than one."""
    assert learned_router([10, 10, 11, 10]) > 0.95
    assert learned_router([2, 5, 10, 24]) < 0.3


def test_a_replica_that_has_just_become_ready_says_nothing_of_the_router() -> None:
    fresh = running(3)
    fresh["pods"] = (*fresh["pods"][:2], fresh["pods"][2].model_copy(update={"created_at": NOW - 60, "ready_at": NOW - 20}))
    assert plan(a_snapshot(demand=shared_out([20, 20, 0]), **fresh)).memory.router is None


@given(st.floats(0, 1e6), st.floats(0, 1e4), st.floats(0, 2))
def test_evenness_is_a_share(variance: float, mean: float, growth: float) -> None:
    assert 0.0 <= evenness(variance, mean, growth) <= 1.0


def test_an_average_of_more_samples_moves_less() -> None:
    known = Spread(value=1.0, seconds=PRIOR_S)
    values = [known.value]
    for _ in range(30):
        known = averaged(known, 5.0, 60.0, least=0.0, most=MOST)
        values.append(known.value)
    steps = [after - before for before, after in pairwise(values)]
    assert steps == sorted(steps, reverse=True) and values[-1] < 5.0


def test_a_step_after_a_quiet_while_is_seen_to_its_height_by_the_next_look() -> None:
    """6 requests/s for 15 s are 2 requests/s over a window of 45 s: 90 requests, less the deviation of so many."""
    assert stepped(points(0, 0, 0, 0, 2), WINDOW_S, 1.0) == pytest.approx((90 - 90**0.5) / 15)
    assert stepped(points(0, 0, 0, 0, 2, 4), WINDOW_S, 1.0) == pytest.approx((90 - 90**0.5) / 15)


@pytest.mark.parametrize(
    ("rates", "dispersion"),
    [
        ((4, 4, 4, 4, 4.5), 1.0),  # chance
        ((0, 0, 0, 0, 2), 8.0),  # a clump like others
        ((4, 4, 4, 4, 1), 1.0),  # a fall
        ((0, 0, 2), 1.0),  # nothing is known of a window ago
        ((), 1.0),
    ],
)
def test_what_is_no_step_is_none(rates: tuple[float, ...], dispersion: float) -> None:
    assert stepped(points(*rates), WINDOW_S, dispersion) == 0


def test_what_came_since_the_last_look_sizes_a_pool_and_is_said() -> None:
    quiet = {"interactive": points(0, 0, 0, 0)}
    earlier = tuple(p.model_copy(update={"at": p.at - EVERY_S}) for p in quiet["interactive"])
    decision = plan(a_snapshot(spec=a_spec(), demand=demand(2.0), memory=Memory(history={"interactive": earlier}), **running(1)))
    assert any("5.37 to provision for (so many since the last look)" in why for why in decision.why)

"""The adaptive limit, on a virtual clock: it follows the engine, recovers, and does not run away."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.dataplane.sidecar.config import E2E, ITL, TTFT, ClassConfig, Mode, Objective
from forebay.dataplane.sidecar.limit import Limiter

STEP_S = 0.25


def a_config(name: str = "interactive", mode: Mode = Mode.ADAPTIVE, most: int = 256, **objectives: float) -> ClassConfig:
    held = {key: Objective(0.95, target_s) for key, target_s in objectives.items()}
    return ClassConfig(name, 0, held, mode, most, 0.005, 32768, 512, 30.0)


def a_limiter(*classes: ClassConfig) -> Limiter:
    limiter = Limiter()
    limiter.configure(classes)
    return limiter


class Plant:
    """An engine with more to do than it may: as many streams as the limit allows, each step longer the more there are."""

    def __init__(self, limiter: Limiter, step_s: Callable[[int], float], *, offered: int = 10_000, name: str = "interactive") -> None:
        self.limiter = limiter
        self.step_s = step_s
        self.offered = offered
        self.name = name
        self.running = 0.0
        self.now = 1.0
        self.random = random.Random(1)

    def run(self, seconds: float, objective: str = ITL) -> list[int]:
        """Limits over time. A cut takes effect as streams end, a fifth of them in each quarter of a second."""
        limits = []
        for _ in range(int(seconds / STEP_S)):
            allowed = min(self.limiter.limit, self.offered)
            self.running = allowed if allowed > self.running else max(allowed, self.running * 0.8)
            count = int(self.running)
            began = self.now
            self.now += STEP_S
            self.limiter.holds(count)
            for _ in range(min(count, 64)):
                self.limiter.observe(self.name, objective, self.step_s(count) * self.random.uniform(0.95, 1.05), began)
            self.limiter.step(self.now, count)
            limits.append(self.limiter.limit)
        return limits


def settled(limits: Iterable[int]) -> float:
    last = list(limits)[-40:]
    return sum(last) / len(last)


def test_it_follows_an_engine_that_becomes_twice_as_slow_and_fast_again(figures: Callable[[str], None]) -> None:
    """20 ms between tokens are promised; a step takes 5 ms and 0.1 ms for each stream: about 140 streams fit, then 40 at half the speed."""
    plant = Plant(a_limiter(a_config(interTokenLatency=0.020)), lambda n: 0.005 + 0.0001 * n)
    before = settled(plant.run(90))
    plant.step_s = lambda n: 2 * (0.005 + 0.0001 * n)
    slow = settled(plant.run(90))
    plant.step_s = lambda n: 0.005 + 0.0001 * n
    again = settled(plant.run(120))
    figures(f"limit: {before:.0f} before, {slow:.0f} at half the speed, {again:.0f} again at full speed")
    assert 110 <= before <= 150
    assert 28 <= slow <= 50
    assert 110 <= again <= 150


def test_it_goes_up_to_the_batch_size_and_not_beyond_while_all_is_well() -> None:
    limits = Plant(a_limiter(a_config(most=100, interTokenLatency=1.0)), lambda n: 0.001).run(30)
    assert limits[-1] == 100 and max(limits) == 100


def test_without_an_objective_it_goes_up_to_the_batch_size() -> None:
    assert Plant(a_limiter(a_config()), lambda n: 0.001).run(30)[-1] == 256


def test_it_does_not_grow_when_nothing_is_held_back_by_it() -> None:
    limits = Plant(a_limiter(a_config(interTokenLatency=1.0)), lambda n: 0.001, offered=5).run(30)
    assert set(limits) == {16}


def test_an_objective_that_cannot_be_met_does_not_starve_the_engine() -> None:
    """At 10 ms for a lone stream nothing reaches 5 ms; falling to one stream would cost all throughput and promise nothing."""
    limits = Plant(a_limiter(a_config(interTokenLatency=0.005)), lambda n: 0.010 + 0.000001 * n).run(120)
    assert settled(limits) >= 8


def test_an_engine_that_slows_down_amid_a_cut_is_followed_all_the_same() -> None:
    """A cut after which all became worse is no proof that cutting does not help."""
    plant = Plant(a_limiter(a_config(interTokenLatency=0.020)), lambda n: 0.005 + 0.0001 * n)
    plant.run(60)
    plant.step_s = lambda n: 1.2 * (0.005 + 0.0001 * n)
    plant.run(2)
    assert plant.limiter._before is not None
    plant.step_s = lambda n: 2 * (0.005 + 0.0001 * n)
    assert max(plant.run(30)[20:]) <= 60


def test_a_cut_waits_until_the_last_one_has_taken_effect() -> None:
    limiter = a_limiter(a_config(interTokenLatency=0.020))
    plant = Plant(limiter, lambda n: 0.005 + 0.0001 * n)
    plant.run(60)
    before = limiter.limit
    for _ in range(100):
        plant.now += STEP_S
        for _ in range(50):
            limiter.observe("interactive", ITL, 1.0, plant.now)
        limiter.step(plant.now, before)
    assert limiter.limit >= before * 0.5 - 1


def test_the_strictest_objective_with_traffic_decides() -> None:
    limiter = a_limiter(a_config(interTokenLatency=0.020), a_config("batch", timeToFirstToken=100.0, endToEnd=100.0))
    plant = Plant(limiter, lambda n: 0.005 + 0.0001 * n)
    plant.run(60)
    for _ in range(40):
        plant.limiter.observe("batch", TTFT, 0.001, plant.now)
        plant.limiter.observe("batch", E2E, 0.001, plant.now)
    assert settled(plant.run(30)) < 160
    plant.name = "batch"
    assert plant.run(60, E2E)[-1] == 256


def test_an_engine_that_turns_requests_away_gets_fewer() -> None:
    limiter = a_limiter(a_config(interTokenLatency=1.0))
    plant = Plant(limiter, lambda n: 0.001)
    plant.run(30)
    for _ in range(20):
        limiter.overloaded()
        plant.run(1)
    assert limiter.limit < 100


@pytest.mark.parametrize(("mode", "limit"), [(Mode.FIXED, 32), (Mode.DISABLED, 1)])
def test_other_modes_stand_still(mode: Mode, limit: int) -> None:
    limiter = a_limiter(a_config(mode=mode, most=32, interTokenLatency=0.001))
    assert set(Plant(limiter, lambda n: 1.0).run(20)) == {limit}


def test_a_new_configuration_keeps_what_was_learned_within_its_bounds() -> None:
    limiter = a_limiter(a_config(interTokenLatency=0.020))
    Plant(limiter, lambda n: 0.005 + 0.0001 * n).run(60)
    learned = limiter.limit
    limiter.configure([a_config(interTokenLatency=0.030)])
    assert limiter.limit == learned
    limiter.configure([a_config(most=20, interTokenLatency=0.030)])
    assert limiter.limit == 20


EVENTS = st.one_of(
    st.tuples(st.just("see"), st.floats(0, 10), st.integers(1, 40)),
    st.tuples(st.just("hold"), st.integers(0, 500), st.just(0)),
    st.tuples(st.just("step"), st.floats(0, 20), st.integers(0, 500)),
    st.tuples(st.just("overload"), st.just(0), st.just(0)),
)


@given(st.lists(EVENTS, max_size=80), st.integers(1, 300))
def test_it_stays_between_one_and_the_batch_size(events: list[tuple[str, Any, int]], most: int) -> None:
    limiter = a_limiter(a_config(most=most, interTokenLatency=0.1))
    now = 0.0
    for kind, value, count in events:
        if kind == "see":
            for _ in range(count):
                limiter.observe("interactive", ITL, value, now)
        elif kind == "hold":
            limiter.holds(value)
        elif kind == "step":
            now += value
            limiter.step(now, count)
        else:
            limiter.overloaded()
        assert 1 <= limiter.limit <= most

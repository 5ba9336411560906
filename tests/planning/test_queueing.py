"""The closed forms against what they stand for: chains solved state by state, and sums over every term."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import exp, inf, lgamma, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.inference_pool import Task
from forebay.planning.capacity import tail_s
from forebay.planning.latency import miss, miss_at_most
from forebay.planning.queueing import EngineProfile, Load, Metric, occupancy, service_rate, work_of
from forebay.planning.sharing import Router
from forebay.planning.tails import count_points, gamma_points, gamma_tail, none_at_all
from forebay.planning.work import mixed

CHAT = EngineProfile(base_s=0.01, per_token_s=40e-6, per_kv_token_s=0.1e-6, max_concurrency=24)
LOAD = Load(requests_per_s=6.0, input_tokens=300.0, output_tokens=80.0, output_cv=1.0)
METRICS: tuple[Metric, ...] = ("timeToFirstToken", "interTokenLatency", "endToEnd")


def chain(engine: EngineProfile, load: Load) -> tuple[list[float], float]:
    """Stationary probabilities of the birth-death chain of one replica, 0 to n_max - 1 in flight, and of all that is above."""
    work = work_of(load, engine)

    def mu(n: int) -> float:
        return n / ((work.decodes + 1.0) * engine.base_s + n * work.total_s)

    weights = [1.0]
    for n in range(1, engine.max_concurrency + 1):
        weights.append(weights[-1] * load.requests_per_s / mu(n))
    above = weights.pop() / (1.0 - load.requests_per_s / mu(engine.max_concurrency))
    total = sum(weights) + above
    return [w / total for w in weights], above / total


@given(rate=st.floats(0.5, 7.0))
def test_a_replica_is_idle_as_often_as_its_chain_is_empty(rate: float) -> None:
    engine = replace(CHAT, max_concurrency=4096)
    load = replace(LOAD, requests_per_s=rate)
    state = occupancy(work_of(load, engine), engine, rate, 1)
    assert state is not None
    assert state.idle == pytest.approx(chain(engine, load)[0][0], rel=1e-4)


@given(rate=st.floats(3.0, 14.0))
def test_a_place_is_missing_as_often_as_the_chain_is_full(rate: float) -> None:
    load = replace(LOAD, requests_per_s=rate)
    state = occupancy(work_of(load, CHAT), CHAT, rate, 1)
    assert state is not None
    assert state.waits == pytest.approx(chain(CHAT, load)[1], rel=0.05, abs=1e-4)


def poisson_below(count: int, mean: float) -> float:
    """P(a Poisson count is at most `count`): the regularised upper incomplete gamma function Q(count + 1, mean)."""
    return sum(exp(-mean + i * log(mean) - lgamma(i + 1.0)) for i in range(count + 1))


@pytest.mark.parametrize("target_s", [0.02, 0.1, 0.5])
def test_the_tail_of_the_wait_is_the_sum_over_all_full_states(target_s: float) -> None:
    """P(W > t) = sum over i >= n_max of p_i Q(i - n_max + 1, mu t), which is a geometric sum and so an exponential."""
    load = replace(LOAD, requests_per_s=12.0)
    work = work_of(load, CHAT)
    most = service_rate(CHAT, work)
    state = occupancy(work, CHAT, 12.0, 1)
    assert state is not None
    ratio = 12.0 / most
    total = sum(state.waits * (1.0 - ratio) * ratio**beyond * poisson_below(beyond, most * target_s) for beyond in range(400))
    assert state.wait_miss(target_s) == pytest.approx(total, rel=1e-3)


def test_a_full_replica_serves_as_fast_as_its_profile_says() -> None:
    """mu(n) = n / (steps * T(n)) with T(n) = base + n (perToken c + perKvToken m), steps, c and m by hand."""
    steps, n = 80.0, CHAT.max_concurrency
    computed = (300.0 + 79.0) / steps
    context = (300.0 + sum(300.0 + j for j in range(1, 80))) / steps
    step_s = CHAT.base_s + n * (CHAT.per_token_s * computed + CHAT.per_kv_token_s * context)
    assert service_rate(CHAT, work_of(replace(LOAD, output_cv=0.0), CHAT)) == pytest.approx(n / (steps * step_s))


def test_an_idle_replica_takes_what_the_profile_adds_up_to() -> None:
    load = Load(0.0, 300.0, 80.0)
    first_s = 0.01 + 300 * (40e-6 + 0.1e-6)
    later_s = 0.01 + 40e-6 + 0.1e-6 * (300 + 40)
    assert tail_s(load, CHAT, "timeToFirstToken", 0.99, 1) == pytest.approx(first_s, rel=0.03)
    assert tail_s(load, CHAT, "interTokenLatency", 0.99, 1) == pytest.approx(later_s, rel=0.03)
    assert tail_s(load, CHAT, "endToEnd", 0.99, 1) == pytest.approx(first_s + 79 * later_s, rel=0.03)


def test_a_batch_of_inputs_takes_its_base_and_their_tokens() -> None:
    engine = EngineProfile(base_s=0.003, per_token_s=20e-6, per_kv_token_s=1.0, max_concurrency=32, task=Task.EMBEDDINGS)
    load = Load(0.0, 100.0, 0.0)
    assert tail_s(load, engine, "endToEnd", 0.95, 1) == pytest.approx(0.003 + 100 * 20e-6, rel=0.03)
    assert service_rate(engine, work_of(load, engine)) == pytest.approx(32 / (0.003 + 32 * 100 * 20e-6))


def test_replicas_that_cannot_keep_up_have_no_tail() -> None:
    work = work_of(LOAD, CHAT)
    assert occupancy(work, CHAT, service_rate(CHAT, work), 1) is None
    assert tail_s(replace(LOAD, requests_per_s=1e6), CHAT, "endToEnd", 0.5, 3) == inf


@pytest.mark.parametrize("metric", METRICS)
def test_tails_grow_with_the_rate_and_shrink_with_replicas(metric: Metric) -> None:
    by_rate = [tail_s(replace(LOAD, requests_per_s=rate), CHAT, metric, 0.95, 4) for rate in (0.1, 5.0, 20.0, 40.0, 55.0)]
    assert by_rate == sorted(by_rate)
    by_replicas = [tail_s(replace(LOAD, requests_per_s=40.0), CHAT, metric, 0.95, replicas) for replicas in (3, 4, 6, 10, 100)]
    assert by_replicas == sorted(by_replicas, reverse=True)


def test_even_sharing_shortens_the_tail() -> None:
    load = replace(LOAD, requests_per_s=40.0)
    blind, half, even = (tail_s(load, CHAT, "timeToFirstToken", 0.99, 5, router=Router(e)) for e in (0.0, 0.5, 1.0))
    assert blind > half > even


def test_a_misses_share_falls_with_its_target() -> None:
    work = work_of(LOAD, CHAT)
    state = occupancy(work, CHAT, 24.0, 4)
    assert state is not None
    for metric in METRICS:
        shares = [miss(state, work, metric, 0.005 * 1.3**i) for i in range(40)]
        assert all(0.0 <= share <= 1.0 + 1e-9 for share in shares)
        assert all(later <= earlier + 1e-9 for earlier, later in pairwise(shares))
        assert (shares[0], round(shares[-1], 6)) == (1.0, 0.0)


def test_mixed_requests_have_the_sum_of_their_work_and_the_spread_between_them() -> None:
    short, long = (work_of(Load(1.0, inputs, outputs), CHAT) for inputs, outputs in ((100.0, 10.0), (1000.0, 200.0)))
    both = mixed([(3.0, short), (1.0, long)])
    assert both.total_s == pytest.approx((3 * short.total_s + long.total_s) / 4)
    assert both.prompt_cv2 > 0.0
    assert both.steps_cv2 > 0.0
    assert mixed([(5.0, short)]) == short


@given(mean=st.floats(0.01, 60.0), dispersion=st.floats(1.0, 6.0))
def test_points_carry_all_probability_and_their_mean(mean: float, dispersion: float) -> None:
    points = count_points(mean, dispersion)
    assert sum(weight for _, weight in points) == pytest.approx(1.0)
    assert sum(value * weight for value, weight in points) == pytest.approx(mean, rel=0.05, abs=0.05)


@pytest.mark.parametrize("x", [0.5, 1.0, 3.0, 4.6])
def test_the_gamma_tail_is_exponential_where_it_should_be(x: float) -> None:
    assert gamma_tail(x, 1.0, 1.0) == pytest.approx(exp(-x), rel=0.05)


def test_a_gamma_without_spread_is_a_constant() -> None:
    assert (gamma_tail(0.99, 1.0, 0.0), gamma_tail(1.0, 1.0, 0.0)) == (1.0, 0.0)
    assert gamma_points(7.0, 0.0)[0][0] == pytest.approx(7.0)


def test_nothing_at_all_is_binomial_poisson_and_negative_binomial() -> None:
    assert none_at_all(2.0, 0.5) == pytest.approx(0.5**4)
    assert none_at_all(2.0, 1.0) == pytest.approx(exp(-2.0))
    assert none_at_all(2.0, 2.0) == pytest.approx(0.5**2)


@given(
    load=st.floats(0.02, 0.97),
    tokens=st.sampled_from([10.0, 300.0, 4000.0]),
    answer=st.sampled_from([1.0, 20.0, 400.0]),
    spread=st.sampled_from([0.0, 1.0]),
    replicas=st.sampled_from([1, 4, 40]),
    clumps=st.sampled_from([1.0, 8.0]),
    stretch=st.floats(0.5, 20.0),
    metric=st.sampled_from(METRICS),
)
def test_misses_are_no_more_than_their_bound_and_it_is_told_apart_from_nothing(
    load: float, tokens: float, answer: float, spread: float, replicas: int, clumps: float, stretch: float, metric: Metric
) -> None:
    work = work_of(Load(1.0, tokens, answer, spread, spread), CHAT)
    state = occupancy(work, CHAT, load * service_rate(CHAT, work) * replicas, replicas, dispersion=clumps)
    assert state is not None
    alone_s = CHAT.base_s + work.prompt_s + (work.decodes * (CHAT.base_s + work.decode_s) if metric == "endToEnd" else 0.0)
    found, bound = miss(state, work, metric, stretch * alone_s), miss_at_most(state, work, metric, stretch * alone_s)
    assert found <= bound * 1.01 + 1e-9
    assert bound <= 1.0 + 1e-9

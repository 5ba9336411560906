"""Batches of embeddings on the virtual clock, as the sidecar forms them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.batch_class import Batching
from forebay.api.inference_pool import Task
from forebay.planning.work import EngineProfile
from forebay.simulation.batches import BATCHES_OUT, BatchingReplica
from forebay.simulation.fleet import Fleet
from forebay.simulation.laws.static import Static
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup

PROFILE = EngineProfile(0.01, 0.001, 0.0, 1, Task.EMBEDDINGS)


def batching(mode: str = "Fixed", size: int = 4, window: str = "20ms", tokens: int = 1000) -> Batching:
    return Batching.model_validate({"mode": mode, "maxBatchSize": size, "window": window, "maxBatchTokens": tokens})


def ends(arrivals: list[tuple[float, int]], config: Batching, batch_class: str = "default") -> list[tuple[float, float]]:
    """Times of arrival and of the end, in order of the arrivals."""

    def made(*args: object) -> BatchingReplica:
        return BatchingReplica(*args, batching={"default": config})

    fleet = Fleet({"": PROFILE}, lambda _: 0.0, {"": 1}, made)
    requests = [Request(at, tokens, 1, batch_class) for at, tokens in arrivals]
    Run(Setup(PROFILE, 0.0, 1, 1, 1), Static(1), fleet).through(requests)
    return [(r.arrived, round(r.finished, 6)) for r in requests]


def test_a_lone_request_waits_for_the_window() -> None:
    assert ends([(1.0, 10)], batching()) == [(1.0, 1.04)]
    assert ends([(1.0, 10)], batching("Disabled")) == [(1.0, 1.02)]


def test_a_full_batch_goes_at_once_padded_to_its_longest() -> None:
    assert ends([(1.0, 10), (1.0, 10), (1.0, 10), (1.001, 20)], batching()) == [*[(1.0, 1.091)] * 3, (1.001, 1.091)]


def test_one_is_computed_while_the_next_is_on_its_way_and_the_third_waits() -> None:
    """Windows of nothing: the first goes alone, the second too, and all who come while two are out share the third."""
    found = ends([(1.0, 10), (1.001, 10), (1.002, 10), (1.003, 10)], batching(window="0s"))
    assert BATCHES_OUT == 2
    assert [end for _, end in found] == [1.02, 1.04, 1.07, 1.07]


def test_a_batch_stays_within_its_tokens_and_one_input_goes_however_long_it_is() -> None:
    """And who is too long for this batch keeps nobody behind it from it."""
    found = ends([(1.0, 30), (1.0, 200), (1.0, 30)], batching(size=3, tokens=60))
    assert [end for _, end in found] == [1.07, 1.28, 1.07]


def test_adaptive_does_not_wait_where_nobody_is_expected() -> None:
    assert ends([(1.0, 10), (9.0, 10)], batching("Adaptive")) == [(1.0, 1.02), (9.0, 9.02)]


def test_a_class_that_is_not_known_is_sent_alone() -> None:
    assert ends([(1.0, 10), (1.0, 10)], batching(), "other") == [(1.0, 1.02), (1.0, 1.04)]


@given(
    st.lists(st.tuples(st.floats(0, 0.3), st.integers(1, 60)), min_size=1, max_size=60),
    st.integers(1, 8),
    st.sampled_from(("Fixed", "Adaptive")),
)
def test_every_request_is_answered_in_order_and_none_before_its_own_time(arrivals: list[tuple[float, int]], size: int, mode: str) -> None:
    found = ends(sorted(arrivals), batching(mode, size))
    assert [end for _, end in found] == sorted(end for _, end in found)
    for (at, end), (_, tokens) in zip(found, sorted(arrivals), strict=True):
        assert end - at >= 0.01 + 0.001 * tokens - 1e-6


def test_what_is_lost_with_a_server_is_all_it_had() -> None:
    replica = BatchingReplica(1, PROFILE, 0.0, 0.0, batching={"default": batching(size=1)})
    requests = [Request(0.0, 5, 1) for _ in range(5)]
    for request in requests:
        replica.take(request, 0.0)
    assert replica.in_flight == 5 and replica.waiting == 3 and len(replica.those_running()) == 2
    lost = replica.lose_all()
    assert all(any(one is other for other in lost) for one in requests) and len(lost) == 5
    assert replica.in_flight == 0 and replica.prompt_tokens == 0 and replica.next_at == pytest.approx(float("inf"))

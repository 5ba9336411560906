"""A server whose steps are summed up by formula answers when one does whose steps are made one by one."""

from __future__ import annotations

from collections import deque
from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.planning.work import EngineProfile
from forebay.simulation.queues import Rule
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request


def step_by_step(profile: EngineProfile, requests: list[Request]) -> list[tuple[float, float]]:
    """First token and end of every request."""
    due, waiting, decoding = deque(range(len(requests))), deque[int](), dict[int, int]()
    seen = [(nan, nan)] * len(requests)
    now = 0.0
    while due or waiting or decoding:
        if not waiting and not decoding:
            now = max(now, requests[due[0]].arrived)
        while due and requests[due[0]].arrived <= now:
            waiting.append(due.popleft())
        taken = [waiting.popleft() for _ in range(min(len(waiting), profile.max_concurrency - len(decoding)))]
        prompts = sum(requests[i].input_tokens for i in taken)
        context = sum(requests[i].input_tokens + made for i, made in decoding.items())
        now += profile.base_s + profile.per_token_s * (prompts + len(decoding)) + profile.per_kv_token_s * (prompts + context)
        for i in decoding:
            decoding[i] += 1
        for i in taken:
            decoding[i] = 1
            seen[i] = (now, nan)
        for i in [i for i, made in decoding.items() if made >= requests[i].output_tokens]:
            seen[i] = (seen[i][0], now)
            del decoding[i]
    return seen


def by_events(profile: EngineProfile, requests: list[Request]) -> list[tuple[float, float]]:
    replica = Replica(1, profile, 0.0, 0.0)
    for request in requests:
        while replica.next_at < request.arrived:
            replica.advance(replica.next_at)
        replica.take(request, request.arrived)
    while replica.next_at < inf:
        replica.advance(replica.next_at)
    assert replica.in_flight == 0 and replica.context_tokens == 0 and replica.prompt_tokens == 0
    return [(r.first_token, r.finished) for r in requests]


@st.composite
def workloads(draw: st.DrawFn) -> list[Request]:
    at, requests = 0.0, []
    for _ in range(draw(st.integers(1, 30))):
        at += draw(st.floats(0.0001, 3.0, allow_nan=False)) * draw(st.sampled_from((0.01, 0.1, 1.0)))
        requests.append(Request(at, draw(st.integers(1, 3000)), draw(st.integers(1, 60))))
    return requests


@given(
    workloads(),
    st.builds(EngineProfile, st.just(0.01137), st.sampled_from((0.0, 0.00007)), st.sampled_from((0.0, 3.1e-7)), st.integers(1, 8)),
)
@settings(max_examples=150, deadline=None)
def test_summing_steps_up_changes_nothing(requests: list[Request], profile: EngineProfile) -> None:
    expected = step_by_step(profile, requests)
    for (first, end), (first_expected, end_expected) in zip(by_events(profile, requests), expected, strict=True):
        assert first == pytest.approx(first_expected, rel=1e-9, abs=1e-7)
        assert end == pytest.approx(end_expected, rel=1e-9, abs=1e-7)


def test_who_waits_too_long_leaves_unserved() -> None:
    replica = Replica(1, EngineProfile(0.1, 0.0, 0.0, 1), 0.0, 0.0)
    first, second, third = (Request(at, 10, 100, gives_up_at=at + 9.5) for at in (0.0, 1.0, 2.0))
    for request in (first, second, third):
        replica.take(request, request.arrived)
    assert replica.in_flight == 3 and replica.waiting == 2
    while second.first_token != second.first_token:
        replica.advance(replica.next_at)
    assert first.finished == pytest.approx(10.0) and second.first_token == pytest.approx(10.1) and not replica.refused
    while not replica.refused:
        replica.advance(replica.next_at)
    assert replica.refused == [third] and replica.lose_all() == [] and replica.next_at == inf


def test_who_is_lost_with_a_server_is_named() -> None:
    replica = Replica(1, EngineProfile(0.1, 0.0, 0.0, 1), 0.0, 0.0)
    requests = [Request(at, 10, 100) for at in (0.0, 1.0, 2.0)]
    for request in requests:
        replica.take(request, request.arrived)
    assert {id(r) for r in replica.lose_all()} == {id(r) for r in requests} and replica.next_at == inf


def test_a_higher_priority_is_served_first_and_inside_a_class_whoever_came_first() -> None:
    rules = {"now": Rule(priority=10), "later": Rule(priority=-5)}
    replica = Replica(1, EngineProfile(0.1, 0.0, 0.0, 1), 0.0, 0.0, rules=rules)
    names = ["later", "later", "unnamed", "now", "now"]
    requests = [Request(0.01 * i, 10, 2, name) for i, name in enumerate(names)]
    for request in requests:
        replica.take(request, request.arrived)
    while replica.next_at < inf:
        replica.advance(replica.next_at)
    # The first had a place already; nobody is thrown out of one.
    assert [r.arrived for r in sorted(requests, key=lambda r: r.first_token)] == [0.0, 0.03, 0.04, 0.02, 0.01]


@pytest.mark.parametrize("depth", [0, 3])
def test_a_full_line_turns_away_its_own_class_alone(depth: int) -> None:
    rules = {"short": Rule(priority=1, max_depth=depth)}
    replica = Replica(1, EngineProfile(0.1, 0.0, 0.0, 2), 0.0, 0.0, rules=rules)
    for i in range(10):
        replica.take(Request(0.001 * i, 10, 5, "short"), 0.001 * i)
    assert len(replica.refused) == 8 - depth and replica.in_flight == 2 + depth
    for i in range(10):
        replica.take(Request(0.01 + 0.001 * i, 10, 5, "long"), 0.01 + 0.001 * i)
    assert len(replica.refused) == 8 - depth and replica.in_flight == 12 + depth

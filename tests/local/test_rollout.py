"""The decisions of a Deployment: bounds that always hold, and that it gets there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.local.builders import Object, a_pod

from forebay.local.rollout import COST, HASH_LABEL, Bounds, bounds_of, is_ready, recreate, rolling_update, victims_first

pod_lists = st.lists(st.tuples(st.sampled_from(["old", "new"]), st.booleans()), max_size=8)
shapes = st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 3)).filter(lambda shape: shape[1] or shape[2])


def pods_of(kinds: list[tuple[str, bool]]) -> list[Object]:
    return [a_pod(f"p{number}", labels={HASH_LABEL: kind}, ready=ready) for number, (kind, ready) in enumerate(kinds)]


def ready(pods: list[Object]) -> int:
    return sum(map(is_ready, pods))


@given(pod_lists, shapes)
def test_bounds_always_hold(kinds: list[tuple[str, bool]], shape: tuple[int, int, int]) -> None:
    desired, surge, unavailable = shape
    pods = pods_of(kinds)
    moves = rolling_update(desired, Bounds(surge, unavailable), "new", pods)
    kept = [pod for pod in pods if pod["metadata"]["name"] not in moves.delete]
    assert ready(kept) >= min(ready(pods), desired - unavailable)
    assert len(pods) + moves.create <= max(len(pods), desired + surge)


@given(pod_lists, shapes)
def test_it_arrives_when_new_pods_become_ready(kinds: list[tuple[str, bool]], shape: tuple[int, int, int]) -> None:
    desired, surge, unavailable = shape
    pods = pods_of(kinds)
    for step in range(40):
        moves = rolling_update(desired, Bounds(surge, unavailable), "new", pods)
        pods = [pod for pod in pods if pod["metadata"]["name"] not in moves.delete]
        pods = [a_pod(pod["metadata"]["name"], labels=pod["metadata"]["labels"], ready=True) for pod in pods]
        pods += [a_pod(f"made{step}-{number}", labels={HASH_LABEL: "new"}) for number in range(moves.create)]
    assert [pod["metadata"]["labels"][HASH_LABEL] for pod in pods] == ["new"] * desired


def test_scale_down_order() -> None:
    """Not on a node, not ready, cheapest, youngest."""

    def one(name: str, *, node: str = "n", is_up: bool = True, cost: int = 0, created: str = "2026-01-01T00:00:00Z") -> Any:
        return a_pod(name, spec={"nodeName": node}, ready=is_up, annotations={COST: str(cost)}, creationTimestamp=created)

    pods = [
        one("dear", cost=5),
        one("old"),
        one("young", created="2026-01-02T00:00:00Z"),
        one("cheap", cost=-5),
        one("unready", is_up=False, cost=9),
        one("unbound", node="", is_up=False),
    ]
    assert [pod["metadata"]["name"] for pod in victims_first(pods)] == ["unbound", "unready", "cheap", "young", "old", "dear"]


def test_pods_that_ended_are_replaced_and_those_that_end_do_not_count() -> None:
    failed = a_pod("failed", labels={HASH_LABEL: "new"})
    failed["status"] = {"phase": "Failed"}
    ending = a_pod("ending", labels={HASH_LABEL: "new"}, deletionTimestamp="2026-01-01T00:00:00Z")
    moves = rolling_update(2, Bounds(1, 0), "new", [failed, ending])
    assert (moves.create, moves.delete) == (2, ("failed",))


def test_recreate_waits_for_the_last_old_pod() -> None:
    ending = a_pod("b", labels={HASH_LABEL: "old"}, deletionTimestamp="2026-01-01T00:00:00Z")
    assert recreate(2, "new", [a_pod("a", labels={HASH_LABEL: "old"}), ending]).delete == ("a",)
    assert recreate(2, "new", [ending]).create == 0
    assert recreate(2, "new", []).create == 2


def test_bounds_from_a_spec() -> None:
    assert bounds_of({}, 10) == Bounds(3, 2)
    assert bounds_of({}, 1) == Bounds(1, 0)
    assert bounds_of({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}}, 3) == Bounds(0, 1)

"""Which mixes are looked at: all that could be cheaper, within a time that does not grow with the number of kinds."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planning.builders import NODE_CLASS, NOW, a_deployment, a_pod, a_profile, a_snapshot, a_spec, demand
from tests.planning.builders import settled as watched

from forebay.planning.candidates import MOST_STEPS, Bounds, candidates
from forebay.planning.planner import plan
from forebay.planning.prices import PriceList
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType
from forebay.planning.variants import preferred_profile

prices = st.tuples(*[st.sampled_from([1.0, 2.0, 3.5, 8.0])] * 3)
counts = st.tuples(*[st.integers(0, 2)] * 3)


@settings(max_examples=60, deadline=None)
@given(
    each=prices, rps=prices, least=counts, more=st.tuples(*[st.integers(0, 5)] * 3), rate=st.floats(0.0, 30.0), dearest=st.floats(1.0, 60.0)
)
def test_no_mix_that_could_be_cheaper_is_passed_over(
    each: tuple[float, ...], rps: tuple[float, ...], least: tuple[int, ...], more: tuple[int, ...], rate: float, dearest: float
) -> None:
    bounds = Bounds(least, tuple(a + b for a, b in zip(least, more, strict=True)), 1, 12)

    def sums(of: tuple[float, ...], mix: tuple[int, ...]) -> float:
        return sum(n * x for n, x in zip(mix, of, strict=True))

    every = product(*(range(low, high + 1) for low, high in zip(bounds.least, bounds.most, strict=True)))
    wanted = {c for c in every if 1 <= sum(c) <= 12 and sums(rps, c) >= rate + 1e-6 and sums(each, c) <= dearest}
    assert wanted <= set(candidates(bounds, each, rps, rate, dearest))


def test_looking_for_mixes_of_many_kinds_ends() -> None:
    """A hundred replicas of eight kinds: there are 10¹⁰ ways to begin, and the last replica is too dear in each."""
    bounds = Bounds((0,) * 8, (100,) * 8, 1, 100)
    assert list(candidates(bounds, (1.0,) * 8, (1.0,) * 8, 90.5, 90.4)) == []
    alike = candidates(bounds, (1.0,) * 8, (1.0,) * 8, 50.0, 100.0)
    assert 1000 < sum(1 for _ in alike) <= MOST_STEPS


def spotted(kinds: int, spot: tuple[float, ...], **fields: Any) -> dict[str, Any]:
    names = [f"gpu-{i}" for i in range(kinds)]
    listed = [{"name": n, "gpusPerNode": 8, "usdPerHour": {"onDemand": 55 + i, "spot": spot[i]}} for i, n in enumerate(names)]
    capacity = {"accelerators": listed, "spot": {"enabled": True, "maxShare": 0.8}, **fields}
    return {"spec": a_spec(profiles=[a_profile(n) for n in names], scaling={"minReplicas": 1, "maxReplicas": 400}, capacity=capacity)}


def test_many_accelerators_keep_no_decision_from_being_made() -> None:
    """Eight kinds, spot, whole nodes, 150 requests/s: the search went through every way to begin a mix, and the operator stood still."""
    nodes = {"backend": "Karpenter", "nodeClassRef": NODE_CLASS}
    kinds: tuple[CapacityType, ...] = (ON_DEMAND, SPOT)
    there = [(f"gpu-{i % 8}", kinds[i % 2], i) for i in range(160)]
    pods = tuple(a_pod(f"p-{i}", ct, accelerator, node=f"n-{i // 8}", created_at=NOW - 7200) for accelerator, ct, i in there)
    running = tuple(a_deployment(20, ct, f"gpu-{i}", ready=20) for i in range(8) for ct in kinds if i % 2 == kinds.index(ct))
    snapshot = a_snapshot(
        pods=pods,
        deployments=running,
        memory=watched(160),
        demand=demand(150),
        **spotted(8, tuple(20.0 + i for i in range(8)), nodes=nodes),
    )
    assert plan(snapshot).replicas > 0


@pytest.mark.parametrize("spot", [(20.0, 20.0, 20.0), (20.0, 70.0, 5.0), (90.0, 90.0, 90.0)], ids=["cheaper", "one dearer", "dearer"])
@pytest.mark.parametrize("base", [0, 3])
def test_no_mix_is_cheaper_than_what_its_replicas_cost_at_least(spot: tuple[float, ...], base: int) -> None:
    snapshot = a_snapshot(**spotted(3, spot, onDemand={"baseReplicas": base}))
    listed = PriceList(snapshot, tuple(preferred_profile(snapshot.spec)))
    for mix in product(range(8), range(8), range(8)):
        assert sum(n * each for n, each in zip(mix, listed.each, strict=True)) <= listed.of(mix) + 1e-6

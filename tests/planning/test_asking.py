"""What a pool asks of the limits that it shares."""

from __future__ import annotations

import pytest
from tests.planning.builders import a_snapshot, a_spec, demand, on_karpenter, running, settled

from forebay.planning.planner import plan
from forebay.planning.shares import Ask
from forebay.planning.snapshot import Share
from forebay.planning.variants import preferred_profile, profile_key


def asked(rps: float = 30.0, finishes: float = 1.0) -> Ask:
    """By a pool of four replicas; saturated ones were seen to finish this share of what their profile says."""
    start = a_snapshot()
    shares = {profile_key(choice): finishes for choice in preferred_profile(start.spec)}
    snapshot = a_snapshot(
        **running(4), memory=settled(4, throughput_shares=shares), demand=demand(rps=rps), shares=(Share(limit="team", gpus=64),)
    )
    found = plan(snapshot).ask
    assert found is not None
    return found


def test_a_pool_asks_for_all_that_it_wants_and_says_what_each_part_is_worth() -> None:
    ask = asked()
    assert [step.replicas for step in ask.steps] == list(range(ask.wanted.replicas + 1)) and ask.wanted.replicas > 1
    worths = [step.worth_usd_per_hour for step in ask.steps]
    assert worths[0] == 0.0 and worths == sorted(worths)
    assert worths[-1] == pytest.approx(30.0 * 3600 / 1000), "every request in time, at a dollar for a thousand"


def test_replicas_are_worth_what_saturated_ones_finish() -> None:
    """One that finishes half of what its profile says keeps half as much in time, and twice as many are asked for."""
    fast, slow = asked(), asked(finishes=0.5)
    assert slow.wanted.replicas > fast.wanted.replicas
    count = fast.wanted.replicas
    assert slow.steps[count].worth_usd_per_hour < 0.75 * fast.steps[count].worth_usd_per_hour


def test_what_is_not_asked_of_anybody_is_worth_nothing() -> None:
    assert {step.worth_usd_per_hour for step in asked(rps=0.0).steps} == {0.0}


@pytest.mark.parametrize(("own", "told"), [(64, "within gpus 16, as much as others leave of shared limit team"), (8, "within gpus 8")])
def test_a_limit_that_is_in_no_file_is_said_to_be_what_others_leave(own: int, told: str) -> None:
    """`forebay explain` said "within gpus 16", which is in no file."""
    spec = a_spec(capacity=on_karpenter(limits={"gpus": own}))
    snapshot = a_snapshot(spec=spec, **running(1), memory=settled(1), demand=demand(rps=1), shares=(Share(limit="team", gpus=16),))
    assert f"WithinLimits: {told}" in plan(snapshot).why

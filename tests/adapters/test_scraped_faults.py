"""What may go wrong between a sidecar's counters and a replica count: each test is named after the fault."""

from __future__ import annotations

import pytest
from tests.adapters.measured_fleet import Fleet, fleet_of
from tests.planning.builders import said, verdict

SEVEN_RPS = 40.0
"""What seven replicas are for."""
WINDOW_LOOKS = 30
"""By then less has been enough for a whole window."""


@pytest.mark.parametrize("by_s", [-3600.0, -60.0, -59.9, -30.0, -3.0, 3.0, 40.0, 3600.0])
def test_clock_step(by_s: float) -> None:
    """Rates over what the clock jumped by would be negative, endless or next to nothing, and the pool sized for them."""

    async def test(fleet: Fleet) -> None:
        await fleet.look(10)
        fleet.now += by_s
        for _ in range(80):
            decision = await fleet.look()
            assert fleet.demand is not None and fleet.demand.classes["interactive"].requests_per_s == pytest.approx(SEVEN_RPS)
            assert said(decision, "MetricsFresh") == ("True", "Fresh")
        assert set(fleet.counts) == {7}

    fleet_of(7, SEVEN_RPS, test)


def test_clock_step_back_while_nobody_answers() -> None:
    """An answer that seems to be of the future is of before the step: how old it is nobody knows."""

    async def test(fleet: Fleet) -> None:
        await fleet.look(10)
        for replica in fleet.replicas:
            replica.said = lambda _: "<html>"
        fleet.now -= 3600
        decision = await fleet.look(WINDOW_LOOKS)
        assert set(fleet.counts) == {7} and said(decision, "MetricsFresh") == ("False", "Stale")
        assert "s from now, before the clock was set back" in verdict(decision, "MetricsFresh").message

    fleet_of(7, SEVEN_RPS, test)

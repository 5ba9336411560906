"""What may go wrong between a sidecar's counters and a replica count: each test is named after the fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.adapters.measured_fleet import EXPOSITION, Fleet, fleet_of
from tests.planning.builders import said, verdict

SEVEN_RPS = 40.0
"""What seven replicas are for."""
CLOSED = 1
"""A port that nobody listens on."""
WINDOW_LOOKS = 8
"""By then less has been enough for a whole window."""
SERIES = [line.rpartition(" ")[0].replace("{{", "{").replace("}}", "}") for line in EXPOSITION.splitlines()]
COUNTED = [series for series in SERIES if "config_info" not in series]


def without(series: str) -> Callable[[str], str]:
    """What a sidecar says that has lost one of its series."""
    return lambda text: "".join(f"{line}\n" for line in text.splitlines() if not line.startswith(series))


def instead(series: str, value: str) -> Callable[[str], str]:
    """What a sidecar says of which one series has a value that is wrong."""
    return lambda text: f"{without(series)(text)}{series} {value}\n"


@pytest.mark.parametrize("by_s", [-3600.0, -60.0, -59.9, -30.0, -3.0, 3.0, 40.0, 3600.0])
def test_clock_step(by_s: float) -> None:
    """Rates over what the clock jumped by would be negative, endless or next to nothing, and the pool sized for them."""

    async def test(fleet: Fleet) -> None:
        await fleet.look(5)
        fleet.now += by_s
        for _ in range(12):
            decision = await fleet.look()
            assert fleet.demand is not None and fleet.demand.classes["interactive"].requests_per_s == pytest.approx(SEVEN_RPS)
            assert said(decision, "MetricsFresh") == ("True", "Fresh")
        assert set(fleet.counts) == {7}

    fleet_of(7, SEVEN_RPS, test)


def test_clock_step_back_while_nobody_answers() -> None:
    """An answer that seems to be of the future is of before the step: how old it is nobody knows."""

    async def test(fleet: Fleet) -> None:
        await fleet.look(5)
        for replica in fleet.replicas:
            replica.said = lambda _: "<html>"
        fleet.now -= 3600
        decision = await fleet.look(WINDOW_LOOKS)
        assert set(fleet.counts) == {7} and said(decision, "MetricsFresh") == ("False", "Stale")
        assert "s from now, before the clock was set back" in verdict(decision, "MetricsFresh").message

    fleet_of(7, SEVEN_RPS, test)


@pytest.mark.parametrize("wrong", [1, 7], ids=["one replica", "all replicas"])
@pytest.mark.parametrize("series", COUNTED)
def test_nan_negative_and_absurd_values(series: str, wrong: int) -> None:
    """What such a replica does is not known: nothing shrinks for it, nothing grows, and not when it comes back either."""

    async def test(fleet: Fleet) -> None:
        await fleet.look(5)
        for value in ("NaN", "-5", "1e30", "+Inf"):
            for replica in fleet.replicas[:wrong]:
                replica.said = instead(series, value)
            told = verdict(await fleet.look(WINDOW_LOOKS), "MetricsFresh")
            assert (told.status, told.reason) == (("False", "Stale") if wrong == 7 else ("True", "Fresh"))
            assert f"for {series.partition('{')[0]} of class interactive is {float(value):g}" in told.message
            for replica in fleet.replicas:
                replica.said = lambda text: text
            decision = await fleet.look(WINDOW_LOOKS)
            assert verdict(decision, "MetricsFresh").message == "7 replicas measured by scrape"
            assert set(fleet.counts) == {7}, value

    fleet_of(7, SEVEN_RPS, test)


@pytest.mark.parametrize("series", SERIES)
def test_one_metric_missing(series: str) -> None:
    async def test(fleet: Fleet) -> None:
        await fleet.look(5)
        for replica in fleet.replicas:
            replica.said = without(series)
        decision = await fleet.look(WINDOW_LOOKS)
        if "arrivals" in series:
            assert said(decision, "MetricsFresh") == ("False", "Stale")
            assert "forebay_sidecar_arrivals_total of class interactive is missing" in verdict(decision, "MetricsFresh").message
        else:
            assert said(decision, "MetricsFresh") == ("True", "Fresh")
        assert set(fleet.counts) == {7}

    fleet_of(7, SEVEN_RPS, test)


@pytest.mark.parametrize("text", ["", "something_else 7\n"])
def test_all_metrics_missing(text: str) -> None:
    """Who answers with nothing does not say that there is no load."""

    async def test(fleet: Fleet) -> None:
        for replica in fleet.replicas:
            replica.said = lambda _: text
        decision = await fleet.look()
        assert "nothing could be measured yet, for forebay_sidecar_arrivals_total is missing" in verdict(decision, "MetricsFresh").message
        for replica in fleet.replicas:
            replica.said = lambda text: text
        await fleet.look(5)
        for replica in fleet.replicas:
            replica.said = lambda _: text
        decision = await fleet.look(WINDOW_LOOKS)
        assert said(decision, "MetricsFresh") == ("False", "Stale") and decision.replicas == 7

    fleet_of(7, SEVEN_RPS, test)


def test_sidecars_that_nobody_can_reach() -> None:
    """A network policy in the way of their port: that nothing is measured for it is said, and not that it will be."""

    async def test(fleet: Fleet) -> None:
        for replica in fleet.replicas:
            replica.port = CLOSED
        told = verdict(await fleet.look(WINDOW_LOOKS), "MetricsFresh")
        assert (told.status, told.reason) == ("False", "Stale") and set(fleet.counts) == {7}
        nobody = f"the metrics of {fleet.replicas[0].name} (and of 6 more) cannot be read: no connection to 127.0.0.1:{CLOSED}"
        assert f"nothing could be measured yet, for {nobody}" in told.message

    fleet_of(7, SEVEN_RPS, test)


def test_half_of_the_sidecars_that_nobody_can_reach() -> None:
    """Half of the load is seen: that it is not all of it stands where people look, and nothing shrinks."""

    async def test(fleet: Fleet) -> None:
        await fleet.look(5)
        for replica in fleet.replicas[4:]:
            replica.port = CLOSED
        told = verdict(await fleet.look(2 * WINDOW_LOOKS), "MetricsFresh")
        assert told.message.startswith("4 of 7 replicas measured by scrape: what the others are asked for is not known")
        assert f"; left out, for the metrics of {fleet.replicas[4].name} (and of 2 more) cannot be read" in told.message
        assert set(fleet.counts) == {7}

    fleet_of(7, SEVEN_RPS, test)


def test_a_replica_that_was_silent_for_long_has_not_done_it_all_at_once() -> None:
    async def test(fleet: Fleet) -> None:
        await fleet.look(5)
        fleet.replicas[0].said = lambda _: "<html>"
        await fleet.look(20)
        fleet.replicas[0].said = lambda text: text
        await fleet.look(5)
        assert set(fleet.counts) == {7}

    fleet_of(7, SEVEN_RPS, test)


@pytest.mark.parametrize("how_many", [1, 7])
def test_counter_reset(how_many: int) -> None:
    """Sidecars that start again count from zero: what they count since then was asked, and no less than before was."""

    async def test(fleet: Fleet) -> None:
        await fleet.look(5)
        for look in range(3 * WINDOW_LOOKS):
            for replica in fleet.replicas[: how_many if look % 3 == 0 else 0]:
                replica.served = 0.0
            decision = await fleet.look()
            assert fleet.demand is not None and fleet.demand.classes["interactive"].requests_per_s == pytest.approx(SEVEN_RPS)
        assert set(fleet.counts) == {7} and said(decision, "MetricsFresh") == ("True", "Fresh")

    fleet_of(7, SEVEN_RPS, test)

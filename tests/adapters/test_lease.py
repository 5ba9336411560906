"""Leader election: one at a time, whatever happens to the holder, its requests or its clock."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adapters.contract_objects import Check

from forebay.adapters.clock import ManualClock, settle
from forebay.adapters.cluster import LEASES, Cluster, Object, Unavailable
from forebay.adapters.lease import LeaderLease, LeaseLost
from forebay.adapters.memory import MemoryCluster


class Line:
    """A candidate's own way to the cluster, which can hang or fail."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster
        self.state = "up"

    def __getattr__(self, verb: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.state == "hangs":
                await asyncio.Event().wait()
            if self.state == "down":
                raise Unavailable("connection refused")
            return await getattr(self._cluster, verb)(*args, **kwargs)

        return call


class Candidate:
    """A replica that waits for the lease, leads, and notes when it begins and ends."""

    def __init__(self, cluster: MemoryCluster, clock: ManualClock, name: str) -> None:
        self.name, self.clock, self.line = name, clock, Line(cluster)
        self.leads, self.outcome = False, ""
        self.stop, self.done = asyncio.Event(), asyncio.Event()
        self.spans: list[list[float]] = []
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        lease = LeaderLease(self.line, "ns", "operator", self.name, duration_s=15, clock=self.clock)
        try:
            async with lease.held(self.stop) as leading:
                if not leading:
                    self.outcome = "stopped"
                    return
                self.leads = True
                self.spans.append([self.clock.monotonic(), float("inf")])
                try:
                    await self.done.wait()
                finally:
                    self.leads = False
                    self.spans[-1][1] = self.clock.monotonic()
            self.outcome = "finished"
        except LeaseLost:
            self.outcome = "lost"

    async def end(self) -> None:
        """Ends the candidate; its line must not hang, for then only the clock would end its last request."""
        if self.line.state == "hangs":
            self.line.state = "down"
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def lease_of(cluster: Cluster) -> Object:
    obj = await cluster.get(LEASES, "ns", "operator")
    assert obj is not None
    return dict(obj["spec"])


def play(script: Callable[[MemoryCluster, ManualClock, Candidate, Candidate], Any]) -> None:
    """Two candidates, the first of which leads."""

    async def run() -> None:
        clock = ManualClock(now=1_700_000_000.25)
        cluster = MemoryCluster(clock)
        first = Candidate(cluster, clock, "first")
        await settle()
        second = Candidate(cluster, clock, "second")
        await settle()
        try:
            assert first.leads and not second.leads
            await script(cluster, clock, first, second)
        finally:
            for candidate in (first, second):
                await candidate.end()

    asyncio.run(run())


def test_the_second_waits_as_long_as_the_first_renews() -> None:
    async def script(cluster: MemoryCluster, clock: ManualClock, first: Candidate, second: Candidate) -> None:
        before = await lease_of(cluster)
        assert before["renewTime"] == "2023-11-14T22:13:20.250000Z"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", before["acquireTime"])
        await clock.advance(300)
        after = await lease_of(cluster)
        assert first.leads and not second.leads
        assert (after["holderIdentity"], after["leaseTransitions"], after["leaseDurationSeconds"]) == ("first", 0, 15)
        assert after["acquireTime"] == before["acquireTime"] and after["renewTime"] > before["renewTime"]

    play(script)


def test_a_clean_end_hands_over_at_once() -> None:
    async def script(cluster: MemoryCluster, clock: ManualClock, first: Candidate, second: Candidate) -> None:
        first.done.set()
        await settle()
        assert first.outcome == "finished"
        assert "holderIdentity" not in await lease_of(cluster)
        await clock.advance(3)
        assert second.leads
        assert (await lease_of(cluster))["leaseTransitions"] == 1

    play(script)


@pytest.mark.parametrize("trouble", ["hangs", "down"])
def test_a_holder_that_cannot_renew_stops_before_another_begins(trouble: str) -> None:
    async def script(cluster: MemoryCluster, clock: ManualClock, first: Candidate, second: Candidate) -> None:
        first.line.state = trouble
        await clock.advance(9.9)
        assert first.leads
        await clock.advance(0.2)
        assert first.outcome == "lost" and not second.leads
        await clock.advance(20)
        assert second.leads
        assert second.spans[0][0] - first.spans[0][1] >= 5

    play(script)


def test_a_short_outage_costs_nothing() -> None:
    async def script(cluster: MemoryCluster, clock: ManualClock, first: Candidate, second: Candidate) -> None:
        for trouble in ("hangs", "down"):
            first.line.state = second.line.state = trouble
            await clock.advance(6)
            first.line.state = second.line.state = "up"
            await clock.advance(20)
            assert first.leads and not second.leads

    play(script)


def test_a_holder_that_stood_still_finds_the_lease_taken() -> None:
    """SIGSTOP for a minute, or a sleeping laptop: time passes for one only."""

    async def script(cluster: MemoryCluster, clock: ManualClock, first: Candidate, second: Candidate) -> None:
        spec = await lease_of(cluster)
        await cluster.patch(LEASES, "ns", "operator", {"spec": {**spec, "holderIdentity": "second", "leaseTransitions": 1}})
        await clock.advance(3)
        assert first.outcome == "lost"

    play(script)


def test_a_holder_that_woke_too_late_does_not_even_ask() -> None:
    async def run() -> None:
        clock = ManualClock()
        cluster = MemoryCluster(clock)
        first = Candidate(cluster, clock, "first")
        await settle()
        renewed = (await lease_of(cluster))["renewTime"]
        clock.jump(60)
        await clock.advance(0)
        assert first.outcome == "lost"
        assert (await lease_of(cluster))["renewTime"] == renewed
        await first.end()

    asyncio.run(run())


def test_a_lease_that_was_deleted_is_made_again() -> None:
    async def script(cluster: MemoryCluster, clock: ManualClock, first: Candidate, second: Candidate) -> None:
        await cluster.delete(LEASES, "ns", "operator")
        await clock.advance(60)
        assert first.leads + second.leads == 1

    play(script)


def test_who_is_stopped_while_waiting_does_not_lead() -> None:
    async def script(cluster: MemoryCluster, clock: ManualClock, first: Candidate, second: Candidate) -> None:
        second.stop.set()
        await settle()
        assert second.outcome == "stopped"
        assert first.leads

    play(script)


def test_a_cancelled_holder_gives_the_lease_back() -> None:
    async def script(cluster: MemoryCluster, clock: ManualClock, first: Candidate, second: Candidate) -> None:
        await first.end()
        assert first.task.cancelled()
        assert "holderIdentity" not in await lease_of(cluster)

    play(script)


def test_the_same_identity_takes_its_lease_back_after_a_restart() -> None:
    async def script(cluster: MemoryCluster, clock: ManualClock, first: Candidate, second: Candidate) -> None:
        first.line.state = "down"
        await first.end()
        again = Candidate(cluster, clock, "first")
        await clock.advance(1)
        assert again.leads
        assert (await lease_of(cluster))["leaseTransitions"] == 0
        await again.end()

    play(script)


troubles = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["up", "down", "hangs"]), st.floats(0.1, 12)), max_size=25)


@settings(max_examples=60, deadline=None)
@given(troubles)
def test_two_never_lead_at_once(script: list[tuple[int, str, float]]) -> None:
    async def run() -> None:
        clock = ManualClock()
        cluster = MemoryCluster(clock)
        candidates = [Candidate(cluster, clock, f"candidate-{number}") for number in range(3)]
        everyone = list(candidates)
        try:
            for number, state, seconds in script:
                candidates[number].line.state = state
                await clock.advance(seconds)
                for index, candidate in enumerate(candidates):
                    if candidate.outcome == "lost":
                        candidates[index] = Candidate(cluster, clock, f"again-{len(everyone)}")
                        everyone.append(candidates[index])
            for candidate in candidates:
                candidate.line.state = "up"
            await clock.advance(40)
            assert sum(candidate.leads for candidate in candidates) == 1, "and one leads in the end"
            spans = sorted(span for candidate in everyone for span in candidate.spans)
            assert all(before[1] <= after[0] for before, after in pairwise(spans))
        finally:
            for candidate in everyone:
                await candidate.end()

    asyncio.run(run())


def test_a_lease_on_a_real_clock(run: Callable[[Check], None]) -> None:
    async def check(cluster: Cluster, ns: str) -> None:
        stop, order = asyncio.Event(), list[str]()

        async def candidate(name: str) -> None:
            async with LeaderLease(cluster, ns, "operator", name, duration_s=1).held(stop) as leading:
                assert leading
                order.append(name)
                await asyncio.sleep(0.5)

        await asyncio.gather(candidate("a"), candidate("b"))
        assert sorted(order) == ["a", "b"]
        obj = await cluster.get(LEASES, ns, "operator")
        assert obj is not None and obj["spec"]["leaseTransitions"] == 1

    run(check)

"""Demand by reading the sidecars' own metrics: rates over a window, however replicas come, go, restart and fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adapters.served import Served

from forebay.adapters.metrics import Target
from forebay.adapters.scrape import ScrapedMetrics, parse
from forebay.adapters.sums import quantile_of
from forebay.api.prompting import TERMS
from forebay.dataplane.http.client import Client
from forebay.planning.measured import ClassDemand, Demand, PromptMeetings
from forebay.planning.series import ARRIVALS, QUEUE_DEPTH, TTFT_BUCKET

NOW = 1_700_000_000.0

GOOD = """\
# HELP forebay_sidecar_arrivals Requests that arrived.
# TYPE forebay_sidecar_arrivals counter
forebay_sidecar_arrivals_total{batch_class="interactive"} 12.0
forebay_sidecar_arrivals_total{batch_class="batch"} 3.0
# TYPE forebay_sidecar_arrived_input_tokens counter
forebay_sidecar_arrived_input_tokens_total{batch_class="interactive"} 2400.0
# TYPE forebay_sidecar_requests counter
forebay_sidecar_requests_total{batch_class="interactive",outcome="ok"} 10.0
forebay_sidecar_requests_total{batch_class="interactive",outcome="rejected"} 2.0
# TYPE forebay_sidecar_tokens counter
forebay_sidecar_tokens_total{batch_class="interactive",token_type="input"} 2000.0
forebay_sidecar_tokens_total{batch_class="interactive",token_type="output"} 1000.0
# TYPE forebay_sidecar_tokens_squared counter
forebay_sidecar_tokens_squared_total{batch_class="interactive",token_type="input"} 400000.0
# TYPE forebay_sidecar_queue_depth gauge
forebay_sidecar_queue_depth{batch_class="interactive"} 4.0
# TYPE forebay_sidecar_config_info gauge
forebay_sidecar_config_info{hash="0123456789abcdef"} 1.0
# TYPE something_else gauge
something_else 7.0
"""


# the text


def test_what_matters_is_read() -> None:
    reading = parse(GOOD)
    assert reading.config_hash == "0123456789abcdef"
    assert reading.counters[ARRIVALS, "interactive", ""] == 12 and reading.counters[ARRIVALS, "batch", ""] == 3
    assert reading.counters["forebay_sidecar_tokens_total", "interactive", "output"] == 1000
    assert reading.counters["forebay_sidecar_arrived_input_tokens_total", "interactive", ""] == 2400
    assert reading.counters["forebay_sidecar_tokens_squared_total", "interactive", "input"] == 400000
    assert reading.gauges == {(QUEUE_DEPTH, "interactive", ""): 4.0}
    assert not any(name == "something_else" for name, _, _ in (*reading.counters, *reading.gauges))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-5", "1e308"])
def test_values_that_cannot_be_counted_with_are_left_out(value: str) -> None:
    assert parse(f'forebay_sidecar_queue_depth{{batch_class="a"}} {value}\n').gauges == {}


def test_buckets_without_a_bound_are_left_out() -> None:
    text = "".join(f'{TTFT_BUCKET}{{batch_class="a"{le}}} 1\n' for le in ("", ',le="soon"', ',le="NaN"', ',le="0.5"', ',le="+Inf"'))
    assert sorted(further for _, _, further in parse(text).counters) == ["+Inf", "0.5"]


@pytest.mark.parametrize("text", ["", "\n\n", "# just a comment\n"])
def test_nothing_is_nothing(text: str) -> None:
    assert parse(text).counters == {}


@pytest.mark.parametrize("text", ["<html>no</html>", 'forebay_sidecar_arrivals_total{batch_class="a" 1', "a{b=c} 1"])
def test_what_is_no_exposition_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD)), st.integers(0, 40), st.text(max_size=20) | st.text(alphabet='_{}="\\,. 0123456789eE+-\n#', max_size=20))
def test_any_text_is_read_or_refused(start: int, length: int, instead: str) -> None:
    try:
        reading = parse(GOOD[:start] + instead + GOOD[start + length :])
    except ValueError:
        return
    assert all(value >= 0 and value < float("inf") for value in (*reading.counters.values(), *reading.gauges.values()))


# quantiles


def test_quantiles_are_interpolated_as_prometheus_does() -> None:
    buckets = [(0.1, 10.0), (0.5, 90.0), (1.0, 100.0), (float("inf"), 100.0)]
    assert quantile_of(buckets, 0.5) == 0.3
    assert quantile_of(buckets, 0.95) == 0.75
    assert quantile_of([(0.1, 0.0), (float("inf"), 10.0)], 0.95) == 0.1, "beyond the last bound nothing more is known"
    assert quantile_of([], 0.95) is None and quantile_of([(0.1, 0.0), (float("inf"), 0.0)], 0.95) is None


# sidecars over real sockets


class Sidecar(Served):
    """What its metrics say is for the test to set."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.arrivals, self.queued = 0.0, 0.0
        self.prompting: tuple[float, ...] = ()
        self.answer: bytes | None = None

    def text(self) -> str:
        return (
            f'forebay_sidecar_arrivals_total{{batch_class="interactive"}} {self.arrivals}\n'
            f'forebay_sidecar_queue_depth{{batch_class="interactive"}} {self.queued}\n'
            f'forebay_sidecar_config_info{{hash="{self.name}"}} 1\n'
        ) + "".join(f'forebay_sidecar_prompting_total{{term="{term}"}} {sum_}\n' for term, sum_ in zip(TERMS, self.prompting, strict=False))

    def reply(self) -> bytes:
        return super().reply() if self.answer is None else self.answer

    def target(self, ready_at: float | None = NOW - 1000) -> Target:
        return Target(self.name, "127.0.0.1", self.port, ready_at)


class Pool:
    """A pool as the operator measures it, with time in the test's hand."""

    def __init__(self, client: Client, sidecars: list[Sidecar]) -> None:
        self.metrics, self.sidecars, self.now = ScrapedMetrics(client, monotonic=lambda: self.now - NOW), sidecars, NOW
        self.ready_at: dict[str, float] = {}

    async def look(self, after_s: float = 0.0, *, only: list[Sidecar] | None = None) -> Demand | None:
        self.now += after_s
        targets = [s.target(self.ready_at.get(s.name, NOW - 1000)) for s in (self.sidecars if only is None else only)]
        return await self.metrics.demand("default", "chat", targets, self.now)

    async def rate(self, after_s: float = 15.0, **options: Any) -> float:
        found = await self.look(after_s, **options)
        return found.classes.get("interactive", ClassDemand()).requests_per_s if found else -1.0


def measured(test: Callable[[Pool], Awaitable[None]], count: int = 2) -> None:
    async def main() -> None:
        client = Client()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(client.close)
            sidecars = [await stack.enter_async_context(Sidecar(f"pod-{i}")) for i in range(count)]
            async with asyncio.timeout(20):
                await test(Pool(client, sidecars))

    asyncio.run(main())


def test_rates_are_those_of_all_replicas_together() -> None:
    async def test(pool: Pool) -> None:
        await pool.look()
        one, two = pool.sidecars
        one.arrivals, two.arrivals, one.queued, two.queued = 15, 30, 1, 2
        found = await pool.look(15)
        assert found and found.classes["interactive"].requests_per_s == 3 and found.classes["interactive"].queued == 3
        assert (found.replicas_reporting, found.window_s, found.source) == (2, 15, "scrape")
        assert found.config_hashes == {"pod-0": 1, "pod-1": 1}

    measured(test)


def test_sums_of_prompts_are_those_of_all_replicas_over_the_window() -> None:
    async def test(pool: Pool) -> None:
        one, two = pool.sidecars
        one.prompting, two.prompting = (100, 10, 50, 1000), (7, 0, 1, 20)
        await pool.look()
        one.prompting, two.prompting = (130, 16, 54, 1015), (9, 1, 3, 35)
        found = await pool.look(15)
        assert found is not None and found.prompting == PromptMeetings(arrivals=32, met=7, open_seconds=6, seconds=30)

    measured(test)


def test_sidecars_that_tell_of_no_prompts_are_not_ones_that_met_none() -> None:
    async def test(pool: Pool) -> None:
        await pool.look()
        found = await pool.look(15)
        assert found is not None and found.prompting is None

    measured(test)


def test_one_look_is_no_rate() -> None:
    """An operator that has just started has seen counters once. That is not zero demand: nothing is known yet."""

    async def test(pool: Pool) -> None:
        pool.sidecars[0].arrivals = 1_000_000
        assert await pool.look() is None
        assert await pool.rate() == 0

    measured(test)


def test_rates_are_over_the_window_not_over_all_time() -> None:
    async def test(pool: Pool) -> None:
        one = pool.sidecars[0]
        await pool.look()
        one.arrivals += 450
        await pool.look(15)
        for _ in range(4):
            rate = await pool.rate()
        assert rate == 0

    measured(test, 1)


def test_a_restarted_replica_counts_from_zero() -> None:
    async def test(pool: Pool) -> None:
        one = pool.sidecars[0]
        one.arrivals = 1000
        await pool.look()
        one.arrivals = 30
        assert await pool.rate() == 2

    measured(test, 1)


def test_a_departed_replica_counts_for_what_it_did() -> None:
    async def test(pool: Pool) -> None:
        one, two = pool.sidecars
        await pool.look()
        one.arrivals = two.arrivals = 45
        assert await pool.rate() == 6
        assert await pool.rate(only=[one]) == 3
        assert await pool.rate(only=[one]) == 2
        assert await pool.rate(only=[one]) == 0

    measured(test)


def test_a_young_replica_counts_from_its_beginning_and_an_old_one_does_not() -> None:
    async def test(pool: Pool) -> None:
        one, two = pool.sidecars
        await pool.look(only=[one])
        two.arrivals = 30
        pool.ready_at[two.name] = NOW + 5
        assert await pool.rate(only=[one, two]) == 2
        pool.metrics.forget("default", "chat")
        await pool.look(only=[one])
        pool.ready_at[two.name] = NOW - 1000
        assert await pool.rate(only=[one, two]) == 0

    measured(test)


def test_a_replica_that_fails_once_loses_nothing() -> None:
    async def test(pool: Pool) -> None:
        two = pool.sidecars[1]
        await pool.look()
        two.answer, two.arrivals = b"HTTP/1.1 500 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 60
        found = await pool.look(15)
        assert found and found.replicas_reporting == 1
        two.answer = None
        assert await pool.rate() == 2

    measured(test)


def test_a_replica_that_was_silent_for_long_is_not_whole_before_it_was_heard_over_the_window() -> None:
    """What it was asked for meanwhile is not known; until that is out of the window rates are too low, though all report."""

    async def test(pool: Pool) -> None:
        two = pool.sidecars[1]
        pool.ready_at[two.name] = NOW - 1000
        await pool.look()
        found = await pool.look(15)
        assert found and found.unheard == 0
        two.answer = b""
        silent = [await pool.look(15) for _ in range(5)]
        assert [look.unheard for look in silent if look] == [1] * 5
        two.answer = None
        again = [await pool.look(15) for _ in range(4)]
        assert [(look.replicas_reporting, look.unheard) for look in again if look] == [(2, 1), (2, 1), (2, 1), (2, 0)]

    measured(test)


def test_a_replica_that_has_just_become_ready_is_measured_from_its_beginning() -> None:
    async def test(pool: Pool) -> None:
        one, two = pool.sidecars
        await pool.look(only=[one])
        pool.ready_at[two.name] = NOW + 5
        found = await pool.look(15, only=[one, two])
        assert found and (found.replicas_reporting, found.unheard) == (2, 0)

    measured(test)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n\xff\xfe\xfd\xfc\xfb\xfa",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\n<html>no<",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 50\r\n\r\ncut off",
        b"nonsense\r\n\r\n",
        b"",
    ],
    ids=["no text", "no metrics", "cut off", "no HTTP", "nothing"],
)
def test_a_replica_that_answers_nonsense_counts_as_silent(answer: bytes) -> None:
    async def test(pool: Pool) -> None:
        one, two = pool.sidecars
        await pool.look()
        one.arrivals, two.answer = 15, answer
        found = await pool.look(15)
        assert found and found.replicas_reporting == 1 and found.classes["interactive"].requests_per_s == 1

    measured(test)


def test_while_all_are_silent_the_last_answer_ages() -> None:
    async def test(pool: Pool) -> None:
        await pool.look()
        pool.sidecars[0].arrivals = 15
        before = await pool.look(15)
        pool.sidecars[0].answer = b""
        after = await pool.look(30)
        assert before is not None and after == before.model_copy(update={"wrong": after.wrong if after else ()}), (
            "its age tells that it is old"
        )
        assert await pool.look(30, only=[]) == before

    measured(test, 1)


def test_after_a_long_silence_rates_begin_anew() -> None:
    """What came during it would else be spread over all of it, and a load that is there now would be called little."""

    async def test(pool: Pool) -> None:
        one = pool.sidecars[0]
        await pool.look()
        one.arrivals = 15
        assert await pool.rate() == 1
        one.arrivals = 100
        assert await pool.rate(3600) == 1
        one.arrivals += 150
        assert await pool.rate() == 10

    measured(test, 1)


def test_many_looks_within_a_second_are_one() -> None:
    """Every change of a pod is a reason to plan; sidecars are not asked for each of them."""

    async def test(pool: Pool) -> None:
        await pool.look()
        pool.sidecars[0].arrivals = 15
        await pool.look(15)
        for _ in range(20):
            assert await pool.rate(0.04) == 1
        assert pool.sidecars[0].asked == 2
        for _ in range(200):
            rate = await pool.rate(1.0)
        assert rate == 0

    measured(test, 1)

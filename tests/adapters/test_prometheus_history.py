"""The past of a class from a Prometheus, and what may be wrong with it: each fault by its name, against real servers."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.prometheus_server import Question, a_real_prometheus, answering
from tests.planning.builders import a_snapshot, demand, running, verdict

from forebay.adapters.prometheus_history import PATIENCE_S, RETRY_S, PrometheusHistory
from forebay.planning.backfill import Read, missing, read_past
from forebay.planning.measured import ClassHistory
from forebay.planning.planner import plan

DAY = 86400.0
NOW = 1_800_000_000.0 - 1_800_000_000.0 % 600
RATES = (("arrivals", 4.0), ("requests", 4.0), ('"input"', 800.0), ('"output"', 400.0))
Values = Callable[[str, float], str | None]
"""Which metric, at what time: the value, or None for a step that is missing."""


def usual(metric: str, at: float) -> str | None:
    return str(dict(RATES)[metric])


def server(values: Values = usual, **body: Any) -> Callable[[Question], bytes]:
    """Range queries answered by this law."""

    def answer(asked: Question) -> bytes:
        start, end, step = float(asked["start"]), float(asked["end"]), float(asked["step"].rstrip("s"))
        metric = next(name for name, _ in RATES if name in asked["query"])
        times = [start + i * step for i in range(round((end - start) / step) + 1)]
        found = [[at, value] for at in times if (value := values(metric, at)) is not None]
        rows = [{"metric": {"batch_class": "interactive"}, "values": found}] if found else []
        return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}, **body}).encode()

    return answer


def read(url: str, days: float = 9, matchers: dict[str, str] | None = None, now: float = NOW) -> dict[str, ClassHistory]:
    return asyncio.run(PrometheusHistory(url, matchers).read("default", "llama", {"interactive": now - days * DAY}, now))


def past(values: Values = usual, days: float = 9) -> Read:
    with answering(server(values)) as url:
        return read_past(read(url, days)["interactive"], None)


def test_ten_minute_means_beyond_a_day_and_minutes_within_it() -> None:
    found = past()
    assert (found.minutes, len(found.inputs) - found.minutes) == (1440, 8 * 144)
    assert found.inputs[0].at_s == NOW - 9 * DAY and found.inputs[-1].at_s == NOW - 60
    assert all(span.value == pytest.approx(800, rel=2e-3) for span in found.inputs)
    assert found.shape is not None and found.shape.output_tokens == pytest.approx(100, rel=2e-3)


def test_a_class_that_is_new_is_sized_with_nine_days_behind_it_at_its_first_decision() -> None:
    """A day of bounds came due, by the minutes; the week is known; and the decision says from where."""
    first = a_snapshot(now=NOW, demand=demand(4).model_copy(update={"measured_at": NOW}), **running(2))
    assert missing(first) == {"interactive": NOW - 14 * DAY}
    with answering(server()) as url:
        history = read(url)
    decision = plan(first.model_copy(update={"history": history}))
    (found,) = decision.status.demand.forecast
    assert found.drives and found.model == "week" and found.history == "216h"
    assert verdict(decision, "ForecastCalibrated").status == "True"
    said = "class interactive: its forecast was read from 9 days of prometheus history: 1440 minutes and 1152 means of ten minutes"
    assert said in decision.why and any(note.reason == "HistoryRead" and note.message == said for note in decision.notes)
    later = first.model_copy(update={"memory": decision.memory, "now": NOW + 15})
    assert missing(later) == {}


def test_a_prometheus_that_knows_nothing_is_asked_once() -> None:
    first = a_snapshot(now=NOW, demand=demand(4).model_copy(update={"measured_at": NOW}), **running(2))
    with answering(server(lambda *_: None)) as url:
        history = read(url)
    decision = plan(first.model_copy(update={"history": history}))
    assert "class interactive: prometheus knows nothing of it before now" in decision.why and not decision.notes
    assert missing(first.model_copy(update={"memory": decision.memory, "now": NOW + 15})) == {}


def test_prometheus_answering_slowly_stops_no_other_pool_and_comes_with_a_later_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.adapters.prometheus_history.PATIENCE_S", 0.05)
    assert PATIENCE_S <= 5
    go_on = threading.Event()

    def slow(asked: Question) -> bytes:
        if 'forebay_pool="slow"' in asked["query"]:
            go_on.wait(20)
        return server()(asked)

    async def both(url: str) -> None:
        history, since = PrometheusHistory(url), {"interactive": NOW - DAY}
        assert await history.read("default", "slow", since, NOW) == {}
        while not (other := await history.read("default", "quick", since, NOW)):
            await asyncio.sleep(0.01)
        assert other["interactive"].parts
        assert await history.read("default", "slow", since, NOW + 15) == {}
        go_on.set()
        while not (late := await history.read("default", "slow", since, NOW + 30)):
            await asyncio.sleep(0.01)
        assert late["interactive"].parts[0].start == NOW - DAY

    with answering(slow) as url:
        asyncio.run(asyncio.wait_for(both(url), 20))


def test_pools_beyond_those_that_are_asked_for_at_once_come_with_a_later_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand pools after a restart do not each keep a question waiting."""
    monkeypatch.setattr("forebay.adapters.prometheus_history.PATIENCE_S", 0.05)
    monkeypatch.setattr("forebay.adapters.prometheus_history.MAX_WAITING", 1)
    go_on, asked_for = threading.Event(), set()

    def slow(asked: Question) -> bytes:
        asked_for.add(asked["query"].partition('forebay_pool="')[2][0])
        go_on.wait(20)
        return server()(asked)

    async def both(url: str) -> None:
        history, since = PrometheusHistory(url), {"interactive": NOW - DAY}
        for pool in ("a", "b"):
            assert await history.read("default", pool, since, NOW) == {}
        assert asked_for == {"a"}
        go_on.set()
        for pool in ("a", "b"):
            while not await history.read("default", pool, since, NOW + 15):
                await asyncio.sleep(0.01)

    with answering(slow) as url:
        asyncio.run(asyncio.wait_for(both(url), 20))


@pytest.mark.parametrize("body", [{"warnings": ["store 10.1.2.3: deadline exceeded"]}, {"isPartial": True}, {"status": "error"}])
def test_prometheus_answering_partly_is_asked_again_later(body: dict[str, Any]) -> None:
    whole = {"is": False}

    def answer(asked: Question) -> bytes:
        return server(**({} if whole["is"] else body))(asked)

    async def twice(url: str) -> None:
        history, since = PrometheusHistory(url), {"interactive": NOW - DAY}
        assert await history.read("default", "llama", since, NOW) == {} and history.trouble("default", "llama")
        whole["is"] = True
        assert await history.read("default", "llama", since, NOW + RETRY_S - 1) == {} and history.trouble("default", "llama")
        assert await history.read("default", "llama", since, NOW + RETRY_S) != {} and not history.trouble("default", "llama")

    with answering(answer) as url:
        asyncio.run(twice(url))


def test_a_remark_of_promql_on_a_query_is_no_partial_answer() -> None:
    with answering(server(warnings=["PromQL info: metric might not be a counter"])) as url:
        assert read(url)["interactive"].parts


def test_another_clusters_series_are_left_out_by_matchers() -> None:
    asked: list[str] = []

    def answer(question: Question) -> bytes:
        asked.append(question["query"])
        return server()(question)

    with answering(answer) as url:
        read(url, matchers={"cluster": 'eu "1"'})
    assert asked and all('{namespace="default",forebay_pool="llama",cluster="eu \\"1\\""' in query for query in asked)


def test_another_clusters_series_that_cannot_be_left_out_are_no_history() -> None:
    strange = demand(4).model_copy(update={"measured_at": NOW, "strangers": 3})
    assert missing(a_snapshot(now=NOW, demand=strange, **running(2))) == {}


def test_a_history_gap_is_unknown_and_not_zero() -> None:
    found = past(lambda metric, at: None if NOW - 5 * DAY < at <= NOW - 3 * DAY else usual(metric, at))
    assert len(found.inputs) == 1440 + 6 * 144 and min(span.value for span in found.inputs) > 790


def test_a_gap_since_the_operator_went_is_read_by_the_minute() -> None:
    """Three hours down: what was forecast for them is scored, and the series goes on without a hole."""
    before = a_snapshot(now=NOW, demand=demand(4).model_copy(update={"measured_at": NOW}), **running(2))
    with answering(server()) as url:
        known = plan(before.model_copy(update={"history": read(url)})).memory
        back = NOW + 3 * 3600
        again = before.model_copy(update={"memory": known, "now": back, "demand": demand(4).model_copy(update={"measured_at": back})})
        since = missing(again)
        assert since == {"interactive": NOW}
        history = asyncio.run(PrometheusHistory(url).read("default", "llama", since, back))
    decision = plan(again.model_copy(update={"history": history}))
    assert "class interactive: its forecast was read from 180 minutes of prometheus history: 180 minutes and 0 means" in " ".join(
        decision.why
    )
    state = decision.memory.forecasts["interactive"].input_tokens
    assert (state.step - state.since) * 60 == 9 * DAY + 3 * 3600 and decision.memory.forecasts["interactive"].read_s == 9 * DAY
    assert decision.status.demand.forecast[0].observed_coverage is not None


def test_minutes_that_are_missing_are_ten_minute_means() -> None:
    """A scrape interval of a minute has no rate within one."""

    def answer(asked: Question) -> bytes:
        return server(usual if asked["step"] == "600s" else lambda *_: None)(asked)

    with answering(answer) as url:
        found = read_past(read(url)["interactive"], None)
    assert (found.minutes, len(found.inputs)) == (0, 9 * 144)


@pytest.mark.parametrize("absurd", ["NaN", "-5", "+Inf", "1e300"])
def test_nan_negative_and_absurd_values_are_unknown(absurd: str) -> None:
    found = past(lambda metric, at: absurd if at == NOW - 120 else usual(metric, at))
    assert found.minutes == (1439) and all(span.value == pytest.approx(800, rel=2e-3) for span in found.inputs)


@pytest.mark.parametrize("absent", [name for name, _ in RATES])
def test_one_metric_missing(absent: str) -> None:
    """What needs it is unknown of the past, and not zero."""
    found = past(lambda metric, at: None if metric == absent else usual(metric, at))
    lost = {"arrivals": (True, True), "requests": (True, True), '"input"': (True, False), '"output"': (False, True)}[absent]
    assert (found.inputs == (), found.outputs == ()) == lost and found.shape is None


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'{"status":"success","data":{"result":[{"metric":{},"values":[[1]]}]}}'])
def test_nonsense_is_no_history(answer: bytes) -> None:
    with answering(lambda _: answer) as url:
        assert read(url) == {}


def exposed(days: float, rate: Callable[[float], float], labels: str = "", reset_s: float = math.inf) -> Iterator[str]:
    """OpenMetrics lines of a sidecar's counters, every 20 s for the last day and every two minutes before it."""
    series = {
        "forebay_sidecar_arrivals": [("", 1.0)],
        "forebay_sidecar_requests": [(',outcome="ok"', 1.0)],
        "forebay_sidecar_tokens": [(',token_type="input"', 200.0), (',token_type="output"', 100.0)],
    }
    times = [NOW - days * DAY + 120 * i for i in range(round((days - 1) * 720))] + [NOW - DAY + 20 * i for i in range(4321)]
    for name, rows in series.items():
        yield f"# TYPE {name} counter"
        for further, factor in rows:
            total, before = 0.0, times[0]
            for at in times:
                total = 0.0 if before < reset_s <= at else total + rate(before) * (at - before)
                before = at
                same = f'namespace="default",forebay_pool="llama",pod="llama-1",batch_class="interactive"{labels}'
                yield f"{name}_total{{{same}{further}}} {total * factor:.6f} {at:.3f}"


def test_a_counter_reset_in_a_real_prometheus_is_no_drop_and_no_leap(tmp_path: Path) -> None:
    """And the figures are those that went in, day by day."""

    def rate(at: float) -> float:
        return 5.0 + 3.0 * math.sin(2 * math.pi * at / DAY)

    with a_real_prometheus(tmp_path, exposed(3, rate, reset_s=NOW - DAY / 2)) as url:
        found = read_past(read(url, 3)["interactive"], None)
    assert found.minutes >= 1438 and len(found.inputs) - found.minutes >= 2 * 144 - 1
    for span in found.inputs:
        if abs(span.at_s - (NOW - DAY / 2)) > 600:
            assert span.value == pytest.approx(200 * rate(span.at_s + span.seconds / 2), rel=0.02)
        else:
            assert 0.5 * 200 * rate(span.at_s) < span.value < 1.1 * 200 * rate(span.at_s)


def test_another_clusters_series_in_a_real_prometheus_are_left_out_by_matchers(tmp_path: Path) -> None:
    both = [exposed(1, lambda _: 4.0, ',cluster="eu-1"'), exposed(1, lambda _: 40.0, ',cluster="us-1"')]
    families: dict[str, list[str]] = {}
    for lines in both:
        for line in lines:
            name = line.split()[2] if line.startswith("#") else line.split("_total")[0]
            if not line.startswith("#") or name not in families:
                families.setdefault(name, []).append(line)
    with a_real_prometheus(tmp_path, iter([line for lines in families.values() for line in lines])) as url:
        alone = read_past(read(url, 0.5, {"cluster": "eu-1"})["interactive"], None)
        doubled = read_past(read(url, 0.5)["interactive"], None)
    assert alone.inputs[-1].value == pytest.approx(800, rel=0.01) and doubled.inputs[-1].value == pytest.approx(8800, rel=0.01)

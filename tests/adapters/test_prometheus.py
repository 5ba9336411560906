"""Demand from a Prometheus: its answers read, and what is wrong with them survived. The server is a small one of the test's own."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
from tests.adapters.prometheus_server import Question, answering
from tests.planning.builders import a_snapshot, running, said, settled, verdict

from forebay.adapters import promql
from forebay.adapters.metrics import Target
from forebay.adapters.prometheus import PrometheusMetrics
from forebay.planning.measured import Demand, PromptMeetings
from forebay.planning.planner import plan

NOW = 1_700_000_000.0
Row = tuple[dict[str, str], str]


class Prometheus:
    """Answers queries by the metric that is in them."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {
            "timestamp(forebay_sidecar_arrivals_total": [({}, str(NOW - 5))],
            "rate(forebay_sidecar_arrivals_total": [({"batch_class": "interactive"}, "4")],
            "rate(forebay_sidecar_arrived_input_tokens_total": [({"batch_class": "interactive"}, "900")],
            "rate(forebay_sidecar_requests_total": [({"batch_class": "interactive", "outcome": "ok"}, "3.5")],
            "rate(forebay_sidecar_tokens_total": [
                ({"batch_class": "interactive", "token_type": "input"}, "800"),
                ({"batch_class": "interactive", "token_type": "output"}, "400"),
            ],
            "rate(forebay_sidecar_tokens_squared_total": [({"batch_class": "interactive", "token_type": "input"}, "320000")],
            "rate(gen_ai_server_time_to_first_token_seconds_bucket": [
                ({"batch_class": "interactive", "le": "0.1"}, "3"),
                ({"batch_class": "interactive", "le": "0.5"}, "3.5"),
                ({"batch_class": "interactive", "le": "+Inf"}, "3.5"),
            ],
            "rate(forebay_sidecar_prompting_total": [
                ({"term": "arrivals"}, "3"),
                ({"term": "met"}, "0.5"),
                ({"term": "open_seconds"}, "0.9"),
                ({"term": "seconds"}, "3"),
            ],
            "(forebay_sidecar_queue_depth": [({"batch_class": "interactive"}, "7")],
            "(forebay_sidecar_config_info": [({"hash": "abc"}, "2"), ({"hash": "def"}, "1")],
        }
        self.answer: bytes | None = None
        self.halved: dict[str, Any] | None = None
        """What an answer with half of everything says of itself; None where it is whole."""
        self.queries: list[str] = []

    def reply(self, query: str) -> bytes:
        self.queries.append(query)
        found = next((rows for part, rows in self.rows.items() if part in query), [])
        part = 1.0 if self.halved is None else 0.5
        result = [{"metric": labels, "value": [NOW, str(part * float(value))]} for labels, value in found]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}} | (self.halved or {})).encode()


def serving(prometheus: Prometheus) -> AbstractContextManager[str]:
    return answering(lambda asked: prometheus.reply(asked["query"]) if prometheus.answer is None else prometheus.answer)


def replicas(*names: str) -> list[Target]:
    return [Target(name, "10.0.0.1", 9400, None) for name in names]


PODS = replicas("chat-1", "chat-2", "chat-3")
READY = [replace(pod, ready_at=NOW - 600) for pod in PODS]


def ask(metrics: PrometheusMetrics, pool: str = "chat", now: float = NOW, targets: list[Target] = PODS) -> Demand | None:
    return asyncio.run(metrics.demand("default", pool, targets, now))


def nothing_known(found: Demand | None) -> str:
    """Why nothing was ever measured."""
    assert found is not None and found.window_s == 0 and not found.classes
    (why,) = found.wrong
    return why


def test_answers_become_demand() -> None:
    prometheus = Prometheus()
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url))
    assert found is not None
    measured = found.classes["interactive"]
    assert (measured.requests_per_s, measured.completed_per_s, measured.queued) == (4, 3.5, 7)
    assert (measured.input_tokens_per_s, measured.output_tokens_per_s) == (800, 400)
    assert (measured.input_tokens_squared_per_s, measured.arrived_input_tokens_per_s) == (320000, 900)
    assert measured.p95_time_to_first_token_s == pytest.approx(0.36, abs=0.01)
    assert (found.measured_at, found.source, found.replicas_reporting) == (NOW - 5, "prometheus", 3)
    assert found.config_hashes == {"abc": 2, "def": 1}
    assert found.prompting == PromptMeetings(arrivals=180, met=30, open_seconds=54, seconds=180), "of a minute"
    assert all('{namespace="default",forebay_pool="chat"}' in q for q in prometheus.queries)
    assert found.told_apart and not found.strangers


def test_no_series_is_no_answer() -> None:
    prometheus = Prometheus()
    prometheus.rows.clear()
    with serving(prometheus) as url:
        assert ask(PrometheusMetrics(url)) is None


def test_a_pool_that_answers_and_that_no_series_exist_for_says_what_is_missing() -> None:
    """Without a PodMonitor it was as if its sidecars were to be measured at any moment."""
    prometheus = Prometheus()
    prometheus.rows.clear()
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url, matchers={"cluster": "eu-1"}), targets=READY)
    decision = plan(a_snapshot(now=NOW, demand=found, memory=settled(3), **running(3)))
    assert said(decision, "MetricsFresh") == ("False", "Stale") and decision.replicas == 3
    missing = 'Prometheus has no forebay_sidecar_arrivals_total{namespace="default",forebay_pool="chat",cluster="eu-1"}: it is to scrape'
    assert missing in verdict(decision, "MetricsFresh").message
    assert "podMonitor.enabled" in verdict(decision, "MetricsFresh").message


def test_half_of_the_pods_that_are_scraped_are_not_the_whole_demand() -> None:
    prometheus = Prometheus()
    reporting(prometheus, "chat-1")
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url))
    decision = plan(a_snapshot(now=NOW, demand=found, memory=settled(3), **running(3)))
    assert verdict(decision, "MetricsFresh").message.startswith(
        "1 of 3 replicas measured by prometheus: what the others are asked for is not"
    )
    assert decision.replicas == 3


def test_a_pod_that_starts_does_not_stand_for_one_that_is_not_scraped() -> None:
    prometheus = Prometheus()
    reporting(prometheus, "chat-1", "chat-2", "chat-3")
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url), targets=[*READY[:2], *replicas("chat-3"), replace(PODS[0], pod="chat-4", ready_at=NOW - 600)])
    assert found is not None and (found.replicas_reporting, found.unheard) == (3, 1)


@pytest.mark.parametrize("pods", [2, 9], ids=["no more than it has", "more than it has"])
def test_pods_that_two_jobs_scrape_are_never_double_demand(pods: int) -> None:
    """Beside pods that are not scraped at all there are as many series as replicas, and each of them is of twice what is asked."""
    prometheus = Prometheus()
    prometheus.rows["(forebay_sidecar_config_info"] = [({"hash": "abc", "pod": f"chat-{i}"}, "2") for i in range(pods)]
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url), targets=replicas(*(f"chat-{i}" for i in range(9))))
    decision = plan(a_snapshot(now=NOW, demand=found, memory=settled(9), **running(9)))
    assert said(decision, "MetricsFresh") == ("False", "Stale") and decision.replicas == 9
    assert "the series of chat-0 are there more than once" in verdict(decision, "MetricsFresh").message
    assert "--prometheus-matchers" in verdict(decision, "MetricsFresh").message


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e30"])
@pytest.mark.parametrize("absent", [name for name in Prometheus().rows if "timestamp" not in name and "config_info" not in name])
def test_nan_negative_and_absurd_values(absent: str, value: str) -> None:
    """What is asked for is not known then, which is not that nothing is: the last answer ages."""
    prometheus = Prometheus()
    with serving(prometheus) as url:
        metrics = PrometheusMetrics(url)
        before = ask(metrics)
        prometheus.rows[absent] = [(labels, value) for labels, _ in prometheus.rows[absent]]
        after, first = ask(metrics, now=NOW + 60), ask(PrometheusMetrics(url))
    assert before is not None and after is not None and after == before.model_copy(update={"wrong": after.wrong})
    assert after.wrong[0].endswith(f" is {float(value):g}") and ("of class interactive" in after.wrong[0] or "prompting" in absent)
    for demand in (after, first):
        decision = plan(a_snapshot(now=NOW + 60, demand=demand, memory=settled(3), **running(3)))
        assert said(decision, "MetricsFresh") == ("False", "Stale") and decision.replicas == 3
        assert after.wrong[0] in verdict(decision, "MetricsFresh").message


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b"{}", b'{"status":"error","error":"no"}', b'{"status":"success","data":{"result":[{"metric":{}}]}}',
     b'{"status":"success","data":{"result":[{"metric":{},"value":[1,"x"]}]}}',
     b'{"status":"success","data":{"result":[{"metric":[],"value":[1,"1"]}]}}', b'{"status":"success","data":{"result":[null]}}',
     b'{"status":"success","data":{"result":[{"metric":{"batch_class":7},"value":[1,"1"]},{"metric":{"batch_class":"b"},"value":[1,"1"]}]}}',
     b'{"status":"success","data":{"result":[{"metric":{"hash":[]},"value":[1,"1"]}]}}', b'{"status":"success","data":' + b"[" * 100_000],
)  # fmt: skip
def test_nonsense_leaves_the_last_answer_which_ages(answer: bytes) -> None:
    prometheus = Prometheus()
    with serving(prometheus) as url:
        metrics = PrometheusMetrics(url)
        before = ask(metrics)
        prometheus.answer = answer
        after = ask(metrics)
        assert before is not None and after is not None and after == before.model_copy(update={"wrong": after.wrong})
        assert "no answer" in after.wrong[0]
        metrics.forget("default", "chat")
        assert nothing_known(ask(metrics)) == after.wrong[0]


def test_a_server_that_is_away_leaves_the_last_answer() -> None:
    with serving(Prometheus()) as url:
        metrics = PrometheusMetrics(url)
        before = ask(metrics)
    after = ask(metrics)
    assert before is not None and after == before.model_copy(update={"wrong": ("Prometheus: it cannot be reached",)})
    decision = plan(a_snapshot(now=NOW + 300, demand=after, memory=settled(3), **running(3)))
    assert "for Prometheus: it cannot be reached" in verdict(decision, "MetricsFresh").message


def test_after_a_failure_nobody_waits_for_a_while() -> None:
    """Hundreds of pools would else wait for the same dead server, one after the other, and be planned by nobody."""
    prometheus = Prometheus()
    prometheus.answer = b"{}"
    with serving(prometheus) as url:
        metrics = PrometheusMetrics(url)
        assert nothing_known(ask(metrics))
        prometheus.answer = None
        assert nothing_known(ask(metrics, "other", NOW + 9)) and prometheus.queries == []
        again = ask(metrics, "other", NOW + 10)
    assert again is not None and again.classes and not again.wrong


def reporting(prometheus: Prometheus, *pods: str) -> None:
    """These pods say which configuration they have loaded; a name may be empty."""
    prometheus.rows["(forebay_sidecar_config_info"] = [({"hash": "abc", **({"pod": pod} if pod else {})}, "1") for pod in pods]


def test_another_clusters_pods_are_left_out_of_every_query_and_said() -> None:
    prometheus = Prometheus()
    reporting(prometheus, "chat-1", "chat-2", "chat-3", "chat-x.1", "chat-y")
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url))
    assert found is not None and (found.replicas_reporting, found.strangers, found.told_apart) == (3, 2, True)
    rest = [query for query in prometheus.queries if "config_info" not in query]
    assert rest and all(',pod!~"chat\\\\-x\\\\.1|chat\\\\-y"}' in query for query in rest)
    decision = plan(a_snapshot(now=NOW, demand=found, **running(3)))
    assert said(decision, "MetricsFresh") == ("True", "ForeignSeries")
    assert "series of 2 pods that are not the pool's were left out" in verdict(decision, "MetricsFresh").message


def test_another_clusters_series_without_a_label_to_tell_them_by_are_never_double_demand() -> None:
    """More replicas than the pool has: nothing of it is believed, and the pool is held as it is."""
    prometheus = Prometheus()
    prometheus.rows["(forebay_sidecar_config_info"] = [({"hash": "abc"}, "6")]
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url))
    assert found is not None and not found.told_apart and found.classes == {}
    decision = plan(a_snapshot(now=NOW, demand=found, memory=settled(3), **running(3)))
    assert said(decision, "MetricsFresh") == ("False", "ForeignSeries") and decision.replicas == 3
    assert "6 replicas report as the pool's, more than it has" in verdict(decision, "MetricsFresh").message


def test_a_series_of_a_removed_pod_that_never_expires_is_left_out() -> None:
    """Its queue stands for ever. For some minutes after it went it is still the pool's: what it did until then counts."""
    prometheus = Prometheus()
    reporting(prometheus, "chat-1", "chat-2", "chat-gone")
    with serving(prometheus) as url:
        metrics = PrometheusMetrics(url)
        ask(metrics, targets=replicas("chat-1", "chat-2", "chat-gone"))
        soon, late = (ask(metrics, now=NOW + after_s, targets=replicas("chat-1", "chat-2")) for after_s in (60, 361))
    assert soon is not None and (soon.replicas_reporting, soon.strangers) == (3, 0)
    assert late is not None and (late.replicas_reporting, late.strangers) == (2, 1)
    assert 'pod!~"chat\\\\-gone"' in prometheus.queries[-1]


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0])
def test_clock_step_makes_no_sample_newer_or_older(by_s: float) -> None:
    """Samples age by the clock of the server that has them."""
    prometheus = Prometheus()
    prometheus.rows["timestamp(forebay_sidecar_arrivals_total"] = [({}, str(NOW - 50))]
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url), now=NOW + by_s)
    assert found is not None and found.measured_at == NOW + by_s - 50
    decision = plan(a_snapshot(now=NOW + by_s, demand=found, memory=settled(3), **running(3)))
    assert said(decision, "MetricsFresh") == ("False", "Stale") and decision.replicas == 3


def test_clock_step_back_keeps_no_removed_pod_for_longer() -> None:
    prometheus = Prometheus()
    reporting(prometheus, "chat-1", "chat-gone")
    with serving(prometheus) as url:
        metrics = PrometheusMetrics(url)
        ask(metrics, targets=replicas("chat-1", "chat-gone"))
        soon, late = (ask(metrics, now=NOW - 3600 + after_s, targets=replicas("chat-1")) for after_s in (60, 361))
    assert soon is not None and soon.strangers == 0 and late is not None and late.strangers == 1


def test_matchers_are_in_every_query() -> None:
    prometheus = Prometheus()
    with serving(prometheus) as url:
        ask(PrometheusMetrics(url, matchers={"cluster": "eu-1"}))
    assert prometheus.queries and all('forebay_pool="chat",cluster="eu-1"}' in query for query in prometheus.queries)


@pytest.mark.parametrize("partly", [{"warnings": ["a store is away"]}, {"isPartial": True}])
def test_prometheus_answering_partly_leaves_the_last_answer(partly: dict[str, Any]) -> None:
    """Half of the stores are half of the demand: nothing but what an answer says of itself tells it from a whole one."""
    prometheus = Prometheus()
    with serving(prometheus) as url:
        metrics = PrometheusMetrics(url)
        before = ask(metrics)
        prometheus.halved = partly
        after = ask(metrics, now=NOW + 15)
        assert before is not None and after == before.model_copy(update={"wrong": after.wrong} if after else {})
        assert after.wrong[0].startswith("Prometheus: only a part was answered: ")
        prometheus.halved = {}
        unsaid = ask(PrometheusMetrics(url))
    rate = before.classes["interactive"].requests_per_s
    assert unsaid is not None and unsaid.classes["interactive"].requests_per_s == 0.5 * rate > 0


def test_prometheus_answering_slowly_keeps_no_other_pool_waiting() -> None:
    go_on, prometheus = threading.Event(), Prometheus()

    def answer(asked: Question) -> bytes:
        if 'forebay_pool="slow"' in asked["query"]:
            go_on.wait(20)
        return prometheus.reply(asked["query"])

    async def both(url: str) -> None:
        metrics = PrometheusMetrics(url)
        slow = asyncio.create_task(metrics.demand("default", "slow", PODS, NOW))
        await asyncio.sleep(0)
        assert await metrics.demand("default", "quick", PODS, NOW) is not None and not slow.done()
        go_on.set()
        assert await slow is not None

    with answering(answer) as url:
        asyncio.run(both(url))


def test_prometheus_that_does_not_end_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay.adapters.prometheus.PATIENCE_S", 0.2)
    go_on = threading.Event()
    with answering(lambda _: b"{}" if go_on.wait(20) else b"") as url:
        try:
            assert nothing_known(ask(PrometheusMetrics(url))) == "Prometheus: it answers too slowly"
        finally:
            go_on.set()


def test_a_question_that_is_not_answered_in_time_is_not_a_server_that_cannot_be_reached() -> None:
    """The client's library tells both as a connection that failed."""
    go_on = threading.Event()
    with answering(lambda _: b"{}" if go_on.wait(20) else b"") as url:
        try:
            with pytest.raises(promql.FAILURES) as failed:
                promql.PromQL(url).instant("up", time.monotonic() + 0.2)
        finally:
            go_on.set()
    assert promql.trouble(failed.value) == "it answers too slowly"


@pytest.mark.parametrize("absent", [name for name in Prometheus().rows if "timestamp" not in name and "arrivals" not in name])
def test_one_metric_missing(absent: str) -> None:
    """What it says is not known; the arrivals still are."""
    prometheus = Prometheus()
    del prometheus.rows[absent]
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url))
    assert found is not None and found.classes["interactive"].requests_per_s == 4


@pytest.mark.parametrize("others", [True, False], ids=["of arrivals alone", "of anything"])
def test_one_metric_missing_arrivals(others: bool) -> None:
    """Fewer than two samples within the window give no rate: it is scraped too seldom, which is not that nobody asks."""
    prometheus = Prometheus()
    with serving(prometheus) as url:
        metrics = PrometheusMetrics(url)
        before = ask(metrics)
        for name in [name for name in prometheus.rows if "rate(" in name and (not others or "arrivals" in name)]:
            del prometheus.rows[name]
        after, first = ask(metrics, now=NOW + 60), ask(PrometheusMetrics(url))
    for demand in (after, first):
        decision = plan(a_snapshot(now=NOW + 60, demand=demand, memory=settled(3), **running(3)))
        assert said(decision, "MetricsFresh") == ("False", "Stale") and decision.replicas == 3
        told = "forebay_sidecar_arrivals_total of class interactive is missing over 60 s, within which each sidecar is to be scraped twice"
        assert told in verdict(decision, "MetricsFresh").message
    assert before is not None and after is not None and after.classes == before.classes


def test_all_metrics_stale() -> None:
    """Nothing new for as long as a Prometheus remembers: it answers with nothing, and the last answer ages until the pool is held."""
    prometheus = Prometheus()
    with serving(prometheus) as url:
        metrics = PrometheusMetrics(url)
        before = ask(metrics)
        prometheus.rows.clear()
        after = ask(metrics, now=NOW + 400, targets=READY)
    assert before is not None and after is not None and after == before.model_copy(update={"wrong": after.wrong})
    decision = plan(a_snapshot(now=NOW + 400, demand=after, memory=settled(3), **running(3)))
    assert said(decision, "MetricsFresh") == ("False", "Stale") and decision.replicas == 3
    assert "(limit 45 s), for Prometheus has no forebay_sidecar_arrivals_total{" in verdict(decision, "MetricsFresh").message

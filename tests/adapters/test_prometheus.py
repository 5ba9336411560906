"""Demand from a Prometheus: its answers read, and what is wrong with them survived. The server is a small one of the test's own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from forebay.adapters.metrics import Target
from forebay.adapters.prometheus import PrometheusMetrics
from forebay.planning.snapshot import Demand

NOW = 1_700_000_000.0
Row = tuple[dict[str, str], str]


class Prometheus:
    """Answers queries by the metric that is in them."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {
            "timestamp(forebay_sidecar_arrivals_total": [({}, str(NOW - 5))],
            "rate(forebay_sidecar_arrivals_total": [({"batch_class": "interactive"}, "4")],
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
            "(forebay_sidecar_queue_depth": [({"batch_class": "interactive"}, "7")],
            "(forebay_sidecar_config_info": [({"hash": "abc"}, "2"), ({"hash": "def"}, "1")],
        }
        self.answer: bytes | None = None
        self.queries: list[str] = []

    def reply(self, query: str) -> bytes:
        self.queries.append(query)
        found = next((rows for part, rows in self.rows.items() if part in query), [])
        result = [{"metric": labels, "value": [NOW, value]} for labels, value in found]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


@contextmanager
def serving(prometheus: Prometheus) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query).get("query", [""])[0]
            body = prometheus.reply(query) if prometheus.answer is None else prometheus.answer
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def replicas(*names: str) -> list[Target]:
    return [Target(name, "10.0.0.1", 9400, None) for name in names]


PODS = replicas("chat-1", "chat-2", "chat-3")


def ask(metrics: PrometheusMetrics, pool: str = "chat", now: float = NOW, targets: list[Target] = PODS) -> Demand | None:
    return asyncio.run(metrics.demand("default", pool, targets, now))


def test_answers_become_demand() -> None:
    prometheus = Prometheus()
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url))
    assert found is not None
    measured = found.classes["interactive"]
    assert (measured.requests_per_s, measured.completed_per_s, measured.queued) == (4, 3.5, 7)
    assert (measured.input_tokens_per_s, measured.output_tokens_per_s) == (800, 400)
    assert measured.input_tokens_squared_per_s == 320000
    assert measured.p95_time_to_first_token_s == pytest.approx(0.36, abs=0.01)
    assert (found.measured_at, found.source, found.replicas_reporting) == (NOW - 5, "prometheus", 3)
    assert found.config_hashes == {"abc": 2, "def": 1}
    assert all('{namespace="default",forebay_pool="chat"}' in q for q in prometheus.queries)
    assert found.told_apart and not found.strangers


def test_no_series_is_no_answer() -> None:
    prometheus = Prometheus()
    prometheus.rows.clear()
    with serving(prometheus) as url:
        assert ask(PrometheusMetrics(url)) is None


def test_numbers_that_are_none_are_left_out() -> None:
    prometheus = Prometheus()
    prometheus.rows["rate(forebay_sidecar_arrivals_total"] = [
        ({"batch_class": "interactive"}, "NaN"),
        ({"batch_class": "b"}, "+Inf"),
        ({"batch_class": "c"}, "-1"),
    ]
    with serving(prometheus) as url:
        found = ask(PrometheusMetrics(url))
    assert found is not None and found.classes["interactive"].requests_per_s == 0 and not {"b", "c"} & found.classes.keys()


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
        assert ask(metrics) == before is not None
        metrics.forget("default", "chat")
        assert ask(metrics) is None


def test_a_server_that_is_away_leaves_the_last_answer() -> None:
    with serving(Prometheus()) as url:
        metrics = PrometheusMetrics(url)
        before = ask(metrics)
    assert ask(metrics) == before is not None


def test_after_a_failure_nobody_waits_for_a_while() -> None:
    """Hundreds of pools would else wait for the same dead server, one after the other, and be planned by nobody."""
    prometheus = Prometheus()
    prometheus.answer = b"{}"
    with serving(prometheus) as url:
        metrics = PrometheusMetrics(url)
        assert ask(metrics) is None
        prometheus.answer = None
        assert ask(metrics, "other", NOW + 9) is None and prometheus.queries == []
        assert ask(metrics, "other", NOW + 10) is not None

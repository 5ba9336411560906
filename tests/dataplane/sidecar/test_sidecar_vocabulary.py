"""Engines' own metrics in one vocabulary: absent is absent, and nothing they write breaks it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from forebay.dataplane.sidecar import metrics
from forebay.dataplane.sidecar.vocabulary import KV_CACHE, NAMES, RUNNING, WAITING, translate

TEXTS = {
    "VLLM": (
        b'# HELP vllm:num_requests_waiting x\nvllm:num_requests_waiting{model_name="a}\\"b",engine="0"} 3.0\n'
        b'vllm:num_requests_waiting{engine="1"} 2\nvllm:num_requests_waiting_by_reason 9\n'
        b'vllm:num_requests_running{engine="0"} 7 1700000000000\nvllm:kv_cache_usage_perc{engine="0"} 0.25\n'
        b'vllm:kv_cache_usage_perc{engine="1"} 0.5\n',
        {WAITING: 5.0, RUNNING: 7.0, KV_CACHE: 0.5},
    ),
    "SGLang": (
        b"sglang:num_queue_reqs 1\nsglang:num_running_reqs 2\nsglang:token_usage 0.1\n",
        {WAITING: 1.0, RUNNING: 2.0, KV_CACHE: 0.1},
    ),
    "TGI": (b"tgi_queue_size 4\ntgi_batch_current_size 8\n", {WAITING: 4.0, RUNNING: 8.0}),
    "TEI": (b"te_queue_size 0\n", {WAITING: 0.0}),
    "LlamaCpp": (b"llamacpp:requests_processing 4\nllamacpp:requests_deferred 2\n", {WAITING: 2.0, RUNNING: 4.0}),
    "OpenAI": (b"vllm:num_requests_waiting 3\n", {}),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_each_engine_is_understood(kind: str) -> None:
    text, expected = TEXTS[kind]
    assert translate(kind, text) == expected


def test_an_older_name_is_understood() -> None:
    assert translate("VLLM", b"vllm:gpu_cache_usage_perc 0.75\n") == {KV_CACHE: 0.75}


def test_what_is_no_number_is_not_there() -> None:
    assert translate("VLLM", b"vllm:num_requests_waiting NaN\nvllm:num_requests_running\nvllm:kv_cache_usage_perc -1\n") == {}
    assert translate("VLLM", b"vllm:num_requests_waiting 1e308\nvllm:num_requests_waiting 1e308\n") == {}


@given(st.sampled_from(sorted(NAMES)), st.binary(max_size=200), st.binary(max_size=200))
def test_no_text_breaks_it(kind: str, before: bytes, after: bytes) -> None:
    translate(kind, before + b"\nvllm:num_requests_waiting{" + after)


def test_a_pathological_label_is_read_in_time() -> None:
    begun = time.process_time()
    translate("VLLM", (b'vllm:num_requests_waiting{a="' + b'\\"' * 5000 + b"\n") * 20)
    assert time.process_time() - begun < 5


def test_what_is_not_known_is_no_series(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    gauges = metrics.EngineGauges()
    registry.register(gauges)
    assert generate_latest(registry) == b""
    gauges.set({RUNNING: 0.0})
    text = generate_latest(registry)
    assert b"forebay_engine_requests_running 0.0" in text and b"waiting" not in text
    monkeypatch.setattr(metrics, "ENGINE_STALE_S", -1.0)
    assert generate_latest(registry) == b""

"""What is done to bytes without parsing them anew: the model's name, the end of a stream, the usage, the cache's bounds."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.gateway.gateway_fakes import DONE, chat_event

from forebay.dataplane.gateway.answer import Tail, error_event, usage_in
from forebay.dataplane.gateway.cache import Cache, Entry
from forebay.dataplane.gateway.config import Pool
from forebay.dataplane.gateway.doors import DOORS, Ask
from forebay.dataplane.gateway.rewrite import body_for
from forebay.dataplane.gateway.trace import traceparent

POOL = Pool("default/chat", "default", "chat", "chat", "m", "Chat", frozenset())


def an_ask(raw: bytes) -> Ask:
    parsed = orjson.loads(raw)
    return Ask(DOORS["/v1/chat/completions"], parsed["model"], False, None, parsed, raw)


_text = st.text(max_size=8) | st.sampled_from(["model", '"model"', '"model": "a"', "\\", 'a"b'])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=10,
)


@given(rest=st.dictionaries(_text, _json, max_size=4), model=_text, new=_text, escaped=st.booleans(), indent=st.sampled_from([None, 2]))
def test_only_the_models_name_changes(rest: dict[str, Any], model: str, new: str, escaped: bool, indent: int | None) -> None:
    asked = {**rest, "model": model}
    raw = json.dumps(asked, ensure_ascii=escaped, indent=indent).encode()
    assert orjson.loads(body_for(an_ask(raw), new)) == {**asked, "model": new}


def test_numbers_that_json_libraries_lose_reach_the_replica_as_written() -> None:
    raw = b'{"seed": 123456789012345678901234567890, "model" : "a", "temperature": 0.10}'
    assert body_for(an_ask(raw), "org/b") == raw.replace(b'"a"', b'"org/b"')
    assert body_for(an_ask(raw), "a") is raw


@pytest.mark.parametrize(
    "raw", [b'{"model": "x", "model": "a"}', b'{"\\u006dodel": "a", "x": {"model": "a"}}', b'{"x": {"model": "a"}, "model": "a"}']
)
def test_where_it_is_not_plain_which_name_is_meant_the_body_is_written_anew(raw: bytes) -> None:
    ask = an_ask(raw)
    assert orjson.loads(body_for(ask, "b")) == {**ask.parsed, "model": "b"}


@given(cuts=st.lists(st.integers(1, 400), max_size=12), events=st.integers(0, 30))
def test_the_end_of_a_stream_is_seen_however_it_is_cut(cuts: list[int], events: int) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":34}}\n\n'
    whole = chat_event("m", "x" * 300) * events + usage + DONE
    tail, at = Tail(), 0
    for cut in [*cuts, len(whole)]:
        assert not tail.complete or at >= len(whole.rstrip())
        tail.add(whole[at : at + cut])
        at += cut
    assert tail.complete
    assert tail.usage() == (12, 34)


@pytest.mark.parametrize(
    ("stream", "complete", "failed"),
    [
        (b"", False, False),
        (b"data: [DONE]", True, False),
        (b"data:[DONE]\n\n", True, False),
        (b'data: {"content": "data: [DONE]"}\n\n', False, False),
        (chat_event("m", "data: [DONE]"), False, False),
        (b"data: {}\n\n" + error_event("gone"), False, True),
        (error_event("gone"), False, True),
        (error_event("gone") + b"data: [DONE]\n\n", False, True),
        (b'data: {"error": null, "choices": []}\n\ndata: [DONE]\n\n', True, False),
        (chat_event("m", 'data: {"error"'), False, False),
    ],
)
def test_how_a_stream_ended(stream: bytes, complete: bool, failed: bool) -> None:
    tail = Tail()
    tail.add(stream)
    assert (tail.complete, tail.failed) == (complete, failed)


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"usage": {"prompt_tokens": 1, "completion_tokens": 2}}', (1, 2)),
        (b'{"usage": {"prompt_tokens": 1, "total_tokens": 1}, "data": [0.5]}', (1, None)),
        (b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: {"usage":null}\n\n', (1, 2)),
        (json.dumps({"content": '"usage": {"prompt_tokens": 9}'}).encode(), (None, None)),
        (b'{"usage": null}', (None, None)),
        (b"not json", (None, None)),
    ],
)
def test_usage_is_read_off_the_answer(body: bytes, usage: tuple[int | None, int | None]) -> None:
    assert usage_in(body) == usage


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.integers(0, 3000)), max_size=60), st.integers(0, 10_000))
def test_the_cache_never_holds_more_than_it_may(puts: list[tuple[bytes, int]], max_bytes: int) -> None:
    cache = Cache(max_bytes)
    for key, size in puts:
        entry = Entry(b"x" * size, b"t", POOL, 0.0, 10.0)
        kept = cache.put(key, entry)
        assert (cache.get(key, 1.0) is entry) or not kept
        assert cache.bytes <= max_bytes
    for key, _ in puts:
        assert cache.get(key, 10.0) is None
    assert (cache.bytes, len(cache)) == (0, 0)


def test_the_least_recently_used_answer_goes_first() -> None:
    cache = Cache(16 * 1512)
    for index in range(16):
        assert cache.put(b"%d" % index, Entry(b"x" * 1000, b"t", POOL, 0.0, 10.0))
    assert cache.get(b"0", 1.0)
    cache.put(b"new", Entry(b"x" * 1000, b"t", POOL, 0.0, 10.0))
    assert cache.get(b"0", 1.0)
    assert cache.get(b"1", 1.0) is None


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"",
        b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01",
        b"ff-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01",
        b"00-xyz",
        b"00-" + b"1" * 32 + b"-01",
    ],
)
def test_a_trace_that_is_none_begins_here(given: bytes | None) -> None:
    header, continues = traceparent(given)
    assert (len(header), header[-2:], continues) == (55, b"00", False)


def test_a_trace_of_a_later_version_goes_on() -> None:
    header, continues = traceparent(b"01-" + b"a" * 32 + b"-" + b"1" * 16 + b"-03-more")
    assert (header[:36], header[-3:], continues) == (b"00-" + b"a" * 32 + b"-", b"-01", True)

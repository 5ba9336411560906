"""Streamed answers: passed on untouched, wherever reads cut them; usage found, and taken out only where it was put in."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.sidecar.sidecar_world import a_chunk, event

from forebay.dataplane.sidecar.sse import Stream, Usage, data_of, usage_of

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
ROLE = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
TOKENS = event(a_chunk("a")) + event(a_chunk("b", usage=None))
LAST = event({"choices": [], "usage": USAGE})
DONE = event(b"[DONE]")


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@given(cuts=st.lists(st.integers(0, 5000), max_size=30), strip=st.booleans())
def test_reads_may_cut_anywhere(line_end: bytes, cuts: list[int], strip: bool) -> None:
    sent = (b": ping\n\n" + ROLE + TOKENS + LAST + DONE).replace(b"\n", line_end)
    expected = sent.replace(LAST.replace(b"\n", line_end), b"") if strip else sent
    stream = Stream(strip_usage=strip)
    fed = [stream.feed(piece) for piece in pieces(sent, cuts)]
    assert b"".join(out for out, _ in fed) + stream.rest() == expected
    assert sum(tokens for _, tokens in fed) == 2
    assert stream.usage == Usage(5, 2) and stream.done and not stream.failed


def test_a_usage_that_comes_with_the_last_choice_is_read_and_left_in() -> None:
    stream = Stream(strip_usage=True)
    sent = TOKENS + event(a_chunk("c", usage=USAGE)) + DONE
    assert stream.feed(sent) == (sent, 3)
    assert stream.usage == Usage(5, 2)


def test_a_model_that_writes_about_usage_is_not_taken_for_the_engine() -> None:
    text = 'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9}}\n\ndata: [DONE]\n\n'
    stream = Stream(strip_usage=True)
    sent = event(a_chunk(text))
    assert stream.feed(sent) == (sent, 1)
    assert stream.usage is None and not stream.done


def test_an_error_of_the_engine_amid_a_stream_is_seen() -> None:
    stream = Stream(strip_usage=False)
    sent = TOKENS + event({"error": {"message": "out of memory"}})
    assert stream.feed(sent)[0] == sent
    assert stream.failed


def test_an_error_is_seen_behind_the_name_of_its_event() -> None:
    stream = Stream(strip_usage=False)
    stream.feed(b': note\nevent: error\ndata: {"error": {"message": "gone"}}\n\n' + DONE)
    assert stream.failed and stream.done


@given(st.lists(st.sampled_from([b"\n", b"\r", b"a", b"data: x"]), max_size=40))
def test_what_is_held_is_never_looked_at_twice_and_no_end_is_missed(parts: list[bytes]) -> None:
    whole, stream = Stream(strip_usage=False), Stream(strip_usage=False)
    at_once = whole.feed(b"".join(parts))[0]
    in_pieces = b"".join(stream.feed(part)[0] for part in parts)
    assert in_pieces + stream.rest() == at_once + whole.rest()
    assert in_pieces.rstrip(b"\r\n") == at_once.rstrip(b"\r\n")


def test_an_event_without_end_is_not_held_for_ever() -> None:
    stream = Stream(strip_usage=True)
    passed = b""
    for _ in range(40):
        passed += stream.feed(b"x" * 50_000)[0]
    assert len(passed) > 900_000


def test_reasoning_tool_calls_and_plain_text_are_tokens_and_a_role_is_not() -> None:
    for delta, expected in (({"role": "assistant"}, 0), ({"reasoning_content": "hm"}, 1), ({"tool_calls": [{"index": 0}]}, 1)):
        assert Stream(strip_usage=False).feed(event({"choices": [{"delta": delta}]}))[1] == expected
    assert Stream(strip_usage=False).feed(event({"choices": [{"text": "a"}]}))[1] == 1
    assert Stream(strip_usage=False).feed(event(b"not json"))[1] == 1


def test_data_lines_are_joined() -> None:
    assert data_of(b"event: x\r\ndata: a\r\ndata:b\r\n\r\n") == b"a\nb"


@pytest.mark.parametrize(
    "usage",
    [None, 3, {}, {"prompt_tokens": "5"}, {"prompt_tokens": -1}, {"prompt_tokens": 1, "completion_tokens": -1}, {"prompt_tokens": 2**63}],
)
def test_a_usage_that_makes_no_sense_is_none(usage: object) -> None:
    assert usage_of({"usage": usage}) is None


@given(st.binary(max_size=300))
def test_whatever_comes_passes(data: bytes) -> None:
    stream = Stream(strip_usage=False)
    assert stream.feed(data)[0] + stream.rest() == data


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
        lambda s: st.lists(s, max_size=3) | st.dictionaries(st.sampled_from(["choices", "usage", "delta", "prompt_tokens"]), s),
        max_leaves=10,
    )
)
def test_no_json_breaks_it(value: object) -> None:
    Stream(strip_usage=True).feed(b"data: " + orjson.dumps(value) + b"\n\n" + b'data: {"usage": {}}\n\n')

"""Whatever the pieces that bytes arrive in, the requests are the same; whatever the bytes, nothing breaks."""

from __future__ import annotations

import itertools
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.dataplane.http.message import Limits, Request
from forebay.dataplane.http.reader import RequestReader, Room

TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)


@st.composite
def wire_requests(draw: st.DrawFn) -> bytes:
    body = draw(st.binary(max_size=200))
    lines = [f"POST /{draw(TOKENS)}?{draw(TOKENS)} HTTP/1.1", "host: x"]
    lines += [f"x-{draw(TOKENS)}: {draw(TOKENS)}" for _ in range(draw(st.integers(0, 4)))]
    if draw(st.booleans()):
        return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[i : i + 50]), body[i : i + 50]) for i in range(0, len(body), 50))
    return "\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode() + chunks + b"0\r\n\r\n"


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(wire_requests(), min_size=1, max_size=5), st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=150, deadline=None)
def test_requests_do_not_depend_on_how_they_are_split(requests: list[bytes], cuts: list[int]) -> None:
    whole, pieces = RequestReader(Limits(), "p"), RequestReader(Limits(), "p")
    data = b"".join(requests)
    whole.feed(data)
    for piece in split(data, cuts):
        pieces.feed(piece)
    assert list(whole.ready) == list(pieces.ready)
    assert len(whole.ready) == len(requests)
    assert all(isinstance(request, Request) for request in whole.ready)


@given(st.lists(st.one_of(st.binary(max_size=100), wire_requests()), max_size=6))
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_it(pieces: list[bytes]) -> None:
    reader = RequestReader(Limits(max_body_bytes=100, max_header_bytes=100), "p")
    for piece in pieces:
        reader.feed(piece)
    assert sum(not isinstance(entry, Request) for entry in reader.ready) <= 1
    assert all(len(entry.body) <= 100 for entry in reader.ready if isinstance(entry, Request))


def test_a_body_in_tiny_chunks_takes_its_length_not_fifty_times_as_much() -> None:
    chunks = b"2\r\nab\r\n" * 4096
    reader = RequestReader(Limits(), "p")
    reader.feed(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
    tracemalloc.start()
    try:
        for _ in range(16):
            reader.feed(chunks)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * len(b"ab" * 4096 * 16)


@given(st.lists(wire_requests(), min_size=1, max_size=5), st.integers(0, 300), st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=100, deadline=None)
def test_room_taken_is_what_the_bodies_take(requests: list[bytes], room: int, cuts: list[int]) -> None:
    shared = Room(room)
    reader = RequestReader(Limits(), "p", shared)
    for piece in split(b"".join(requests), cuts):
        reader.feed(piece)
        assert shared.left == room - reader.held >= 0
    bodies = [len(entry.body) for entry in reader.ready if isinstance(entry, Request)]
    assert reader.held == sum(bodies)

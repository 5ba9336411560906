"""The one definition of accepted and lost."""

from __future__ import annotations

import pytest

from forebay.dataplane.outcome import TAIL_BYTES, Outcome, is_accepted, outcome, stream_is_whole


@pytest.mark.parametrize(
    ("status", "whole", "expected"),
    [
        (200, True, Outcome.FINISHED),
        (200, False, Outcome.LOST),
        (0, False, Outcome.LOST),
        (0, True, Outcome.LOST),
        (400, True, Outcome.REFUSED),
        (429, True, Outcome.REFUSED),
        (499, False, Outcome.REFUSED),
        (503, True, Outcome.REFUSED),
        (500, True, Outcome.LOST),
        (502, True, Outcome.LOST),
        (504, True, Outcome.LOST),
    ],
)
def test_what_becomes_of_a_request(status: int, whole: bool, expected: Outcome) -> None:
    assert outcome(status, whole=whole) is expected
    assert is_accepted(status) is (expected is not Outcome.REFUSED)


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data: [DONE]"])
def test_a_stream_with_its_end_is_whole(end: bytes) -> None:
    assert stream_is_whole((b"data: {}\n\n" * 20 + end)[-TAIL_BYTES:])


@pytest.mark.parametrize("end", [b"", b"data: {}\n\n", b'data: {"error": {}}\n\n', b"data: [DONE]\n\ndata: {}\n\n", b"data: [DO"])
def test_a_stream_without_its_end_is_not(end: bytes) -> None:
    assert not stream_is_whole(end)

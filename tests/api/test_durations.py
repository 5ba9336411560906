"""Durations as people write them, and as they are written back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.api.durations import DURATION_PATTERN, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("1h30m", 5400),
        ("0.05ms", 5e-5),
        ("0.2us", 2e-7),
        ("1.5h", 5400),
        ("1h1m1.5s", 3661.5),
        ("0s", 0),
        ("7.1ms", 0.0071),
    ],
)
def test_what_people_write(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 s", "-5s", "1d", "ms", "1e3s", "5s ", "5s\n", ".5s", "5S"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.25, "250ms"), (5400, "1h30m"), (0.00123, "1.23ms"), (2e-7, "200ns"), (90, "1m30s"), (86400, "24h")]
)
def test_what_is_written_back(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e7, allow_nan=False, allow_subnormal=False))
def test_what_is_written_is_read_back_as_the_same_number(seconds: float) -> None:
    """A recorded decision is planned again from it, and must come out the same."""
    text = format_duration(seconds)
    assert re.match(DURATION_PATTERN, text) and parse_duration(text) == seconds

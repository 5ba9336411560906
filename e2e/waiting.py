"""Waiting for what a cluster does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.1


def eventually(what: str, probe: Callable[[], T], timeout_s: float = 60.0) -> T:
    """The first truthy answer of `probe`, asked again and again.

    Raises:
        AssertionError: none in time; it names what was waited for and the last answer.
    """
    deadline = time.monotonic() + timeout_s
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:.0f} s; last answer {answer!r}")
        time.sleep(POLL_S)
    return answer


def holds(what: str, probe: Callable[[], bool], for_s: float) -> None:
    """`probe` is true all the time, as far as asking again and again can tell.

    Raises:
        AssertionError: it was not once.
    """
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert probe(), what
        time.sleep(POLL_S)

"""Rows that come a little late, as from a log that several processes write, put into order without reading the whole file."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from forebay.simulation.files import WorkloadError

MOST_HELD = 1_000_000

Timed = tuple[float, int, Any, Any]
"""Seconds, the line, and what else belongs to the row."""


def in_order(rows: Iterator[Timed], window_s: float, name: str) -> Iterator[Timed]:
    """The rows by their times. None may come more than `window_s` after one that is later than it.

    Raises:
        WorkloadError: a row comes too late, or the window holds more than can be kept.
    """
    held: list[tuple[float, int, Any, Any]] = []
    newest = None
    for row in rows:
        at, number = row[0], row[1]
        newest = at if newest is None else max(newest, at)
        if newest - at > window_s:
            allowed = f", and {window_s:g} s are allowed for" if window_s else ""
            raise WorkloadError(
                f"{name}, line {number}: arrives {newest - at:g} s before a line above{allowed}; sort it by time, or say --disorder"
            )
        if not window_s:
            yield row
            continue
        # Lines are unique, so that nothing behind them is ever compared.
        heapq.heappush(held, row)
        while held and held[0][0] <= newest - window_s:
            yield heapq.heappop(held)
        if len(held) > MOST_HELD:
            raise WorkloadError(f"{name}, line {number}: more than {MOST_HELD:,} lines within {window_s:g} s: say a shorter --disorder")
    while held:
        yield heapq.heappop(held)

"""Workloads from files: one request per line as CSV or JSON lines, gzipped or not, read as a stream whatever its length.

Public traces load as they are: Azure's LLM traces (TIMESTAMP, ContextTokens, GeneratedTokens), Mooncake's (timestamp in ms, input_length,
output_length), BurstGPT's (Timestamp, Request tokens, Response tokens). Columns that are not needed are left alone; a column that is
needed and missing, a line that cannot be read, a time before the one above it and a gap of more than a day are errors that name the line.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forebay.api.meta import format_duration
from forebay.simulation.files import Position, WorkloadError, beginning, csv_rows, name_of, number_of, opened
from forebay.simulation.order import in_order
from forebay.simulation.rates import Rates, from_rates, has_rates, read_rates
from forebay.simulation.request import Request
from forebay.simulation.trace_columns import NO_TOKENS, REQUESTS, Columns, columns_of, tokens_of

__all__ = ["MAX_GAP_S", "Rates", "from_rates", "has_rates", "read", "read_rates"]

MAX_GAP_S = 86_400.0
"""A longer time without a request is an error in the file, unless it is allowed for."""


def read(
    path: Path,
    default_class: str = "default",
    *,
    disorder_s: float = 0.0,
    max_gap_s: float = MAX_GAP_S,
    time_unit_s: float | None = None,
    position: Position | None = None,
    needed: Collection[str] = REQUESTS,
    served: Collection[str] = (),
) -> Iterator[Request]:
    """The requests of a file, or of standard input for `-`, in the order of their arrivals, the first at 0 s.

    Lines may be late by `disorder_s`. `time_unit_s` says how many seconds one unit of times that are numbers is, such as 0.001 for
    milliseconds; without it the columns' names tell, and are seconds where they do not. Dates with times are what they are.
    Where `needed` has no output tokens, as of embeddings, answers have none, whatever the file says of them. Any class will do, unless
    `served` says which.

    Raises:
        WorkloadError: the file is not there or not a workload, or a line of it cannot be used.
    """
    name = name_of(path)
    answers = "output" in needed
    reader = _json_lines if beginning(path).lstrip()[:1] in ("{", "[") else _csv_lines
    with opened(path, position) as lines:
        rows = (
            (_time(row, columns, number, name), number, columns, row) for number, columns, row in reader(lines, name, needed, time_unit_s)
        )
        first: float | None = None
        last = 0.0
        for at, number, columns, row in in_order(rows, disorder_s, name):
            first = at if first is None else first
            if at - first - last > max_gap_s:
                raise WorkloadError(
                    f"{name}, line {number}: arrives {format_duration(round(at - first - last))} after the one before it:"
                    " cut the trace there, correct the unit of its times, or say --max-gap"
                )
            last = at - first
            yield Request(
                last,
                max(1, _tokens(row, columns, "input", number, name)),
                max(1, _tokens(row, columns, "output", number, name)) if answers else 0,
                _class(row, columns, served, number, name) or default_class,
                str(row.get(columns.of.get("tenant", ""), "") or ""),
            )
    if first is None:
        raise WorkloadError(f"{name}: there is no request in it")


Row = dict[str, Any]


def _csv_lines(lines: Iterator[str], name: str, needed: Collection[str], time_unit_s: float | None) -> Iterator[tuple[int, Columns, Row]]:
    rows = csv_rows(lines, name)
    number, header = next(rows, (1, []))
    columns = columns_of(header, f"{name}, line {number}", needed, time_unit_s=time_unit_s)
    for number, cells in rows:
        if len(cells) != len(header):
            raise WorkloadError(f"{name}, line {number}: {len(cells)} cells where the header has {len(header)}")
        yield number, columns, dict(zip(header, cells, strict=True))


def _json_lines(lines: Iterator[str], name: str, needed: Collection[str], time_unit_s: float | None) -> Iterator[tuple[int, Columns, Row]]:
    keys: Collection[str] | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            # The error's own count of lines is within this one.
            what = f"{error.msg} (character {error.pos + 1})" if isinstance(error, json.JSONDecodeError) else str(error)[:80]
            raise WorkloadError(f"{name}, line {number}: not JSON: {what}; a workload has one object per line") from error
        if not isinstance(row, dict):
            raise WorkloadError(f"{name}, line {number}: not an object; a workload has one object per line")
        if row.keys() != keys:
            # An object may leave out what another one has, such as a class.
            keys, columns = row.keys(), columns_of(list(row), f"{name}, line {number}", needed, time_unit_s=time_unit_s)
        yield number, columns, row


def _time(row: Row, columns: Columns, number: int, name: str) -> float:
    value = row.get(columns.of["arrival"])
    seconds = number_of(value)
    if seconds is None and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            moment = None
        if moment is not None:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if seconds is None:
        raise WorkloadError(f"{name}, line {number}: {columns.of['arrival']} is {str(value)[:40]!r}: neither a number nor a date and time")
    if seconds < 0.0:
        raise WorkloadError(f"{name}, line {number}: {columns.of['arrival']} is {str(value)[:40]!r}: times are from 0 on")
    return seconds * columns.unit_s


def _class(row: Row, columns: Columns, served: Collection[str], number: int, name: str) -> str:
    """The class that a row names; empty where it names none."""
    found = str(row.get(columns.of.get("class", ""), "") or "")
    if found and served and found not in served:
        raise WorkloadError(
            f"{name}, line {number}: {columns.of['class']} is {found[:40]!r}, and the pool serves {', '.join(sorted(served))}:"
            " correct it, or add the class to the pool; --class is for requests that name none"
        )
    return found


def _tokens(row: Row, columns: Columns, what: str, number: int, name: str) -> int:
    value = row.get(columns.of[what])
    count = tokens_of(value)
    if count is None:
        raise WorkloadError(f"{name}, line {number}: {columns.of[what]} is {str(value)[:40]!r}: {NO_TOKENS}")
    return count

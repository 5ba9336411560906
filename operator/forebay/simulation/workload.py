"""Workloads from files: one request per line as CSV or JSON lines, gzipped or not, read as a stream whatever its length.

Public traces load as they are: Azure's LLM traces (TIMESTAMP, ContextTokens, GeneratedTokens), Mooncake's (timestamp in ms, input_length,
output_length), BurstGPT's (Timestamp, Request tokens, Response tokens). Columns that are not needed are left alone; a column that is
needed and missing, a line that cannot be read, a time before the one above it and a gap of more than a day are errors that name the line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from forebay.api.meta import format_duration
from forebay.simulation.arrivals import MAX_CV, renewal
from forebay.simulation.files import Position, WorkloadError, number_of, opened
from forebay.simulation.lengths import Lengths
from forebay.simulation.order import in_order
from forebay.simulation.request import Request
from forebay.simulation.trace_columns import MAX_TOKENS, Columns, columns_of

MAX_GAP_S = 86_400.0
"""A longer time without a request is an error in the file, unless it is allowed for."""

MAX_STEPS, MAX_RATES, MAX_HEADER = 1.5, 200_000, 10_000
"""Of a trace of rates: the longest step over the first one, most steps, and characters of its header."""


def read(
    path: Path,
    default_class: str = "default",
    *,
    disorder_s: float = 0.0,
    max_gap_s: float = MAX_GAP_S,
    position: Position | None = None,
) -> Iterator[Request]:
    """The requests of a file in the order of their arrivals, the first at 0 s. Lines may be late by `disorder_s`.

    Raises:
        WorkloadError: the file is not there or not a workload, or a line of it cannot be used.
    """
    name = path.name.removesuffix(".gz")
    reader = _json_lines if name.endswith((".jsonl", ".json", ".ndjson")) else _csv_rows
    with opened(path, position) as lines:
        rows = ((_time(row, columns, number, path.name), number, columns, row) for number, columns, row in reader(lines, path.name))
        first: float | None = None
        last = 0.0
        for at, number, columns, row in in_order(rows, disorder_s, path.name):
            first = at if first is None else first
            if at - first - last > max_gap_s:
                raise WorkloadError(
                    f"{path.name}, line {number}: arrives {format_duration(round(at - first - last))} after the one before it:"
                    " cut the trace there, correct the unit of its times, or say --max-gap"
                )
            last = at - first
            yield Request(
                last,
                max(1, _tokens(row, columns, "input", number, path.name)),
                max(1, _tokens(row, columns, "output", number, path.name)),
                str(row.get(columns.of.get("class", ""), "") or default_class),
                str(row.get(columns.of.get("tenant", ""), "") or ""),
            )
    if first is None:
        raise WorkloadError(f"{path.name}: there is no request in it")


Row = dict[str, Any]


def _csv_rows(lines: io.TextIOBase, name: str) -> Iterator[tuple[int, Columns, Row]]:
    reader = csv.reader(lines)
    try:
        header = next(reader, [])
        columns = columns_of(header, f"{name}, line 1")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise WorkloadError(f"{name}, line {reader.line_num}: {len(cells)} cells where the header has {len(header)}")
            yield reader.line_num, columns, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise WorkloadError(f"{name}, line {reader.line_num + 1}: {error}") from error


def _json_lines(lines: io.TextIOBase, name: str) -> Iterator[tuple[int, Columns, Row]]:
    columns: Columns | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise WorkloadError(f"{name}, line {number}: not JSON: {str(error)[:80]}; a workload has one object per line") from error
        if not isinstance(row, dict):
            raise WorkloadError(f"{name}, line {number}: not an object; a workload has one object per line")
        columns = columns or columns_of(list(row), f"{name}, line {number}")
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
    return seconds * columns.unit_s


def _tokens(row: Row, columns: Columns, what: str, number: int, name: str) -> int:
    value = row.get(columns.of[what])
    count = number_of(value)
    if count is None or not 0 <= count <= MAX_TOKENS:
        raise WorkloadError(f"{name}, line {number}: {columns.of[what]} is {str(value)[:40]!r}: not a count from 0 to {MAX_TOKENS:,}")
    return round(count)


@dataclass(frozen=True, slots=True)
class Rates:
    """A rate over time: (s, requests/s) in the middle of each step, and the coefficient of variation of the gaps from a time on."""

    knots: tuple[tuple[float, float], ...]
    cv_from: tuple[tuple[float, float], ...]

    @property
    def mean_rps(self) -> float:
        """Over the whole span."""
        area = sum(0.5 * (r0 + r1) * (t1 - t0) for (t0, r0), (t1, r1) in zip(self.knots, self.knots[1:], strict=False))
        return area / (self.knots[-1][0] - self.knots[0][0])

    def scaled_to(self, mean_rps: float) -> Rates:
        """The same shape at another mean."""
        factor = mean_rps / self.mean_rps
        return Rates(tuple((t, r * factor) for t, r in self.knots), self.cv_from)

    def cv_at(self) -> Callable[[float], float]:
        """The coefficient of variation at times that only go forward."""
        steps, index = self.cv_from, 0

        def at(now: float) -> float:
            nonlocal index
            while index + 1 < len(steps) and steps[index + 1][0] <= now:
                index += 1
            return steps[index][1]

        return at


def _rate_rows(lines: io.TextIOBase, name: str) -> Iterator[tuple[int, float, float, float]]:
    """Line, seconds, requests/s, and the coefficient of variation, 1 where it is not known."""
    reader = csv.DictReader(lines)
    try:
        for row in reader:
            at, rate, cv = (number_of(row.get(column)) for column in ("ts_s", "total_rate_rps", "rate_weighted_cv"))
            if at is None or rate is None or rate < 0:
                raise WorkloadError(f"{name}, line {reader.line_num}: ts_s and total_rate_rps must be numbers, the rate from 0")
            yield reader.line_num, at, rate, cv or 1.0
    except csv.Error as error:
        raise WorkloadError(f"{name}, line {reader.line_num + 1}: {error}") from error


def read_rates(path: Path, max_cv: float = MAX_CV) -> Rates:
    """A trace of rates: columns ts_s and total_rate_rps, and rate_weighted_cv where it is known. Raises WorkloadError."""
    rows: list[tuple[float, float, float]] = []
    with opened(path) as lines:
        for number, at, rate, cv in _rate_rows(lines, path.name):
            if rows and at <= rows[-1][0]:
                raise WorkloadError(f"{path.name}, line {number}: ts_s does not rise; sort it by time")
            step_s = rows[1][0] - rows[0][0] if len(rows) > 1 else inf
            if rows and at - rows[-1][0] > MAX_STEPS * step_s:
                raise WorkloadError(
                    f"{path.name}, line {number}: {at - rows[-1][0]:g} s after the line above, where steps are {step_s:g} s:"
                    " fill the gap in, with a rate of 0 where nothing came"
                )
            if len(rows) >= MAX_RATES:
                raise WorkloadError(f"{path.name}, line {number}: more than {MAX_RATES:,} steps: sum them up into longer ones")
            rows.append((at, rate, min(max(cv, 0.1), max_cv)))
    if len(rows) < 2:
        raise WorkloadError(f"{path.name}: a trace of rates has at least two rows")
    if not any(rate for _, rate, _ in rows):
        raise WorkloadError(f"{path.name}: every rate is 0")
    half = 0.5 * (rows[1][0] - rows[0][0])
    first = rows[0][0]
    knots = [(0.0, rows[0][1]), *((t - first + half, r) for t, r, _ in rows), (rows[-1][0] - first + 2 * half, rows[-1][1])]
    return Rates(tuple(knots), tuple((t - first, cv) for t, _, cv in rows))


def has_rates(path: Path) -> bool:
    """Whether a file holds rates over time instead of requests. Raises WorkloadError."""
    with opened(path) as lines:
        return {"ts_s", "total_rate_rps"} <= {cell.strip() for cell in lines.readline(MAX_HEADER).split(",")}


def from_rates(rates: Rates, seed: int, lengths: Lengths, batch_class: str) -> Iterator[Request]:
    """Requests that come at these rates, with lengths that are drawn."""
    for at, (input_tokens, output_tokens) in zip(renewal(rates.knots, seed, rates.cv_at()), lengths.drawn(seed), strict=False):
        yield Request(at, input_tokens, output_tokens, batch_class)

"""Workloads from files: one request per line as CSV or JSON lines, gzipped or not, read as a stream whatever its length.

Public traces load as they are: Azure's LLM traces (TIMESTAMP, ContextTokens, GeneratedTokens), Mooncake's (timestamp in ms, input_length,
output_length), BurstGPT's (Timestamp, Request tokens, Response tokens). Columns that are not needed are left alone; a column that is
needed and missing, a line that cannot be read, and a time before the one above it are errors that name the line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from forebay.runtime.errors import ForebayError
from forebay.simulation.arrivals import MAX_CV, renewal
from forebay.simulation.request import Request

MAX_TOKENS = 10_000_000
"""More tokens in one request than this are an error in the file."""

_NAMES = {
    "arrival": (
        *("arrivaltime", "arrivaltimes", "arrivaltimems", "arrival", "arrivals", "arrived", "arrivedat"),
        *("timestamp", "timestampms", "timestamps", "time", "ts"),
    ),
    "input": ("inputtokens", "inputlength", "contexttokens", "requesttokens", "prompttokens", "numprefilltokens", "input"),
    "output": ("outputtokens", "outputlength", "generatedtokens", "responsetokens", "completiontokens", "numdecodetokens", "output"),
    "class": ("class", "batchclass", "servicetier"),
    "tenant": ("tenant", "user", "client"),
}
_NEEDED = {"arrival": "arrival_time_s", "input": "input_tokens", "output": "output_tokens"}
_IN_MS = frozenset({"arrivaltimems", "timestampms"})
_MOONCAKE = frozenset({"inputlength", "outputlength"})


class WorkloadError(ForebayError):
    """A workload's file cannot be used; the message names the line."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column holds what, and the seconds in one unit of the time."""

    of: dict[str, str]
    unit_s: float


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _columns(names: list[str], where: str) -> _Columns:
    plain = {_plain(name): name for name in reversed(names) if name}
    of = {}
    for what, known in _NAMES.items():
        found = next((plain[k] for k in known if k in plain), None)
        if found is not None:
            of[what] = found
    if missing := [name for what, name in _NEEDED.items() if what not in of]:
        has = ", ".join(n[:40] for n in names[:12]) or "nothing"
        raise WorkloadError(
            f"{where}: no column for {' and '.join(missing)}: there is {has}. Needed are {', '.join(_NEEDED.values())},"
            " or the columns of Azure's, Mooncake's or BurstGPT's traces"
        )
    in_ms = _plain(of["arrival"]) in _IN_MS or (_plain(of["arrival"]) == "timestamp" and plain.keys() >= _MOONCAKE)
    return _Columns(of, 0.001 if in_ms else 1.0)


def read(path: Path, default_class: str = "default") -> Iterator[Request]:
    """The requests of a file in the order of their arrivals, the first at 0 s.

    Raises:
        WorkloadError: the file is not there or not a workload, or a line of it cannot be used.
    """
    name = path.name.removesuffix(".gz")
    reader = _json_lines if name.endswith((".jsonl", ".json", ".ndjson")) else _csv_rows
    first: float | None = None
    last = 0.0
    with _opened(path) as lines:
        for number, columns, row in reader(lines, path.name):
            at = _time(row, columns, number, path.name)
            first = at if first is None else first
            if at - first < last:
                raise WorkloadError(f"{path.name}, line {number}: arrives {last - (at - first):g} s before the line above; sort it by time")
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


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOBase]:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if packed else raw as plain, io.TextIOWrapper(plain, "utf-8-sig", newline="") as text:
                yield text
    except OSError as error:
        raise WorkloadError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise WorkloadError(f"{path.name} is not text: a workload is CSV or JSON lines, gzipped or not") from error
    except EOFError as error:
        raise WorkloadError(f"{path.name} ends in the middle: it is cut off") from error


Row = dict[str, Any]


def _csv_rows(lines: io.TextIOBase, name: str) -> Iterator[tuple[int, _Columns, Row]]:
    reader = csv.reader(lines)
    try:
        header = next(reader, [])
        columns = _columns(header, f"{name}, line 1")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise WorkloadError(f"{name}, line {reader.line_num}: {len(cells)} cells where the header has {len(header)}")
            yield reader.line_num, columns, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise WorkloadError(f"{name}, line {reader.line_num}: {error}") from error


def _json_lines(lines: io.TextIOBase, name: str) -> Iterator[tuple[int, _Columns, Row]]:
    columns: _Columns | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise WorkloadError(f"{name}, line {number}: not JSON: {str(error)[:80]}; a workload has one object per line") from error
        if not isinstance(row, dict):
            raise WorkloadError(f"{name}, line {number}: not an object; a workload has one object per line")
        columns = columns or _columns(list(row), f"{name}, line {number}")
        yield number, columns, row


def _time(row: Row, columns: _Columns, number: int, name: str) -> float:
    value = row.get(columns.of["arrival"])
    seconds = _number(value)
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


def _tokens(row: Row, columns: _Columns, what: str, number: int, name: str) -> int:
    value = row.get(columns.of[what])
    count = _number(value)
    if count is None or not 0 <= count <= MAX_TOKENS:
        raise WorkloadError(f"{name}, line {number}: {columns.of[what]} is {str(value)[:40]!r}: not a count from 0 to {MAX_TOKENS:,}")
    return round(count)


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


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


def read_rates(path: Path, max_cv: float = MAX_CV) -> Rates:
    """A trace of rates: columns ts_s and total_rate_rps, and rate_weighted_cv where it is known. Raises WorkloadError."""
    rows: list[tuple[float, float, float]] = []
    with _opened(path) as lines:
        for number, row in enumerate(csv.DictReader(lines), 2):
            cells = [_number(row.get(c)) for c in ("ts_s", "total_rate_rps")]
            cv = _number(row.get("rate_weighted_cv", "1"))
            if None in cells or cells[1] < 0:  # type: ignore[operator]
                raise WorkloadError(f"{path.name}, line {number}: ts_s and total_rate_rps must be numbers, the rate from 0")
            at, rate = cells
            if rows and at <= rows[-1][0]:  # type: ignore[operator]
                raise WorkloadError(f"{path.name}, line {number}: ts_s does not rise; sort it by time")
            rows.append((at, rate, min(max(cv or 1.0, 0.1), max_cv)))  # type: ignore[arg-type]
    if len(rows) < 2:
        raise WorkloadError(f"{path.name}: a trace of rates has at least two rows")
    half = 0.5 * (rows[1][0] - rows[0][0])
    first = rows[0][0]
    knots = [(0.0, rows[0][1]), *((t - first + half, r) for t, r, _ in rows), (rows[-1][0] - first + 2 * half, rows[-1][1])]
    return Rates(tuple(knots), tuple((t - first, cv) for t, _, cv in rows))


def has_rates(path: Path) -> bool:
    """Whether a file holds rates over time instead of requests. Raises WorkloadError."""
    with _opened(path) as lines:
        return {"ts_s", "total_rate_rps"} <= set(next(csv.reader(lines), []))


def from_rates(rates: Rates, seed: int, input_tokens: int, output_tokens: int, batch_class: str) -> Iterator[Request]:
    """Requests that come at these rates, all alike."""
    for at in renewal(rates.knots, seed, rates.cv_at()):
        yield Request(at, input_tokens, output_tokens, batch_class)

"""Workloads that are rates over time, from which requests are drawn."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path

from forebay.simulation.arrivals import MAX_CV, renewal
from forebay.simulation.files import WorkloadError, beginning, csv_rows, name_of, number_of, opened, shown
from forebay.simulation.lengths import Lengths
from forebay.simulation.request import Request

MAX_STEPS, MAX_RATES = 1.5, 200_000
"""The longest step over the first one, and most steps."""

_LEAST_CV = 0.1
_AT, _TOTAL, _TOTAL_CV = "ts_s", "total_rate_rps", "rate_weighted_cv"

Step = tuple[float, float, float]
"""Seconds, requests/s, and the coefficient of variation of the gaps."""


@dataclass(frozen=True, slots=True)
class Rates:
    """A rate over time: (s, requests/s) in the middle of each step, and the coefficient of variation of the gaps from a time on."""

    knots: tuple[tuple[float, float], ...]
    cv_from: tuple[tuple[float, float], ...]

    @property
    def mean_rps(self) -> float:
        """Over the whole span."""
        area = sum(0.5 * (r0 + r1) * (t1 - t0) for (t0, r0), (t1, r1) in pairwise(self.knots))
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


def has_rates(path: Path) -> bool:
    """Whether a file holds rates over time instead of requests. Raises WorkloadError."""
    first, _, _ = beginning(path).partition("\n")
    header = {cell.strip() for cell in next(csv.reader([first]), [])}
    return {_AT, _TOTAL} <= header


def read_rates(path: Path, max_cv: float = MAX_CV) -> Rates:
    """A trace of rates: columns ts_s and total_rate_rps, and rate_weighted_cv where it is known.

    Raises:
        WorkloadError: the file is not there or not a trace of rates, or a row of it cannot be used; the message names the line.
    """
    name = name_of(path)
    with opened(path) as lines:
        rows = csv_rows(lines, name)
        number, header = next(rows, (1, []))
        columns = {cell.strip(): place for place, cell in enumerate(header)}
        if missing := [column for column in (_AT, _TOTAL) if column not in columns]:
            raise WorkloadError(
                f"{name}, line {number}: no column for {' and '.join(missing)}: there is {', '.join(map(shown, header[:12]))}"
            )
        steps = _totals(_cells(rows, len(header), name), columns)
    if len(steps) < 2:
        raise WorkloadError(f"{name}: a trace of rates has at least two rows")
    if not any(rate for _, rate, _ in steps):
        raise WorkloadError(f"{name}: every rate is 0")
    first, half = steps[0][0], 0.5 * (steps[1][0] - steps[0][0])
    knots = [(0.0, steps[0][1]), *((t - first + half, r) for t, r, _ in steps), (steps[-1][0] - first + 2 * half, steps[-1][1])]
    return Rates(tuple(knots), tuple((t - first, min(max(cv, _LEAST_CV), max_cv)) for t, _, cv in steps))


def _cells(rows: Iterator[tuple[int, list[str]]], count: int, name: str) -> Iterator[tuple[str, list[str]]]:
    """Where each row is, and its cells."""
    for number, cells in rows:
        if len(cells) != count:
            raise WorkloadError(f"{name}, line {number}: {len(cells)} cells where the header has {count}")
        yield f"{name}, line {number}", cells


def _step(cells: list[str], columns: dict[str, int], where: str) -> Step:
    """What a row says; a coefficient of variation of 1 where it is not known."""
    at, rate = number_of(cells[columns[_AT]]), number_of(cells[columns[_TOTAL]])
    if at is None or rate is None or rate < 0:
        raise WorkloadError(f"{where}: {_AT} and {_TOTAL} must be numbers, the rate from 0")
    said = cells[columns[_TOTAL_CV]].strip() if _TOTAL_CV in columns else ""
    cv = number_of(said) if said else 1.0
    if cv is None or cv < 0:
        raise WorkloadError(f"{where}: {_TOTAL_CV} is {said[:40]!r}: not a number from 0 on")
    return at, rate, cv or 1.0


def _totals(rows: Iterator[tuple[str, list[str]]], columns: dict[str, int]) -> list[Step]:
    steps: list[Step] = []
    for where, cells in rows:
        at, rate, cv = _step(cells, columns, where)
        if steps and at <= steps[-1][0]:
            raise WorkloadError(f"{where}: {_AT} does not rise; sort it by time")
        step_s = steps[1][0] - steps[0][0] if len(steps) > 1 else inf
        if steps and at - steps[-1][0] > MAX_STEPS * step_s:
            raise WorkloadError(
                f"{where}: {at - steps[-1][0]:g} s after the line above, where steps are {step_s:g} s:"
                " fill the gap in, with a rate of 0 where nothing came"
            )
        if len(steps) >= MAX_RATES:
            raise _too_many(where)
        steps.append((at, rate, cv))
    return steps


def _too_many(where: str) -> WorkloadError:
    return WorkloadError(f"{where}: more than {MAX_RATES:,} steps: sum them up into longer ones")


def from_rates(rates: Rates, seed: int, lengths: Lengths, batch_class: str) -> Iterator[Request]:
    """Requests that come at these rates, with lengths that are drawn."""
    for at, (input_tokens, output_tokens) in zip(renewal(rates.knots, seed, rates.cv_at()), lengths.drawn(seed), strict=False):
        yield Request(at, input_tokens, output_tokens, batch_class)

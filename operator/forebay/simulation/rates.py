"""Workloads that are rates over time, from which requests are drawn: of all clients together, or ServeGen's, of one client a row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path

from forebay.simulation.arrivals import MAX_CV, renewal
from forebay.simulation.files import WorkloadError, alike_rows, beginning, csv_rows, name_of, number_of, opened, shown
from forebay.simulation.lengths import Lengths
from forebay.simulation.request import Request

MAX_STEPS, MAX_RATES = 1.5, 200_000
"""The longest step over the first one, and most steps."""

_LEAST_CV = 0.1
_AT, _TOTAL, _TOTAL_CV = "ts_s", "total_rate_rps", "rate_weighted_cv"
_CLIENT, _ONE, _ONE_CV = "client", "rate_rps", "cv"

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
    return _AT in header and bool(header & {_TOTAL, _ONE})


def read_rates(path: Path, max_cv: float = MAX_CV) -> Rates:
    """A trace of rates: ts_s and total_rate_rps, perhaps rate_weighted_cv; or of single clients, ts_s, rate_rps and perhaps client and cv.

    Those of clients are summed up, and a step in which none of them is has a rate of 0.

    Raises:
        WorkloadError: the file is not there or not a trace of rates, or a row of it cannot be used; the message names the line.
    """
    name = name_of(path)
    with opened(path) as lines:
        rows = csv_rows(lines, name)
        number, header = next(rows, (1, []))
        columns = {cell.strip(): place for place, cell in enumerate(header)}
        of_clients = _TOTAL not in columns and _ONE in columns
        if missing := [column for column in (_AT, _ONE if of_clients else _TOTAL) if column not in columns]:
            raise WorkloadError(
                f"{name}, line {number}: no column for {' and '.join(missing)}: there is {', '.join(map(shown, header[:12]))}"
            )
        rates = _clients if of_clients else _totals
        steps = rates(alike_rows(rows, len(header), name), columns, name)
    if len(steps) < 2:
        raise WorkloadError(f"{name}: a trace of rates has at least two {'steps' if of_clients else 'rows'}")
    if not any(rate for _, rate, _ in steps):
        raise WorkloadError(f"{name}: every rate is 0")
    first, half = steps[0][0], 0.5 * (steps[1][0] - steps[0][0])
    knots = [(0.0, steps[0][1]), *((t - first + half, r) for t, r, _ in steps), (steps[-1][0] - first + 2 * half, steps[-1][1])]
    return Rates(tuple(knots), tuple((t - first, min(max(cv, _LEAST_CV), max_cv)) for t, _, cv in steps))


def _step(cells: list[str], columns: dict[str, int], names: tuple[str, str], where: str) -> Step:
    """What a row says; a coefficient of variation of 1 where it is not known."""
    rate_name, cv_name = names
    at, rate = number_of(cells[columns[_AT]]), number_of(cells[columns[rate_name]])
    if at is None or rate is None or rate < 0:
        raise WorkloadError(f"{where}: {_AT} and {rate_name} must be numbers, the rate from 0")
    said = cells[columns[cv_name]].strip() if cv_name in columns else ""
    cv = number_of(said) if said else 1.0
    if cv is None or cv < 0:
        raise WorkloadError(f"{where}: {cv_name} is {said[:40]!r}: not a number from 0 on")
    return at, rate, cv or 1.0


def _totals(rows: Iterator[tuple[str, list[str]]], columns: dict[str, int], name: str) -> list[Step]:
    steps: list[Step] = []
    for where, cells in rows:
        at, rate, cv = _step(cells, columns, (_TOTAL, _TOTAL_CV), where)
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


def _clients(rows: Iterator[tuple[str, list[str]]], columns: dict[str, int], name: str) -> list[Step]:
    """The sums of clients' rates; their coefficients of variation are averaged by rate, as ServeGen's own totals are."""
    sums: dict[float, tuple[float, float]] = {}
    before: tuple[str, float] | None = None
    for where, cells in rows:
        at, rate, cv = _step(cells, columns, (_ONE, _ONE_CV), where)
        client = cells[columns[_CLIENT]] if _CLIENT in columns else ""
        if client and before and before[0] == client and at <= before[1]:
            raise WorkloadError(f"{where}: {_AT} does not rise for client {shown(client)}; sort it by client and time")
        before = client, at
        if at not in sums and len(sums) >= MAX_RATES:
            raise _too_many(where)
        total, weighted = sums.get(at, (0.0, 0.0))
        sums[at] = total + rate, weighted + rate * cv
    times = sorted(sums)
    step_s = min((after - at for at, after in pairwise(times)), default=inf)
    steps: list[Step] = []
    for at in times:
        missing = round((at - steps[-1][0]) / step_s) - 1 if steps else 0
        if steps and abs(at - steps[-1][0] - (missing + 1) * step_s) > 0.01 * step_s:
            raise WorkloadError(f"{name}: {_AT} of {at:g} is no whole number of steps of {step_s:g} s after {steps[-1][0]:g}")
        if len(steps) + missing >= MAX_RATES:
            raise _too_many(f"{name}, {_AT} of {at:g}")
        last = steps[-1][0] if steps else at
        steps += [(last + (n + 1) * step_s, 0.0, 1.0) for n in range(missing)]
        rate, weighted = sums[at]
        steps.append((at, rate, weighted / rate if rate else 1.0))
    return steps


def _too_many(where: str) -> WorkloadError:
    return WorkloadError(f"{where}: more than {MAX_RATES:,} steps: sum them up into longer ones")


def from_rates(rates: Rates, seed: int, lengths: Lengths, batch_class: str) -> Iterator[Request]:
    """Requests that come at these rates, with lengths that are drawn."""
    for at, input_tokens, output_tokens in lengths.drawn(renewal(rates.knots, seed, rates.cv_at()), seed):
        yield Request(at, input_tokens, output_tokens, batch_class)

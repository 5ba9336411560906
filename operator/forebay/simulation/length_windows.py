"""Lengths of requests by what is known of their distribution: rows of client, ts_s, field, mean and p50, as ServeGen's reduction has them.

Within each of the file's windows lengths are log-normal, with the median and the mean that its clients have on average: how many requests
each of them sends is not in it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import fmean

from forebay.simulation.files import WorkloadError, alike_rows, number_of

COLUMNS = ("ts_s", "field", "mean", "p50")
MOST = {"input_tokens": 32_000, "output_tokens": 8_000}
"""The fields that are read, and the most tokens of each in one request."""
MOST_WINDOWS = 20_000

Law = tuple[float, float]
"""Of the logarithm: mean and standard deviation."""


@dataclass(frozen=True, slots=True)
class ByWindow:
    """The laws of input and output tokens in windows of so many seconds, over and over."""

    window_s: float
    windows: tuple[tuple[Law, Law], ...]

    @property
    def mean(self) -> tuple[float, float]:
        """Input and output tokens of a mean request."""
        inputs, outputs = zip(*self.windows, strict=True)
        return fmean(exp(m + s * s / 2) for m, s in inputs), fmean(exp(m + s * s / 2) for m, s in outputs)

    def drawn(self, times: Iterable[float], seed: int) -> Iterator[tuple[float, int, int]]:
        """Times with their lengths."""
        chance = random.Random(seed + 1)
        for at in times:
            laws = self.windows[int(at // self.window_s) % len(self.windows)]
            inputs, outputs = (min(most, max(1, round(chance.lognormvariate(*law)))) for law, most in zip(laws, MOST.values(), strict=True))
            yield at, inputs, outputs


def has_windows(header: list[str]) -> bool:
    """Whether a file with these columns is of this kind."""
    return set(COLUMNS) <= set(header)


def read_windows(rows: Iterable[tuple[int, list[str]]], header: list[str], name: str) -> ByWindow:
    """The windows of a file, whose rows come with their lines' numbers.

    Raises:
        WorkloadError: a row cannot be used, or there are no two windows; the message names the line.
    """
    at, field, mean, median = (header.index(column) for column in COLUMNS)
    found: dict[float, dict[str, list[tuple[float, float]]]] = {}
    for where, cells in alike_rows(rows, len(header), name):
        if cells[field] not in MOST:
            continue
        start, average, middle = (_number(cells[place], header[place], where) for place in (at, mean, median))
        if start not in found and len(found) >= MOST_WINDOWS:
            raise WorkloadError(f"{where}: more than {MOST_WINDOWS:,} windows: sum them up into longer ones")
        found.setdefault(start, {}).setdefault(cells[field], []).append((average, middle))
    starts = sorted(start for start, fields in found.items() if set(fields) == set(MOST))
    if len(starts) < 2:
        raise WorkloadError(f"{name}: rows with the field {' and '.join(MOST)} are needed for two times at least, there are {len(starts)}")
    inputs, outputs = ([_law(found[start][name]) for start in starts] for name in MOST)
    return ByWindow(starts[1] - starts[0], tuple(zip(inputs, outputs, strict=True)))


def _number(cell: str, column: str, where: str) -> float:
    found = number_of(cell)
    if found is None or not 0 <= found < 1e9:
        raise WorkloadError(f"{where}: {column} is {cell[:40]!r}: not a number from 0")
    return found


def _law(rows: list[tuple[float, float]]) -> Law:
    mean, median = fmean(m for m, _ in rows), max(1.0, fmean(p for _, p in rows))
    return log(median), sqrt(max(0.0, 2.0 * log(max(mean, 1.0) / median)))

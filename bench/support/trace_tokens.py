"""Lengths of requests from a trace of token quantiles: rows of client, ts_s, field, mean, p50, as ServeGen's reduction has them.

Within each of the trace's windows lengths are log-normal, with the median and the mean that its clients have on average.
"""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean

from forebay.runtime.errors import ForebayError

FIELDS = {"input_tokens": 32_000, "output_tokens": 8_000}
"""What is read, and the most of each in one request."""

Law = tuple[float, float]
"""Of the logarithm: mean and standard deviation."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """By window: the laws of input and output tokens. Without windows every request has the same."""

    window_s: float
    windows: tuple[tuple[Law, Law], ...]
    fixed: tuple[int, int] = (4000, 1000)

    @property
    def mean(self) -> tuple[float, float]:
        """Input and output tokens of a mean request."""
        if not self.windows:
            return float(self.fixed[0]), float(self.fixed[1])
        inputs, outputs = zip(*self.windows, strict=True)
        return fmean(exp(m + s * s / 2) for m, s in inputs), fmean(exp(m + s * s / 2) for m, s in outputs)

    def drawn(self, times: Iterator[float], seed: int) -> Iterator[tuple[float, int, int]]:
        """Times with their lengths."""
        chance = random.Random(seed + 1)
        for at in times:
            if not self.windows:
                yield at, *self.fixed
                continue
            laws = self.windows[int(at // self.window_s) % len(self.windows)]
            inputs, outputs = (
                min(most, max(1, round(chance.lognormvariate(*law)))) for law, most in zip(laws, FIELDS.values(), strict=True)
            )
            yield at, inputs, outputs


def read_lengths(path: Path) -> Lengths:
    """Raises ForebayError where the file is none of this kind; the message names the line."""
    by_window: dict[float, dict[str, list[tuple[float, float]]]] = {}
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                if row.get("field") in FIELDS:
                    by_window.setdefault(_number(row, "ts_s", path, number), {}).setdefault(row["field"], []).append(
                        (_number(row, "mean", path, number), _number(row, "p50", path, number))
                    )
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise ForebayError(f"{path}: {error}") from error
    starts = sorted(start for start, fields in by_window.items() if set(fields) == set(FIELDS))
    if len(starts) < 2:
        raise ForebayError(f"{path}: needs client, ts_s, field, mean, p50 with {' and '.join(FIELDS)} for at least two times")
    laws = [tuple(_law(by_window[start][field]) for field in FIELDS) for start in starts]
    return Lengths(starts[1] - starts[0], tuple((inputs, outputs) for inputs, outputs in laws))


def _number(row: dict[str, str], name: str, path: Path, line: int) -> float:
    try:
        found = float(row[name])
    except (KeyError, TypeError, ValueError):
        found = -1.0
    if not 0 <= found < 1e9:
        raise ForebayError(f"{path}, line {line}: {name} is {row.get(name)!r}, not a number from 0")
    return found


def _law(rows: list[tuple[float, float]]) -> Law:
    mean, median = fmean(m for m, _ in rows), max(1.0, fmean(p for _, p in rows))
    return log(median), sqrt(max(0.0, 2.0 * log(max(mean, 1.0) / median)))

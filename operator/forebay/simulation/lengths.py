"""Lengths of requests: all alike, or from a file that has nothing else, such as Vidur's (num_prefill_tokens, num_decode_tokens), from whose
rows they are drawn, or ServeGen's of distributions over time (length_windows.py).
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Protocol

from forebay.simulation.files import WorkloadError, alike_rows, csv_rows, name_of, opened
from forebay.simulation.length_windows import has_windows, read_windows
from forebay.simulation.trace_columns import LENGTHS, NO_TOKENS, columns_of, tokens_of

MOST_KEPT = 200_000
"""Of a longer file so many rows are kept, each with the same chance."""


class Lengths(Protocol):
    """Tokens of prompts and answers."""

    @property
    def mean(self) -> tuple[float, float]:
        """Input and output tokens of a mean request."""

    def drawn(self, times: Iterable[float], seed: int) -> Iterator[tuple[float, int, int]]:
        """Times with the lengths of the requests that arrive then."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The same prompts for embeddings, whose answers have no tokens."""

    of: Lengths

    @property
    def mean(self) -> tuple[float, float]:
        return self.of.mean[0], 0.0

    def drawn(self, times: Iterable[float], seed: int) -> Iterator[tuple[float, int, int]]:
        return ((at, inputs, 0) for at, inputs, _ in self.of.drawn(times, seed))


@dataclass(frozen=True, slots=True)
class Listed:
    """Tokens of prompts and answers, row by row."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def mean(self) -> tuple[float, float]:
        return fmean(self.inputs), fmean(self.outputs)

    def drawn(self, times: Iterable[float], seed: int) -> Iterator[tuple[float, int, int]]:
        chance, count = random.Random(f"lengths {seed}"), len(self.inputs)
        for at in times:
            row = chance.randrange(count)
            yield at, self.inputs[row], self.outputs[row]


def alike(input_tokens: int, output_tokens: int) -> Lengths:
    """Every request the same."""
    return Listed((input_tokens,), (output_tokens,))


def read_lengths(path: Path, seed: int = 1, needed: Collection[str] = LENGTHS) -> Lengths:
    """The lengths in a file of CSV. Of more rows than are kept the seed says which.

    Where `needed` has no output, as of embeddings, answers have none, whatever the file says.

    Raises:
        WorkloadError: the file is not there or has no lengths, or a row of it cannot be used; the message names the line.
    """
    name = name_of(path)
    with opened(path) as lines:
        rows = csv_rows(lines, name)
        number, header = next(rows, (1, []))
        if has_windows(header):
            found: Lengths = read_windows(rows, header, name)
        else:
            of = columns_of(header, f"{name}, line {number}", [what for what in LENGTHS if what in needed]).of
            places = [header.index(of[what if what in needed else "input"]) for what in LENGTHS]
            found = _listed(rows, header, places, name, random.Random(f"rows {seed}"))
    return found if "output" in needed else Unanswered(found)


def _listed(rows: Iterator[tuple[int, list[str]]], header: list[str], places: list[int], name: str, chance: random.Random) -> Listed:
    inputs, outputs = array("I"), array("I")
    for count, (where, cells) in enumerate(alike_rows(rows, len(header), name)):
        pair = [_tokens(cells[place], header[place], where) for place in places]
        if count < MOST_KEPT:
            inputs.append(pair[0])
            outputs.append(pair[1])
        elif (place := chance.randrange(count + 1)) < MOST_KEPT:
            inputs[place], outputs[place] = pair
    if not inputs:
        raise WorkloadError(f"{name}: there are no lengths in it")
    return Listed(tuple(inputs), tuple(outputs))


def _tokens(cell: str, column: str, where: str) -> int:
    count = tokens_of(cell)
    if count is None:
        raise WorkloadError(f"{where}: {column} is {cell[:40]!r}: {NO_TOKENS}")
    return max(1, count)

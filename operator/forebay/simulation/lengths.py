"""Lengths of requests: all alike, or drawn from a file that has nothing else, such as Vidur's (num_prefill_tokens, num_decode_tokens)."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forebay.simulation.files import WorkloadError, csv_rows, name_of, opened
from forebay.simulation.trace_columns import LENGTHS, NO_TOKENS, columns_of, tokens_of

MOST_KEPT = 200_000
"""Of a longer file so many rows are kept, each with the same chance."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of prompts and answers, row by row."""

    inputs: array[int]
    outputs: array[int]

    def drawn(self, seed: int) -> Iterator[tuple[int, int]]:
        """One request after the other, without end."""
        chance, count = random.Random(f"lengths {seed}"), len(self.inputs)
        while True:
            row = chance.randrange(count)
            yield self.inputs[row], self.outputs[row]


def alike(input_tokens: int, output_tokens: int) -> Lengths:
    """Every request the same."""
    return Lengths(array("I", [input_tokens]), array("I", [output_tokens]))


def read_lengths(path: Path, seed: int = 1) -> Lengths:
    """The lengths in a file of CSV.

    Raises:
        WorkloadError: the file is not there or has no lengths, or a row of it cannot be used; the message names the line.
    """
    inputs, outputs, chance = array("I"), array("I"), random.Random(f"rows {seed}")
    name = name_of(path)
    with opened(path) as lines:
        rows = csv_rows(lines, name)
        number, header = next(rows, (1, []))
        of = columns_of(header, f"{name}, line {number}", LENGTHS).of
        places = [header.index(of[what]) for what in LENGTHS]
        for count, (number, cells) in enumerate(rows):
            if len(cells) != len(header):
                raise WorkloadError(f"{name}, line {number}: {len(cells)} cells where the header has {len(header)}")
            pair = [_tokens(cells[place], header[place], f"{name}, line {number}") for place in places]
            if count < MOST_KEPT:
                inputs.append(pair[0])
                outputs.append(pair[1])
            elif (place := chance.randrange(count + 1)) < MOST_KEPT:
                inputs[place], outputs[place] = pair
    if not inputs:
        raise WorkloadError(f"{name}: there are no lengths in it")
    return Lengths(inputs, outputs)


def _tokens(cell: str, column: str, where: str) -> int:
    count = tokens_of(cell)
    if count is None:
        raise WorkloadError(f"{where}: {column} is {cell[:40]!r}: {NO_TOKENS}")
    return max(1, count)

"""Lengths of requests: all alike, or drawn from a file that has nothing else, such as Vidur's (num_prefill_tokens, num_decode_tokens)."""

from __future__ import annotations

import csv
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from forebay.simulation.files import WorkloadError, number_of, opened
from forebay.simulation.trace_columns import LENGTHS, MAX_TOKENS, columns_of

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
    with opened(path) as lines:
        reader = csv.DictReader(lines)
        try:
            of = columns_of(list(reader.fieldnames or []), f"{path.name}, line 1", LENGTHS).of
            for count, row in enumerate(reader):
                pair = [number_of(row.get(of[what])) for what in LENGTHS]
                if any(tokens is None or not 0 <= tokens <= MAX_TOKENS for tokens in pair):
                    raise WorkloadError(f"{path.name}, line {reader.line_num}: not two counts from 0 to {MAX_TOKENS:,}")
                one, other = (max(1, round(tokens or 0.0)) for tokens in pair)
                if count < MOST_KEPT:
                    inputs.append(one)
                    outputs.append(other)
                elif (place := chance.randrange(count + 1)) < MOST_KEPT:
                    inputs[place], outputs[place] = one, other
        except csv.Error as error:
            raise WorkloadError(f"{path.name}, line {reader.line_num + 1}: {error}") from error
    if not inputs:
        raise WorkloadError(f"{path.name}: there are no lengths in it")
    return Lengths(inputs, outputs)

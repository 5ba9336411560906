"""What befell spot nodes, from files: Parcae's traces as they are (time_ms, count; or time_ms, add or remove, node), or with a header
time_s and available (nodes that can be had from then on) or lost (nodes of the pool that go then)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from forebay.simulation.files import WorkloadError, csv_rows, name_of, number_of, opened, shown

ADD, REMOVE, LOST = "add", "remove", "lost"

MOST_ROWS = 1_000_000
MOST_NODES = 10_000

_EXPECTED = "expected are the header time_s,available or time_s,lost, or rows time_ms,count or time_ms,add|remove,node"

Row = tuple[int, list[str]]


@dataclass(frozen=True, slots=True)
class Change:
    """At a time, seconds: a node can be had, or goes; or so many of the pool's own go, whichever they are."""

    at: float
    kind: str
    node: str = ""
    count: int = 0


class Form(Enum):
    """What a file of spot nodes may be: two of ours, which have a header, and Parcae's, which have none."""

    AVAILABLE, LOST, COUNTS, NAMES = range(4)


def form_of(row: list[str]) -> Form | None:
    """Told by the first row of a file; None where it is another one."""
    match [cell.strip() for cell in row]:
        case ["time_s", "available"]:
            return Form.AVAILABLE
        case ["time_s", "lost"]:
            return Form.LOST
        case [at, count] if number_of(at) is not None and number_of(count) is not None:
            return Form.COUNTS
        case [at, "add" | "remove", _] if number_of(at) is not None:
            return Form.NAMES
    return None


def read_spot(path: Path, seed: int = 1) -> tuple[Change, ...]:
    """What a file says. Where it counts nodes, which of them go is drawn.

    Raises:
        WorkloadError: the file is not there or is none of these, or a row of it cannot be used; the message names the line.
    """
    name = name_of(path)
    with opened(path) as lines:
        rows = _rows(lines, name)
        first = next(rows, None)
        if first is None:
            raise WorkloadError(f"{name} is empty: {_EXPECTED}")
        match form_of(first[1]):
            case Form.AVAILABLE:
                found = _counted(rows, name, 1.0, seed)
            case Form.LOST:
                found = _lost(rows, name)
            case Form.COUNTS:
                found = _counted(_after(first, rows), name, 0.001, seed)
            case Form.NAMES:
                found = _named(_after(first, rows), name)
            case None:
                raise WorkloadError(f"{name}, line {first[0]}: {', '.join(shown(cell.strip()) for cell in first[1][:4])}: {_EXPECTED}")
        changes = tuple(found)
    if not changes:
        raise WorkloadError(f"{name}: there is nothing below the header")
    return changes


def _rows(lines: Iterator[str], name: str) -> Iterator[Row]:
    for count, (number, row) in enumerate(csv_rows(lines, name), 1):
        if count > MOST_ROWS:
            raise WorkloadError(f"{name}, line {number}: more than {MOST_ROWS:,} rows")
        if any(cell.strip() for cell in row):
            yield number, row


def _after(first: Row, rows: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rows


def _times(rows: Iterator[Row], name: str, unit_s: float, cells: int) -> Iterator[tuple[int, float, list[str]]]:
    """Line, seconds, and the other cells; times must not fall."""
    last = 0.0
    for number, row in rows:
        if len(row) != cells:
            raise WorkloadError(f"{name}, line {number}: {len(row)} cells where there are {cells} above")
        at = number_of(row[0])
        if at is None or at < 0:
            raise WorkloadError(f"{name}, line {number}: {row[0][:40]!r} is not a time from 0 on")
        if at * unit_s < last:
            raise WorkloadError(f"{name}, line {number}: comes before the line above; sort it by time")
        last = at * unit_s
        yield number, last, [cell.strip() for cell in row[1:]]


def _whole(text: str, where: str) -> int:
    if not text.isdecimal() or int(text) > MOST_NODES:
        raise WorkloadError(f"{where}: {text[:40]!r} is not a number of nodes from 0 to {MOST_NODES:,}")
    return int(text)


def _counted(rows: Iterator[Row], name: str, unit_s: float, seed: int) -> Iterator[Change]:
    chance, live, made, at = random.Random(f"nodes {seed}"), list[str](), 0, -1.0
    for number, at, (text,) in _times(rows, name, unit_s, 2):
        count = _whole(text, f"{name}, line {number}")
        while len(live) < count:
            made += 1
            live.append(f"node{made}")
            yield Change(at, ADD, live[-1])
        while len(live) > count:
            yield Change(at, REMOVE, live.pop(chance.randrange(len(live))))
    if at >= 0.0 and not made:
        # Who is never told of a node would take it that any number can be had.
        yield from (Change(0.0, ADD, "none"), Change(0.0, REMOVE, "none"))


def _lost(rows: Iterator[Row], name: str) -> Iterator[Change]:
    for number, at, (text,) in _times(rows, name, 1.0, 2):
        yield Change(at, LOST, count=_whole(text, f"{name}, line {number}"))


def _named(rows: Iterator[Row], name: str) -> Iterator[Change]:
    live: set[str] = set()
    for number, at, (kind, node) in _times(rows, name, 0.001, 3):
        if kind not in (ADD, REMOVE) or not node:
            raise WorkloadError(f"{name}, line {number}: {kind[:40]!r} of {node[:40]!r}: a row adds or removes a node by its name")
        if (kind == ADD) == (node in live):
            raise WorkloadError(f"{name}, line {number}: {shown(node)} {'is there already' if kind == ADD else 'is not there'}")
        live.symmetric_difference_update({node})
        yield Change(at, kind, node)

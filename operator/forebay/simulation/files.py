"""Files that simulations read: text, gzipped or not, as a stream; what cannot be used is an error that names the file.

A pipe or standard input (`-`) can be read only once: what was looked at of its beginning is kept for the one who reads it.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from forebay.runtime.errors import ForebayError

MAX_LINE = 1_000_000
"""Characters. A longer line is no request, and would be kept whole."""

_HEAD = 65_536
"""Bytes that are looked at to tell what a file is."""

_GZIP, _BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
_STDIN = Path("-")

ONLY_ONCE = "can be read only once: write it to a file, and name that"
_EXPECTED = "expected is text of one row to a line, gzipped or not"

_once: dict[tuple[int, int], tuple[bytes, io.BufferedReader] | None] = {}
"""What can be read only once, by device and inode: its beginning and the rest, from when it is looked at; None when it was read."""


class WorkloadError(ForebayError):
    """A workload's file cannot be used; the message names the line."""


class Position:
    """How much of a file has been read, for those who wait for it."""

    def __init__(self) -> None:
        self._raw: io.BufferedReader | None = None
        self._bytes = 0

    def of(self, raw: io.BufferedReader, size: int) -> None:
        """From now on it is that of this file, which has so many bytes; 0 where it cannot be known."""
        self._raw, self._bytes = raw, size

    @property
    def share(self) -> float:
        """From 0 to 1; 0 until the end where it cannot be known."""
        if self._raw is None or self._raw.closed:
            return 1.0
        return min(1.0, self._raw.tell() / self._bytes) if self._bytes else 0.0


class _Again(io.RawIOBase):
    """A stream whose beginning was read already."""

    def __init__(self, head: bytes, rest: io.BufferedReader) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._head:
            return self._rest.readinto1(buffer)
        given = self._head[: len(buffer)]
        buffer[: len(given)] = given
        self._head = self._head[len(given) :]
        return len(given)

    def close(self) -> None:
        self._rest.close()
        super().close()


def name_of(path: Path) -> str:
    """What a file is called in messages."""
    if path == _STDIN:
        return "standard input"
    return path.name if path.is_file() else str(path)


def beginning(path: Path) -> str:
    """The first characters of what is in a file, some 60,000. Raises WorkloadError, also where it is empty or not text."""
    with _named(path):
        plain, whole = _unpacked(_looked_at(path))
        if whole and not plain.strip():
            raise WorkloadError(f"{name_of(path)} is empty: {_EXPECTED}")
        if b"\0" in plain:
            raise _not_text(path)
        return plain.removeprefix(_BOM).decode("utf-8", "replace")


@contextmanager
def opened(path: Path, position: Position | None = None) -> Iterator[Iterator[str]]:
    """The lines of a file. Raises WorkloadError, also while they are read."""
    beginning(path)
    with _named(path):
        packed = _looked_at(path).startswith(_GZIP)
        source, size = _taken(path)
        with source as raw:
            if position is not None:
                position.of(raw, size)
            with gzip.open(raw) if packed else raw as plain, io.TextIOWrapper(plain, "utf-8-sig", newline="") as text:
                yield _lines(text, name_of(path))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What can be wrong with a file, in words."""
    name = name_of(path)
    try:
        yield
    except (gzip.BadGzipFile, zlib.error) as error:
        raise WorkloadError(f"{name} is damaged: {error}") from error
    except OSError as error:
        raise WorkloadError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _not_text(path) from error
    except EOFError as error:
        raise WorkloadError(f"{name} ends in the middle: it is cut off") from error


def only_once(path: Path) -> bool:
    """Whether it is there and can be read only once, as a pipe."""
    real = Path("/dev/stdin") if path == _STDIN else path
    return real.exists() and not real.is_file() and not real.is_dir()


def _not_text(path: Path) -> WorkloadError:
    return WorkloadError(f"{name_of(path)} is not text: {_EXPECTED}")


def _real(path: Path) -> tuple[Path, tuple[int, int]]:
    """Where it is opened, and what it is known by."""
    real = Path("/dev/stdin") if path == _STDIN else path
    stat = real.stat()
    return real, (stat.st_dev, stat.st_ino)


def _looked_at(path: Path) -> bytes:
    """The first bytes of a file."""
    real, key = _real(path)
    if key not in _once:
        raw = real.open("rb")
        head = raw.read(_HEAD)
        if raw.seekable():
            raw.close()
            return head
        _once[key] = head, raw
    held = _once[key]
    if held is None:
        raise WorkloadError(f"{name_of(path)} {ONLY_ONCE}")
    return held[0]


def _taken(path: Path) -> tuple[io.BufferedReader, int]:
    """All of a file that was looked at, and its size; 0 for what can be read only once, which is over then."""
    real, key = _real(path)
    held = _once.get(key)
    if held is None:
        return real.open("rb"), max(1, real.stat().st_size)
    _once[key] = None
    return io.BufferedReader(_Again(*held)), 0


def _unpacked(head: bytes) -> tuple[bytes, bool]:
    """The text in the first bytes of a file, and whether there is no more."""
    if not head.startswith(_GZIP):
        return head, len(head) < _HEAD
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    return unpacking.decompress(head, _HEAD), unpacking.eof


def _lines(text: io.TextIOWrapper, name: str) -> Iterator[str]:
    number = 0
    while line := text.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise WorkloadError(f"{name}, line {number}: longer than {MAX_LINE:,} characters: there is one row to a line")
        yield line


def csv_rows(lines: Iterator[str], name: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of CSV that are not empty, each with the line on which it begins. Raises WorkloadError."""
    reader = csv.reader(lines, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            hint = ": is a quote left open?" if reader.line_num > number or "end of data" in str(error) else ""
            raise WorkloadError(f"{name}, line {number}: {error}{hint}") from error
        if row is None:
            return
        if row:
            yield number, row


def alike_rows(rows: Iterable[tuple[int, list[str]]], count: int, name: str) -> Iterator[tuple[str, list[str]]]:
    """Where each row is, and its cells. Raises WorkloadError for one that has not as many as the header."""
    for number, cells in rows:
        if len(cells) != count:
            raise WorkloadError(f"{name}, line {number}: {len(cells)} cells where the header has {count}")
        yield f"{name}, line {number}", cells


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def shown(text: str) -> str:
    """What a file says, short and printable, for a message."""
    text = text[:40]
    return text if text.isprintable() else repr(text)

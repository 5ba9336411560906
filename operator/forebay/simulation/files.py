"""Files that simulations read: text, gzipped or not, as a stream; what cannot be used is an error that names the file."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from forebay.runtime.errors import ForebayError


class WorkloadError(ForebayError):
    """A workload's file cannot be used; the message names the line."""


class Position:
    """How much of a file has been read, for those who wait for it."""

    def __init__(self) -> None:
        self._raw: io.BufferedReader | None = None
        self._bytes = 1

    def of(self, raw: io.BufferedReader, path: Path) -> None:
        """From now on it is that of this file."""
        self._raw, self._bytes = raw, max(1, path.stat().st_size)

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return 1.0 if self._raw is None or self._raw.closed else min(1.0, self._raw.tell() / self._bytes)


@contextmanager
def opened(path: Path, position: Position | None = None) -> Iterator[io.TextIOBase]:
    """The text of a file. Raises WorkloadError, also while it is read."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if position is not None:
                position.of(raw, path)
            with gzip.open(raw) if packed else raw as plain, io.TextIOWrapper(plain, "utf-8-sig", newline="") as text:
                yield text
    except (gzip.BadGzipFile, zlib.error) as error:
        raise WorkloadError(f"{path.name} is damaged: {error}") from error
    except OSError as error:
        raise WorkloadError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise WorkloadError(f"{path.name} is not text: a workload is CSV or JSON lines, gzipped or not") from error
    except EOFError as error:
        raise WorkloadError(f"{path.name} ends in the middle: it is cut off") from error


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None

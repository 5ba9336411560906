"""Where decisions are written down: one JSON object a line, so that any of them can be planned again with `forebay replay`.

Long texts of a record stand in lines of their own before it, once (see blobs).
"""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import Any, Protocol, TextIO

from forebay.adapters.blobs import Writer
from forebay.runtime.errors import ForebayError

MAX_BYTES = 64 << 20
MAX_KEPT = 1000


class DecisionLog(Protocol):
    """A place for decision records. Losing one is not a reason to stop."""

    def write(self, record: dict[str, Any]) -> None: ...


class FileDecisions:
    """Appends to a file; when it is full it becomes `<file>.1`, replacing the one before."""

    def __init__(self, path: Path, max_bytes: float = MAX_BYTES) -> None:
        self._path, self._max_bytes = path, max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._writer = Writer()
        if not _ends_whole(path):
            self._file.write("\n")

    def write(self, record: dict[str, Any]) -> None:
        if self._file.tell() > self._max_bytes:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("a", encoding="utf-8")
            self._writer.forget()
        _write(self._file, self._writer, record)


def _ends_whole(path: Path) -> bool:
    """Whether its last line has an end. Whoever is killed while writing leaves half a record, which is to spoil none that follows."""
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def in_file(path: Path, max_bytes: float = MAX_BYTES) -> FileDecisions:
    """Raises ForebayError, in the words of the option that every command has for it."""
    try:
        return FileDecisions(path, max_bytes)
    except OSError as error:
        raise ForebayError(f"--decisions {path}: {error.strerror}") from error


class StreamDecisions:
    """Writes to an open stream, such as standard output."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._writer = stream, Writer()

    def write(self, record: dict[str, Any]) -> None:
        _write(self._stream, self._writer, record)


def _write(stream: TextIO, writer: Writer, record: dict[str, Any]) -> None:
    stream.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in writer.lines(record))
    stream.flush()


class DecisionsInMemory:
    """Keeps the last ones, for tests and the demo."""

    def __init__(self) -> None:
        self.records: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)

    def write(self, record: dict[str, Any]) -> None:
        self.records.append(record)


class BothDecisions:
    """Writes to two places."""

    def __init__(self, one: DecisionLog, other: DecisionLog) -> None:
        self._logs = one, other

    def write(self, record: dict[str, Any]) -> None:
        for log in self._logs:
            log.write(record)

"""Where decisions are written down: one JSON object a line, so that any of them can be planned again with `forebay replay`.

Long texts of a record stand in lines of their own before it, once (see blobs).
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from forebay.adapters.blobs import Writer
from forebay.runtime.errors import ForebayError

MAX_BYTES = 64 << 20
MAX_KEPT = 1000

_log = logging.getLogger(__name__)


class DecisionLog(Protocol):
    """A place for decision records."""

    def write(self, record: dict[str, Any]) -> None:
        """Raises OSError where the place takes no more; the next record is whole without those that it did not take."""
        ...


class LosableDecisions:
    """Records that an operator can do without: what cannot be written is said in the log, once, and the next record is tried again."""

    def __init__(self, log: DecisionLog) -> None:
        self._log, self._lost = log, 0

    def write(self, record: dict[str, Any]) -> None:
        try:
            self._log.write(record)
        except OSError as error:
            if not self._lost:
                _log.warning("decision records cannot be written, and are lost until they can: %s", error)
            self._lost += 1
            return
        if self._lost:
            _log.warning("decision records are written again; %d were lost", self._lost)
        self._lost = 0


class FileDecisions:
    """Appends to a file; when it is full it becomes `<file>.1`, replacing the one before."""

    def __init__(self, path: Path, max_bytes: float = MAX_BYTES) -> None:
        self._path, self._max_bytes = path, max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = Writer()
        self._file: TextIO | None = self._open()

    def write(self, record: dict[str, Any]) -> None:
        try:
            file = self._file = self._file or self._open()
            if file.tell() > self._max_bytes:
                self._leave()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                file = self._file = self._open()
            _write(file, self._writer, record)
        except OSError:
            self._leave()
            raise

    def _open(self) -> TextIO:
        file = self._path.open("a", encoding="utf-8")
        if not _ends_whole(self._path):
            file.write("\n")
        return file

    def _leave(self) -> None:
        """What is not written yet is lost with the file, which may have no room for it."""
        file, self._file = self._file, None
        self._writer.forget()
        if file is not None:
            with suppress(OSError):
                file.close()


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
    try:
        stream.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in writer.lines(record))
        stream.flush()
    except OSError:
        writer.forget()
        raise


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

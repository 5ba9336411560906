"""Decision records: one JSON line per request that says how it was answered and why. Never a prompt, an answer or a key.

Lines are collected on the request's path and written by a thread, in batches. What is not yet written is bounded: a disk or a reader
that is too slow costs records, which are counted, and never a request's time.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import BinaryIO

from forebay.dataplane.gateway import metrics

MAX_PENDING = 10_000
_BATCH_S = 0.05
_LAST_S = 2.0

_log = logging.getLogger(__name__)


def open_sink(where: str) -> BinaryIO:
    """Standard output for `-`, else a file to append to.

    Raises:
        OSError: the file cannot be written.
    """
    return sys.stdout.buffer if where == "-" else Path(where).open("ab")


class Decisions:
    """Writes lines to one sink until closed."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._pending: list[bytes] = []
        self._some = asyncio.Event()
        self._failing = False

    def add(self, line: bytes) -> None:
        """Takes one line, without its end, to be written soon."""
        if len(self._pending) >= MAX_PENDING:
            metrics.DECISIONS_DROPPED.inc()
            return
        self._pending.append(line)
        if len(self._pending) == 1:
            self._some.set()

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            await asyncio.sleep(_BATCH_S)
            await self._write()

    async def close(self) -> None:
        """Writes what is left, unless that takes too long."""
        try:
            await asyncio.wait_for(self._write(), _LAST_S)
        except TimeoutError:
            _log.warning("decision records were left unwritten")

    async def _write(self) -> None:
        lines, self._pending = self._pending, []
        if not lines:
            return
        try:
            await asyncio.to_thread(self._put, b"\n".join(lines) + b"\n")
            self._failing = False
        except (OSError, ValueError) as error:
            metrics.DECISIONS_DROPPED.inc(len(lines))
            if not self._failing:
                _log.error("decision records cannot be written", extra={"reason": str(error)})
            self._failing = True

    def _put(self, data: bytes) -> None:
        self._sink.write(data)
        self._sink.flush()

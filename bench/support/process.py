"""Processes that are measured: started on a core of their own, and read from /proc, which needs nothing of the process itself."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from forebay.local.environment import inherited
from forebay.local.process import Process
from forebay.runtime.errors import ForebayError

T = TypeVar("T")

HOST = "127.0.0.1"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SESSION, _UTIME = 3, 11
"""Fields of /proc/PID/stat, counted from behind the command's name."""

CORES = sorted(os.sched_getaffinity(0))


@contextmanager
def on(core: int | None) -> Iterator[None]:
    """Puts this process, and those it starts meanwhile, on one of the cores it may use; -1 is the last one, None any."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES if core is None else {CORES[core]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measuring(work: Coroutine[Any, Any, T]) -> T:
    """Runs a bench that starts processes: itself on the last core, so that the first is theirs."""
    with on(-1), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class Measured:
    """A process and all it started. A process group here is a session, so its members are known by their session's number."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return not Path(f"/proc/{self._process.pid}").exists()

    def cpu_s(self) -> float:
        """User and system time so far, of every thread."""
        return sum(int(f[_UTIME]) + int(f[_UTIME + 1]) for f in self._stats()) / _TICKS_PER_S

    def rss_mib(self) -> float:
        """Resident memory; pages that several of its processes share are counted for each."""
        return sum(_status_kib(pid) for pid in self._pids()) / 1024

    def _pids(self) -> list[int]:
        return [pid for pid, _ in self._members()]

    def _stats(self) -> list[list[str]]:
        return [fields for _, fields in self._members()]

    def _members(self) -> list[tuple[int, list[str]]]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    if int(fields[_SESSION]) == self._process.pid:
                        found.append((int(entry.name), fields))
        return found


def _status_kib(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


@asynccontextmanager
async def running(
    name: str, argv: Sequence[str], folder: Path, *, core: int | None = 0, env: dict[str, str] | None = None
) -> AsyncIterator[Measured]:
    """Runs a program while the block does; its output goes to `<name>.log` in the folder.

    Raises:
        ForebayError: the program cannot be started.
    """
    try:
        with on(core):
            process = await Process.start(argv, env=inherited() | (env or {}), cwd=folder, log=folder / f"{name}.log")
    except OSError as error:
        raise ForebayError(f"{argv[0]} cannot be started: {error.strerror or error}") from error
    try:
        yield Measured(name, process)
    finally:
        await process.stop(3.0)


async def listening(measured: Measured, port: int, folder: Path, within_s: float = 15.0) -> None:
    """Waits until the process takes connections.

    Raises:
        ForebayError: it ended, or did not listen in time; with the end of its log.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not measured.ended:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)
    log = (folder / f"{measured.name}.log").read_text(errors="replace")[-2000:]
    raise ForebayError(f"{measured.name} does not listen on port {port}:\n{log}")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

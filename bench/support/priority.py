"""A core for one process on a machine that others use: real-time scheduling where that is permitted, and what was taken all the same.

A real-time thread goes before all ordinary ones. What is left of the others' work are the moments in which it had to wait, which the
kernel counts for each thread, and the time that the machine's own host took away (steal).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_WORKS, _ANSWERS = 10, 20
"""Priorities of a process' further threads, and of its first: a server must be able to answer while it computes."""


def favour(pid: int) -> bool:
    """Schedules all threads that a process has before all others on the machine; whether that was permitted."""
    try:
        for tid in _threads(pid):
            os.sched_setscheduler(tid, os.SCHED_RR, os.sched_param(_ANSWERS if tid == pid else _WORKS))
    except PermissionError:
        return False
    return True


@contextmanager
def favoured() -> Iterator[bool]:
    """The calling thread goes before others while the block lasts; gives whether that was permitted."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_ANSWERS))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of a process, or between two looks at it.

    Args:
        cpu_s: of all its threads.
        first_s: of its first thread alone, which may make the others wait.
        waited_s: threads were ready to run and did not.
        stolen_s: the machine's host gave the core to somebody else.
    """

    cpu_s: float
    first_s: float
    waited_s: float
    stolen_s: float

    def since(self, before: Spent) -> Spent:
        return Spent(
            self.cpu_s - before.cpu_s, self.first_s - before.first_s, self.waited_s - before.waited_s, self.stolen_s - before.stolen_s
        )

    def taken_s(self) -> float:
        """What others took, at least: waiting that the process' own first thread may account for is not counted."""
        return max(0.0, self.waited_s - self.first_s) + self.stolen_s


def spent(pid: int, core: int) -> Spent:
    """So far, of a process whose threads all run on one core."""
    cpu = waited = first = 0.0
    for tid in _threads(pid):
        with suppress(OSError):
            ran, ready, _ = (int(word) for word in Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split())
            cpu, waited, first = cpu + ran * 1e-9, waited + ready * 1e-9, ran * 1e-9 if tid == pid else first
    return Spent(cpu, first, waited, stolen_s(Path("/proc/stat").read_text(), core))


def stolen_s(stat: str, core: int) -> float:
    """Steal time of a core in the text of /proc/stat."""
    for line in stat.splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            return int(ticks[7]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _threads(pid: int) -> list[int]:
    return sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())

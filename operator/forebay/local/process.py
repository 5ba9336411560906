"""One process group: started, waited for, and ended with every child it left behind.

A container becomes a session of its own. So a signal reaches all of its children, and Ctrl-C in a terminal reaches none of them: who
started it decides when it ends. On Linux the kernel also kills the leader when this process dies by SIGKILL, for a server that
outlives its kubelet would keep its address and its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def _pdeathsig() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return ask


_die_with_parent = _pdeathsig()


class Process:
    """A running process group. `wait` may be called by many; the group is gone when it returns."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._exited = asyncio.create_task(self._reap())

    @classmethod
    async def start(cls, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> Process:
        """Standard output and error are appended to `log`.

        Raises:
            OSError: the program or the folder does not exist, or may not be used.
        """
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=dict(env),
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """Exit code as a container reports it: 128 + n for a process that signal n ended."""
        return await asyncio.shield(self._exited)

    async def stop(self, grace_s: float) -> int:
        """SIGTERM, and SIGKILL after `grace_s` seconds."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        if not self._exited.done():
            self._signal_group(number)

    async def _reap(self) -> int:
        code = await self._process.wait()
        self._signal_group(signal.SIGKILL)
        return 128 - code if code < 0 else code

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

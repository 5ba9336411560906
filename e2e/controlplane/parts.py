"""One process of the control plane: started, watched until it answers, stopped, restarted; its output goes to a file of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

# Health endpoints with certificates that their programs sign themselves; only this namespace can reach them.
_UNVERIFIED = ssl.create_default_context()
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE

_POLL_S = 0.05


class PartFailed(RuntimeError):
    """A part of the control plane ended, or did not become ready. The message holds the end of its log."""


class Part:
    """A process and how to see that it works.

    Args:
        health: URL that answers 200 when it works, or tcp://host:port for one that only has to listen.
    """

    def __init__(self, name: str, command: list[str], folder: Path, health: str, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = folder / "logs" / f"{name}.log"
        self._command, self._folder, self._health, self._env = command, folder, health, env or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs or before it was started."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        if self.pid:
            return
        with open(self.log, "ab") as log:
            # A session of its own: Ctrl-C in the terminal must not take the API server away from a test that cleans up.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={**os.environ, **self._env},
                start_new_session=True,
            )

    def stop(self, grace_s: float = 10.0) -> None:
        """SIGTERM, and SIGKILL after the grace period."""
        if not self._process:
            return
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def restart(self, grace_s: float = 3.0) -> None:
        """Stops it and starts it again; returns when it answers. The grace is short, for the API server waits for all its watchers."""
        self.stop(grace_s)
        self.start()
        self.wait_ready()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Returns when it answers.

        Raises:
            PartFailed: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if not self.pid:
                raise PartFailed(f"{self.name} ended with code {self._process and self._process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise PartFailed(f"{self.name} does not answer after {timeout_s:.0f} s:\n{self.tail()}")
            time.sleep(_POLL_S)

    def answers(self) -> bool:
        """Whether it works now."""
        with contextlib.suppress(OSError, urllib.error.URLError):
            if (url := urllib.parse.urlsplit(self._health)).scheme == "tcp":
                with socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=2):
                    return True
            context = _UNVERIFIED if self._health.startswith("https:") else None
            with urllib.request.urlopen(self._health, timeout=2, context=context) as answer:
                return bool(answer.status == 200)
        return False

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

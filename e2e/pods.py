"""The kubelet stand-in as a part of the control plane, and what a scenario sees of the processes it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

from e2e.controlplane.cluster import ControlPlane, free_port
from e2e.controlplane.parts import Part


class Pods:
    """The running stand-in, as a context manager.

    Attributes:
        part: its process. Killing it kills all pods' processes, as when a machine loses power.
        folder: one folder per pod, `<namespace>_<name>_<uid>`, with a log per container.
    """

    def __init__(self, control_plane: ControlPlane) -> None:
        self.folder = control_plane.folder / "pods"
        self.folder.mkdir()
        port = free_port()
        files = ["--kubeconfig", str(control_plane.kubeconfig), "--folder", str(self.folder)]
        command = [sys.executable, "-m", "e2e.standin", *files, "--health-port", str(port)]
        environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
        self.part = Part("standin", command, control_plane.folder, f"tcp://127.0.0.1:{port}", environment)

    def __enter__(self) -> Pods:
        self.part.start()
        try:
            self.part.wait_ready()
        except BaseException:
            self.part.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.part.stop(grace_s=20)

    def log(self, namespace: str, pod: str, container: str) -> str:
        """What a container has written, also one that has ended meanwhile; of the newest pod of that name."""
        folders = sorted(self.folder.glob(f"{namespace}_{pod}_*"), key=lambda path: path.stat().st_mtime)
        path = folders[-1] / f"{container}.log" if folders else None
        return path.read_text(errors="replace") if path and path.exists() else ""

    def processes(self, namespace: str, pod: str) -> dict[int, str]:
        """Process ids of a pod's containers with their command lines."""
        mine = f"{self.folder}/{namespace}_{pod}_"
        entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and _working_folder(entry).startswith(mine)]
        return {int(entry.name): _command_line(entry) for entry in entries}


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _working_folder(process: Path) -> str:
    try:
        return os.readlink(process / "cwd")
    except OSError:
        return ""

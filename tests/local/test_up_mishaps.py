"""`forebay up` where something goes wrong beside it: a process dies, the terminal goes, another run begins."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.local.nodes import running_below
from tests.local.test_up import a_folder, answers, forebay_up, line_with
from tests.local.waiting import eventually

from forebay.cli import source
from forebay.cli.main import main


def test_a_crash_of_any_process_is_told_and_repaired(tmp_path: Path) -> None:
    """And a terminal that goes away ends all of it."""
    state = tmp_path / "state"
    with forebay_up(a_folder(tmp_path / "in"), state) as process:
        url = line_with(process, " answers at ").split()[-1]
        line_with(process, "InferencePool chat: ReplicasReady: 2 replicas")
        for role, container in (("gateway", "gateway"), ("sidecar", "forebay-sidecar"), ("engine", "server")):
            killed = role_below(state, role)[0]
            os.kill(killed, signal.SIGKILL)
            line_with(process, f": {container} ended with exit code 137")
            asyncio.run(eventually(ended(state, role, killed)))
            asyncio.run(eventually(lambda: answers(url)))
        asyncio.run(eventually(lambda: [len(role_below(state, role)) for role in ("gateway", "sidecar", "engine")] == [1, 2, 2]))
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
    assert list(running_below(state)) == []


def ended(folder: Path, role: str, pid: int) -> Callable[[], bool]:
    return lambda: pid not in role_below(folder, role)


def role_below(folder: Path, role: str) -> list[int]:
    """Processes below a folder that run `forebay ROLE`."""
    found = []
    for pid in running_below(folder):
        with suppress(OSError):
            if f"\0{role}\0" in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
    return found


def test_a_second_run_does_not_hide_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both at once, each with addresses of its own; when the second ends, commands find the first again."""
    monkeypatch.setattr(source, "RUN_FILE", run_file := tmp_path / "home" / "forebay" / "up.kubeconfig")
    folder = a_folder(tmp_path / "in")
    with forebay_up(folder, tmp_path / "one") as one:
        url = line_with(one, " answers at ").split()[-1]
        first = run_file.read_text()
        with forebay_up(folder, tmp_path / "two") as two:
            other = line_with(two, " answers at ").split()[-1]
            assert run_file.read_text() != first
            assert asyncio.run(eventually(lambda: answers(url) and answers(other)))
            two.send_signal(signal.SIGTERM)
            assert two.wait(60) == 0
        assert run_file.read_text() == first
        assert main(["top", "--local", "--once"]) == 0
        assert "default/chat" in capsys.readouterr().out
        one.send_signal(signal.SIGTERM)
        assert one.wait(60) == 0
    assert not run_file.exists()

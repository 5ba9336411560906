"""Containers as processes: probes, restarts, hooks and the end of every child."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.local.waiting import eventually

from forebay.local.container import Backoff, Container, Launch
from forebay.local.environment import inherited
from forebay.local.paths import Mounts
from forebay.local.process import Process

PYTHON = sys.executable


def a_container(folder: Path, script: str, *, restart: str = "Always", backoff: Backoff | None = None, **spec: Any) -> Container:
    """Runs a Python script; its log is `<folder>/c.log`."""
    argv = [PYTHON, "-u", "-c", textwrap.dedent(script)]
    return Container(
        {"name": "c", "image": "python", **spec},
        lambda: Launch(argv, inherited() | {"HERE": str(folder)}, folder, folder / "c.log", Mounts()),
        host="127.0.0.1",
        restart=restart,
        backoff=backoff or Backoff(first_s=0.05, most_s=0.1, forget_s=60),
        grace_s=5,
        changed=lambda: None,
    )


async def until(folder: Path, text: str) -> None:
    await eventually(lambda: text in read(folder / "c.log"))


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def running(container: Container, test: Callable[[], Any]) -> None:
    async def main() -> None:
        task = asyncio.create_task(container.run())
        try:
            await asyncio.wait_for(test(), 20)
        finally:
            container.kill()
            await task

    asyncio.run(main())


def test_no_child_survives_its_container(tmp_path: Path) -> None:
    script = """
        import subprocess, sys, time
        stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", stubborn])
        print("child", child.pid)
        time.sleep(60)
    """
    container = a_container(tmp_path, script)

    async def test() -> None:
        await until(tmp_path, "up")
        child = int(read(tmp_path / "c.log").split("child ")[1].split()[0])
        await container.stop(grace_s=5)
        await eventually(lambda: not alive(child))
        assert container.exit_code is None or container.exit_code == 143

    running(container, test)
    assert container.exit_code == 143


def test_sigkill_after_the_grace(tmp_path: Path) -> None:
    container = a_container(tmp_path, "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)")

    async def test() -> None:
        await until(tmp_path, "up")
        await container.stop(grace_s=0.2)

    running(container, test)
    assert container.exit_code == 137
    assert container.state["terminated"]["reason"] == "Error"


def test_pre_stop_hook_runs_before_the_signal(tmp_path: Path) -> None:
    hook = {"preStop": {"exec": {"command": [PYTHON, "-c", "open('hook', 'w').write('ran')"]}}}
    script = """
        import os, signal, sys, time
        signal.signal(15, lambda *_: sys.exit(0 if os.path.exists("hook") else 3))
        print("up")
        time.sleep(60)
    """
    container = a_container(tmp_path, script, lifecycle=hook)

    async def test() -> None:
        await until(tmp_path, "up")
        await container.stop(grace_s=10)

    running(container, test)
    assert container.exit_code == 0


def test_a_crash_is_repaired_with_backoff(tmp_path: Path) -> None:
    script = """
        import pathlib, sys
        runs = pathlib.Path("runs")
        runs.write_text(str(int(runs.read_text()) + 1 if runs.exists() else 1))
        sys.exit(7)
    """
    container = a_container(tmp_path, script)
    seen: list[str] = []
    container._changed = lambda: seen.append(next(iter(container.state.values())).get("reason", "running"))

    async def test() -> None:
        await eventually(lambda: container.status()["restartCount"] >= 3)

    running(container, test)
    assert "CrashLoopBackOff" in seen
    assert container.status()["lastState"].get("terminated", {"exitCode": 7})["exitCode"] == 7


def test_backoff_doubles_and_forgets() -> None:
    backoff = Backoff(first_s=10, most_s=35, forget_s=600)
    assert [backoff.after(0, 1), backoff.after(10, 1), backoff.after(20, 1), backoff.after(35, 700)] == [10, 20, 35, 0]


def test_on_failure_ends_with_success(tmp_path: Path) -> None:
    script = "import os, sys; first = not os.path.exists('seen'); open('seen', 'w'); sys.exit(first)"
    container = a_container(tmp_path, script, restart="OnFailure")
    asyncio.run(asyncio.wait_for(container.run(), 20))
    assert (container.exit_code, container.status()["restartCount"]) == (0, 1)


SERVER = """
    import http.server, os, threading
    class H(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if os.path.exists(os.path.join(os.environ["HERE"], self.path.strip("/"))) else 503)
            self.end_headers()
        def log_message(self, *args): pass
    server = http.server.HTTPServer(("127.0.0.1", 0), H)
    open("port.new", "w").write(str(server.server_port)); os.rename("port.new", "port")
    server.serve_forever()
"""


def test_probes_gate_started_and_ready_and_restart(tmp_path: Path) -> None:
    """The probes ask through a command, so that the server may take any free port."""

    def asks(path: str, **more: Any) -> dict[str, Any]:
        script = f"import urllib.request as u; u.urlopen('http://127.0.0.1:' + open('port').read() + '/{path}')"
        return {"exec": {"command": [PYTHON, "-c", script]}, "periodSeconds": 0.05, "timeoutSeconds": 5, "failureThreshold": 1, **more}

    container = a_container(
        tmp_path, SERVER, startupProbe=asks("started", failureThreshold=1000), readinessProbe=asks("ready"), livenessProbe=asks("alive")
    )

    async def test() -> None:
        await eventually(lambda: (tmp_path / "port").exists())
        assert (container.started, container.ready) == (False, False)
        (tmp_path / "alive").touch()
        (tmp_path / "started").touch()
        await eventually(lambda: container.started)
        assert not container.ready
        (tmp_path / "ready").touch()
        await eventually(lambda: container.ready)
        (tmp_path / "ready").unlink()
        await eventually(lambda: not container.ready)
        (tmp_path / "alive").unlink()
        await eventually(lambda: container.status()["restartCount"] == 1)

    running(container, test)


def test_http_and_tcp_probes(tmp_path: Path) -> None:
    from forebay.local.probes import connects, http_get

    container = a_container(tmp_path, SERVER)

    async def test() -> None:
        await eventually(lambda: (tmp_path / "port").exists())
        port = int(read(tmp_path / "port"))
        assert not await http_get("127.0.0.1", port, "/ready")
        (tmp_path / "ready").touch()
        assert await http_get("127.0.0.1", port, "/ready")
        assert await connects("127.0.0.1", port)

    running(container, test)


def test_a_program_that_does_not_exist_is_a_start_error(tmp_path: Path) -> None:
    container = a_container(tmp_path, "", restart="Never")
    container._prepare = lambda: Launch(["/no/such/program"], {}, tmp_path, tmp_path / "c.log", Mounts())
    asyncio.run(asyncio.wait_for(container.run(), 20))
    assert container.state["terminated"]["reason"] == "StartError"
    assert "/no/such/program" in container.state["terminated"]["message"]


def test_what_cannot_be_run_says_so(tmp_path: Path) -> None:
    container = a_container(tmp_path, "", readinessProbe={"grpc": {"port": 1}})

    async def test() -> None:
        await eventually(lambda: container.state.get("waiting", {}).get("reason") == "CreateContainerConfigError")
        assert "httpGet, tcpSocket or exec" in container.state["waiting"]["message"]

    running(container, test)


def test_processes_die_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Also when it is killed and can clean up nothing (Linux)."""
    script = f"""
        import asyncio, pathlib, sys
        from forebay.local.process import Process
        async def main():
            sleep, here, log = "import time; time.sleep(60)", pathlib.Path("."), pathlib.Path("{os.devnull}")
            process = await Process.start([sys.executable, "-c", sleep], env={{}}, cwd=here, log=log)
            print("pid", process.pid, flush=True)
            await process.wait()
        asyncio.run(main())
    """

    async def test() -> None:
        log = tmp_path / "c.log"
        parent = await Process.start([PYTHON, "-c", textwrap.dedent(script)], env=inherited(), cwd=tmp_path, log=log)
        await eventually(lambda: read(log).endswith("\n"))
        child = int(read(log).split()[1])
        assert alive(child)
        os.kill(parent.pid, 9)
        await eventually(lambda: not alive(child))
        parent.kill()

    if sys.platform == "linux":
        asyncio.run(asyncio.wait_for(test(), 20))

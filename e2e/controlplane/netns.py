"""One network namespace for a whole run: control plane, pods and clients.

EndpointSlices refuse loopback addresses, so every pod needs an address of its own. In a namespace of their own the run's processes can
put any address on `lo`, reach each other there and nothing else, choose any port, and leave no trace: the addresses vanish with it.
Root or not makes no difference: without root, a user namespace gives the right to it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HOST_IP = "10.240.0.1"
"""Address of the API server, and of every node."""

POD_CIDR, SERVICE_CIDR = "10.244.0.0/16", "10.96.0.0/16"
"""Every address of these is this machine: a pod binds its own with no set-up."""

_OUTSIDE = "FOREBAY_E2E_OUTSIDE"
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class NoNamespace(RuntimeError):
    """This machine lets the user make no network namespace, or the caller is not in one."""


def run(command: list[str]) -> int:
    """Runs a command in a new network namespace, to its end; then ends whatever process still lives there. Its exit code."""
    unshare, ip = _program("unshare", "util-linux"), _program("ip", "iproute2")
    routes = [f'"$0" route add local {network} dev lo' for network in (POD_CIDR, SERVICE_CIDR)]
    steps = ['"$0" link set lo up', f'"$0" addr add {HOST_IP}/32 dev lo', *routes, 'exec "$@"']
    environment = {**os.environ, "PATH": _PATH, _OUTSIDE: _namespace("self")}
    process = subprocess.Popen([unshare, *_flags(unshare), "sh", "-c", " && ".join(steps), ip, *command], env=environment)
    forwarded = {number: signal.signal(number, lambda n, _: process.send_signal(n)) for number in (signal.SIGTERM, signal.SIGHUP)}
    # The terminal sends Ctrl-C to the child as well, which ends the run in good order; here it must not cut the wait short.
    forwarded[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    inside = ""
    try:
        while (code := _exit_code(process)) is None:
            inside = inside or _entered(process.pid)
    finally:
        for number, handler in forwarded.items():
            signal.signal(number, handler)
        if inside:
            _end_all_in(inside)
    return code if code >= 0 else 128 - code


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(0.1)
    except subprocess.TimeoutExpired:
        return None


def is_inside() -> bool:
    """Whether this process is in a namespace that `run` made."""
    outside = os.environ.get(_OUTSIDE)
    return bool(outside) and outside != _namespace("self")


def require_inside() -> None:
    """Raises NoNamespace, which says what to run instead."""
    if not is_inside():
        raise NoNamespace(
            "run the scenarios with `make e2e` or `python -m e2e.run [pytest arguments]`: they need a network namespace of their own"
        )


def _program(name: str, package: str) -> str:
    path = shutil.which(name, path=_PATH)
    if not path:
        raise NoNamespace(f"{name} is missing: install {package}")
    return path


def _flags(unshare: str) -> list[str]:
    for flags in (["-n"], ["-rn"]) if os.geteuid() == 0 else (["-rn"],):
        if subprocess.run([unshare, *flags, "true"], capture_output=True).returncode == 0:
            return flags
    raise NoNamespace("no network namespace can be made here: run as root, or allow user namespaces (kernel.unprivileged_userns_clone=1)")


def _namespace(pid: str | int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _entered(pid: int) -> str:
    """The namespace of a child, once it is in its own."""
    namespace = _namespace(pid)
    return "" if namespace == _namespace("self") else namespace


def _end_all_in(namespace: str) -> None:
    """Ends what a run left behind, which is nothing unless it was killed itself."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _namespace(entry.name) == namespace:
            print(f"ending process {entry.name}, which the run left behind", file=sys.stderr)
            try:
                os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue

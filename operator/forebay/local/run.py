"""Runs `forebay up` from its settings: checks first, then starts, tells what happens, and ends everything."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forebay.adapters.cluster import ClusterError
from forebay.adapters.decisions import FileDecisions
from forebay.dataplane.http.run import run as run_until_stopped
from forebay.local.folder import Folder, FolderError, read_folder
from forebay.local.news import follow_folder, tell_events, tell_gateways, tell_pools
from forebay.local.up import Local, Options, one_machine, write_kubeconfig
from forebay.local.waiting import beside
from forebay.runtime.errors import ForebayError


@dataclass(frozen=True, slots=True)
class Settings:
    """How the command was called; `forebay up --help`. Without `state` a temporary folder is used and removed."""

    folder: Path
    port: int
    api_port: int
    interval_s: float
    stop_s: float
    state: Path | None
    decisions: str | None


def run_folder(settings: Settings) -> int:
    """Runs until it is told to stop; the exit code."""
    try:
        folder = read_folder(settings.folder)
        _check_port("--port", settings.port)
        _check_port("--api-port", settings.api_port)
        with _state(settings.state) as state:
            return run_until_stopped(lambda stop: _run(settings, folder, state, stop))
    except (FolderError, ForebayError) as error:
        print(f"forebay: {error}", file=sys.stderr)
        return 1


def _check_port(option: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ForebayError(f"port {port} cannot be listened on ({error.strerror}): choose another one with {option}") from error


@contextmanager
def _state(given: Path | None) -> Iterator[Path]:
    if given is None:
        with tempfile.TemporaryDirectory(prefix="forebay-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    else:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()


async def _run(settings: Settings, folder: Folder, state: Path, stop: asyncio.Event) -> int:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop.set)
    options = Options(
        state=state,
        decisions=FileDecisions(Path(settings.decisions) if settings.decisions else state / "decisions.jsonl"),
        port=settings.port,
        api_port=settings.api_port,
        interval_s=settings.interval_s,
        stop_s=settings.stop_s,
    )
    try:
        async with one_machine(folder, options) as local:
            _greet(settings, folder, state, local)
            news = tell_events(local.cluster, _say), tell_pools(local.cluster, _say), tell_gateways(local, _say)
            async with beside(*news, follow_folder(settings.folder, folder, local, _say)):
                await stop.wait()
            _say("ending all processes; Ctrl-C again ends them at once")
    except* ClusterError as errors:
        raise ForebayError("; ".join(str(error) for error in errors.exceptions)) from errors
    return 0


def _greet(settings: Settings, folder: Folder, state: Path, local: Local) -> None:
    kubeconfig = state / "kubeconfig"
    write_kubeconfig(kubeconfig, local.api)
    for note in folder.skipped:
        _say(f"skipped {note}")
    counts = Counter(kind.name for kind, _, _ in folder.objects)
    _say(f"{settings.folder}: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}")
    for slot in folder.machine.slots if folder.machine else ():
        _say(f"slots {slot.name}: up to {slot.count} {slot.capacity_type} nodes with {slot.gpus} GPUs in {slot.zone}")
    _say(f"Kubernetes API, read only: {local.api}   (kubectl --kubeconfig {kubeconfig} get pods)")
    _say(f"logs: {state}/pods/*/*.log   decisions: {settings.decisions or state / 'decisions.jsonl'}")


def _say(line: str) -> None:
    print(line, flush=True)

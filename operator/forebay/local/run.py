"""Runs `forebay up` from its settings: checks first, then starts, tells what happens, and ends everything."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from forebay.adapters.cluster import BATCH_CLASSES, INFERENCE_POOLS, ROUTING_POLICIES, ClusterError
from forebay.adapters.decisions import BothDecisions, DecisionLog, DecisionsInMemory, LosableDecisions, in_file
from forebay.api.shared_limits import SharedLimit
from forebay.dataplane.http.run import run as run_until_stopped
from forebay.local.demo.doors import find_doors
from forebay.local.demo.run import show
from forebay.local.folder import Folder, FolderError, read_folder
from forebay.local.news import follow_folder, tell_conditions, tell_crashes, tell_events, tell_gateways
from forebay.local.up import Local, Options, one_machine, write_kubeconfig
from forebay.local.waiting import beside
from forebay.runtime.errors import ForebayError
from forebay.runtime.output import complain, say


@dataclass(frozen=True, slots=True)
class Settings:
    """How the command was called; `forebay up --help`. Without `state` a temporary folder is used and removed.

    Args:
        run_file: where a kubeconfig is left while this runs, for commands with `--local`.
        demo: whether to run the demo and then end; `summary` is where its document goes.
    """

    folder: Path
    port: int
    api_port: int
    interval_s: float
    stop_s: float
    state: Path | None
    decisions: str | None
    run_file: Path
    shared_limits: tuple[SharedLimit, ...] = ()
    demo: bool = False
    summary: Path | None = None


def run_folder(settings: Settings) -> int:
    """Runs until it is told to stop, or until the demo has ended; the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character is no reason to end.
        sys.stdout.reconfigure(errors="replace")
    try:
        folder = read_folder(settings.folder)
        if settings.demo:
            find_doors(folder)
        _check_port("--port", settings.port)
        _check_port("--api-port", settings.api_port)
        with _state(settings.state) as state:
            decisions = _decisions(settings, state)
            return run_until_stopped(lambda stop: _run(settings, folder, state, decisions, stop))
    except (FolderError, ForebayError) as error:
        complain(f"forebay: {error}")
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
        return
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ForebayError(f"--state {given}: {error.strerror}") from error
    yield given.resolve()


def _decisions(settings: Settings, state: Path) -> DecisionLog:
    return LosableDecisions(in_file(Path(settings.decisions) if settings.decisions else state / "decisions.jsonl"))


@contextmanager
def _announced(run_file: Path, api: str) -> Iterator[None]:
    """Leaves the kubeconfig where commands with `--local` look. At the end that of a run which was found there and goes on is put back."""
    try:
        run_file.parent.mkdir(parents=True, exist_ok=True)
        before = run_file.read_bytes() if run_file.exists() else b""
        write_kubeconfig(run_file, api)
        written = run_file.read_bytes()
    except OSError as error:
        say(f"commands with --local will not find this: {run_file}: {error.strerror}")
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            if run_file.read_bytes() == written:  # else a later run has put its own there
                run_file.unlink()
                if _runs(before):
                    run_file.write_bytes(before)


def _runs(kubeconfig: bytes) -> bool:
    """Whether somebody listens where this says."""
    try:
        api = urlsplit(json.loads(kubeconfig)["clusters"][0]["cluster"]["server"])
        socket.create_connection((str(api.hostname), api.port or 80), timeout=1).close()
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return True


async def _run(settings: Settings, folder: Folder, state: Path, decisions: DecisionLog, stop: asyncio.Event) -> int:
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop.set)
    kept = DecisionsInMemory()
    options = Options(
        state=state,
        decisions=BothDecisions(decisions, kept) if settings.demo else decisions,
        shared_limits=settings.shared_limits,
        port=settings.port,
        api_port=settings.api_port,
        interval_s=settings.interval_s,
        stop_s=settings.stop_s,
    )
    code = 0
    try:
        async with one_machine(folder, options) as local:
            _greet(settings, folder, state, local)
            conditions = (tell_conditions(local.cluster, kind, say) for kind in (BATCH_CLASSES, INFERENCE_POOLS, ROUTING_POLICIES))
            news = tell_events(local.cluster, say), tell_crashes(local.cluster, say), tell_gateways(local, say), *conditions
            with _announced(settings.run_file, local.api):
                async with beside(*news, follow_folder(settings.folder, folder, local, say)):
                    if settings.demo:
                        code = await show(local, folder, kept, settings.summary, stop, say)
                    else:
                        await stop.wait()
            say("ending all processes; Ctrl-C again ends them at once")
    except* (ClusterError, ForebayError) as errors:
        raise ForebayError("; ".join(str(error) for error in _leaves(errors))) from errors
    return code


def _leaves(errors: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _greet(settings: Settings, folder: Folder, state: Path, local: Local) -> None:
    kubeconfig = state / "kubeconfig"
    write_kubeconfig(kubeconfig, local.api)
    for note in (*folder.skipped, *folder.unrendered):
        say(f"skipped {note}")
    counts = Counter(kind.name for kind, _, _ in folder.objects)
    say(f"{settings.folder}: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}")
    for slot in folder.machine.slots if folder.machine else ():
        say(f"slots {slot.name}: up to {slot.count} {slot.capacity_type} nodes with {slot.gpus} GPUs in {slot.zone}")
    say(f"Kubernetes API, read only: {local.api}   (kubectl --kubeconfig {kubeconfig} get pods)")
    say(f"logs: {state}/pods/*/*.log   decisions: {settings.decisions or state / 'decisions.jsonl'}")

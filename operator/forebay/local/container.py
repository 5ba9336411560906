"""One container of a pod: a process that is started, probed, restarted and ended as the pod says."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.adapters.clock import timestamp
from forebay.local.environment import ConfigError
from forebay.local.paths import Mounts, rewrite
from forebay.local.probes import Probe, check_of, probe_of
from forebay.local.process import Process
from forebay.local.waiting import beside, first

_START_ERROR = 128
_HOOK_TIMEOUT_S = 3600.0


def now() -> str:
    """The time as the API writes it."""
    return timestamp(time.time())


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits before restarts: none, then `first_s`, then twice as long each time up to `most_s`; forgotten after a run of `forget_s`."""

    first_s: float = 10.0
    most_s: float = 300.0
    forget_s: float = 600.0

    def after(self, delay_s: float, ran_s: float) -> float:
        """The delay that follows one of `delay_s` (0 is the immediate one) after a run of `ran_s`."""
        return 0.0 if ran_s >= self.forget_s else min(self.most_s, max(self.first_s, 2 * delay_s))


@dataclass(frozen=True, slots=True)
class Launch:
    """What a container is started with, all names and paths resolved."""

    argv: list[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    mounts: Mounts


class Container:
    """State is what a ContainerStatus says; `changed` is called whenever it differs.

    Args:
        prepare: gives the Launch; ConfigError where that cannot be had now, and `retry` says when to ask again.
        restart: the container's policy, Always, OnFailure or Never.
        host: the pod's address, where probes go.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        prepare: Callable[[], Launch],
        *,
        host: str,
        restart: str,
        backoff: Backoff,
        grace_s: float,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.started = False
        self.ready = False
        self.state: dict[str, Any] = {"waiting": {"reason": "PodInitializing"}}
        self._prepare, self._host, self._restart, self._backoff = prepare, host, restart, backoff
        self._grace_s, self._changed = grace_s, changed
        self._last_state: dict[str, Any] = {}
        self._restarts = 0
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._retry = asyncio.Event()
        self.has_started = asyncio.Event()

    @property
    def exit_code(self) -> int | None:
        code = self.state.get("terminated", {}).get("exitCode")
        return None if code is None else int(code)

    def status(self) -> dict[str, Any]:
        """Its ContainerStatus."""
        return {
            "name": self.spec["name"],
            "image": self.spec.get("image", ""),
            "imageID": self.spec.get("image", ""),
            "ready": self.ready,
            "started": self.started,
            "restartCount": self._restarts,
            "state": self.state,
            "lastState": self._last_state,
        }

    async def run(self) -> None:
        """Returns when it was stopped, or has ended and will not be restarted."""
        delay_s = -1.0
        while not self._stopping.is_set():
            before = time.monotonic()
            await self._once()
            if self._stopping.is_set() or self._restart == "Never" or (self._restart == "OnFailure" and self.exit_code == 0):
                break
            delay_s = 0.0 if delay_s < 0 else self._backoff.after(delay_s, time.monotonic() - before)
            await self._wait_for_restart(delay_s)

    async def stop(self, grace_s: float) -> None:
        """Ends it for good: preStop hook, SIGTERM, and SIGKILL when `grace_s` seconds are over."""
        self._stopping.set()
        deadline = time.monotonic() + grace_s
        if (process := self._process) is None:
            return
        if grace_s > 0 and (hook := (self.spec.get("lifecycle") or {}).get("preStop")):
            await first(self._hook(hook), process.wait(), timeout_s=grace_s)
        await process.stop(max(0.0, deadline - time.monotonic()))

    def kill(self) -> None:
        self._stopping.set()
        if self._process is not None:
            self._process.kill()

    def retry(self) -> None:
        """What it waits for may be there now."""
        self._retry.set()

    def waits(self, reason: str, message: str = "") -> None:
        """Says why it does not run."""
        self._be({"waiting": {"reason": reason} | ({"message": message} if message else {})})

    async def _once(self) -> None:
        """One process, from start to end."""
        launched = await self._launch()
        if launched is None:
            return
        launch, probes = launched
        begun = now()
        try:
            self._process = await Process.start(launch.argv, env=launch.env, cwd=launch.cwd, log=launch.log)
        except OSError as error:
            self._ended(_START_ERROR, "StartError", begun, str(error))
            return
        if self._stopping.is_set():
            self._process.kill()
        self._be({"running": {"startedAt": begun}})
        async with beside(self._follow(self._process, probes)):
            code = await self._process.wait()
        self._process = None
        self._ended(code, "Error" if code else "Completed", begun)

    async def _launch(self) -> tuple[Launch, dict[str, Probe]] | None:
        """Waits until the container can be started; None where it was stopped meanwhile."""
        while not self._stopping.is_set():
            self._retry.clear()
            try:
                if "postStart" in (self.spec.get("lifecycle") or {}):
                    raise ConfigError(f"container {self.spec['name']}: postStart hooks are not run here")
                launch = self._prepare()
                return launch, self._probes(launch)
            except ConfigError as error:
                self.waits(error.reason, str(error))
            await first(self._retry.wait(), self._stopping.wait())
        return None

    def _probes(self, launch: Launch) -> dict[str, Probe]:
        async def execute(command: list[str], timeout_s: float) -> int:
            return await _run_beside(command, launch, timeout_s)

        named = {name: self.spec.get(f"{name}Probe") for name in ("startup", "readiness", "liveness")}
        return {name: probe_of(spec, self.spec, self._host, execute) for name, spec in named.items() if spec}

    async def _follow(self, process: Process, probes: Mapping[str, Probe]) -> None:
        if not await self._alive(process, probes.get("startup"), only_once=True):
            return
        self.started = True
        self.ready = "readiness" not in probes
        self.has_started.set()
        self._changed()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._alive(process, probes.get("liveness"), only_once=False))
            group.create_task(self._follow_readiness(probes.get("readiness")))

    async def _alive(self, process: Process, probe: Probe | None, *, only_once: bool) -> bool:
        """Ends the process when the probe fails; True when it succeeded and that is all that was asked."""
        if probe is None:
            return True
        async with aclosing(probe.verdicts()) as verdicts:
            async for good in verdicts:
                if not good:
                    await process.stop(self._grace_s)
                    return False
                if only_once:
                    break
        return True

    async def _follow_readiness(self, probe: Probe | None) -> None:
        if probe is None:
            return
        async with aclosing(probe.verdicts()) as verdicts:
            async for good in verdicts:
                self.ready = good
                self._changed()

    async def _hook(self, hook: Mapping[str, Any]) -> None:
        """A hook that fails or cannot be run does not keep the container from ending."""
        if "sleep" in hook:
            await asyncio.sleep(float(hook["sleep"]["seconds"]))
            return
        try:
            launch = self._prepare()
            await check_of(
                hook, self.spec, self._host, lambda command, timeout_s: _run_beside(command, launch, timeout_s), _HOOK_TIMEOUT_S
            )()
        except (ConfigError, OSError, ValueError):
            return

    async def _wait_for_restart(self, delay_s: float) -> None:
        self._last_state = ended = self.state
        if delay_s:
            self.waits("CrashLoopBackOff", f"back-off {delay_s:g}s restarting failed container {self.spec['name']}")
            await first(self._stopping.wait(), timeout_s=delay_s)
        if self._stopping.is_set():
            self._last_state = {}
            self._be(ended)
            return
        self._restarts += 1

    def _ended(self, code: int, reason: str, begun: str, message: str = "") -> None:
        self.started = self.ready = False
        self.has_started.clear()
        details = {"exitCode": code, "reason": reason, "startedAt": begun, "finishedAt": now()}
        self._be({"terminated": details | ({"message": message} if message else {})})

    def _be(self, state: dict[str, Any]) -> None:
        if state != self.state:
            self.state = state
            self._changed()


async def _run_beside(command: list[str], launch: Launch, timeout_s: float) -> int:
    """Runs a command with the container's variables and folder; its exit code. TimeoutError when it took too long."""
    argv = [rewrite(word, launch.mounts) for word in command]
    process = await Process.start(argv, env=launch.env, cwd=launch.cwd, log=Path(os.devnull))
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    finally:
        process.kill()

"""Startup, readiness and liveness probes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forebay.local.environment import ConfigError

Check = Callable[[], Awaitable[bool]]
Execute = Callable[[list[str], float], Awaitable[int]]
"""Runs a command beside the container, killed after so many seconds; gives its exit code."""

_STATUS_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Probe:
    """A check and its pace. A check that takes longer than `timeout_s` counts as failed."""

    check: Check
    initial_delay_s: float
    period_s: float
    timeout_s: float
    successes: int
    failures: int

    async def verdicts(self) -> AsyncGenerator[bool, None]:
        """True after `successes` good checks in a row, False after `failures` bad ones; only where it differs from the last verdict."""
        verdict: bool | None = None
        streak, last = 0, True
        await asyncio.sleep(self.initial_delay_s)
        while True:
            good = await self._checked()
            streak = streak + 1 if good == last else 1
            last = good
            if good != verdict and streak >= (self.successes if good else self.failures):
                verdict = good
                yield good
            await asyncio.sleep(self.period_s)

    async def _checked(self) -> bool:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self.check()
        except (TimeoutError, OSError, ValueError):
            return False


def probe_of(spec: Mapping[str, Any], container: Mapping[str, Any], host: str, execute: Execute) -> Probe:
    """A probe as its container declares it. ConfigError for a kind of probe that is not known here."""
    timeout_s = float(spec.get("timeoutSeconds") or 1)
    return Probe(
        check=check_of(spec, container, host, execute, timeout_s),
        initial_delay_s=float(spec.get("initialDelaySeconds") or 0),
        period_s=float(spec.get("periodSeconds") or 10),
        timeout_s=timeout_s,
        successes=int(spec.get("successThreshold") or 1),
        failures=int(spec.get("failureThreshold") or 3),
    )


def check_of(spec: Mapping[str, Any], container: Mapping[str, Any], host: str, execute: Execute, timeout_s: float) -> Check:
    """What a probe or a lifecycle hook does, as something that can be awaited."""
    if http := spec.get("httpGet"):
        if http.get("scheme", "HTTP") != "HTTP":
            raise ConfigError(f"container {container['name']}: probes over {http['scheme']} cannot be made here")
        headers = {header["name"]: header["value"] for header in http.get("httpHeaders") or []}
        port = port_of(http["port"], container)
        return lambda: http_get(http.get("host") or host, port, http.get("path") or "/", headers)
    if tcp := spec.get("tcpSocket"):
        port = port_of(tcp["port"], container)
        return lambda: connects(tcp.get("host") or host, port)
    if command := (spec.get("exec") or {}).get("command"):

        async def succeeds() -> bool:
            return await execute(list(command), timeout_s) == 0

        return succeeds
    raise ConfigError(f"container {container['name']}: probes and hooks are httpGet, tcpSocket or exec here")


def port_of(port: int | str, container: Mapping[str, Any]) -> int:
    """The number of a port that may be named."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for declared in container.get("ports") or []:
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise ConfigError(f"container {container['name']} has no port named {port}")


async def connects(host: str, port: int) -> bool:
    _, writer = await asyncio.open_connection(host, port)
    await _close(writer)
    return True


async def http_get(host: str, port: int, path: str, headers: Mapping[str, str] | None = None) -> bool:
    """Whether the answer's status is 2xx or 3xx."""
    reader, writer = await asyncio.open_connection(host, port, limit=_STATUS_LINE_BYTES)
    try:
        fields = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/forebay", "Connection": "close"} | dict(headers or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        line = await reader.readline()
    finally:
        await _close(writer)
    parts = line.split(b" ", 2)
    return len(parts) > 1 and parts[0].startswith(b"HTTP/") and parts[1][:1] in (b"2", b"3")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()

"""`forebay up` with a pool at minReplicas 0: a real gateway holds the request, a replica is started for it, and it is answered."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.local.test_up import RESOURCES, a_folder
from tests.local.waiting import eventually

from forebay.adapters.cluster import INFERENCE_POOLS, PODS
from forebay.adapters.decisions import DecisionsInMemory
from forebay.local.folder import read_folder
from forebay.local.up import Local, Options, one_machine

ZERO = RESOURCES.replace("minReplicas: 2, maxReplicas: 4", "minReplicas: 0, maxReplicas: 4, scaleDown: {stabilization: 1s}")
BODY = json.dumps({"model": "support-chat", "max_tokens": 3, "messages": [{"role": "user", "content": "hello"}]}).encode()
HEADERS = {"authorization": "Bearer the-key", "content-type": "application/json"}


def ask(url: str) -> tuple[int, dict[str, str], Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/chat/completions", BODY, HEADERS), timeout=30) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def on_a_machine(path: Path, resources: str, test: Callable[[Local, str], Awaitable[None]]) -> None:
    """Runs a test once the gateway of these resources answers; it is given the gateway's URL."""

    async def run() -> None:
        folder = read_folder(a_folder(path / "in", resources=resources))
        options = Options(state=path / "state", decisions=DecisionsInMemory(), port=0, interval_s=0.5, stop_s=0.5)
        async with asyncio.timeout(60), one_machine(folder, options) as local:
            (gateway,) = await eventually(lambda: [name for name in local.gateways() if local.is_ready(name)])
            await test(local, local.gateways()[gateway])

    asyncio.run(run())


async def pods(local: Local) -> int:
    return len(await local.cluster.list(PODS, labels={"forebay.dev/pool": "chat"}))


async def ready(local: Local) -> str:
    """Reason of the pool's condition Ready."""
    pool = await local.cluster.get(INFERENCE_POOLS, "default", "chat")
    listed = ((pool or {}).get("status") or {}).get("conditions", [])
    return str(next((c["reason"] for c in listed if c["type"] == "Ready"), ""))


async def asleep(local: Local) -> bool:
    return await ready(local) == "Asleep" and not await pods(local)


def test_the_first_request_starts_a_replica_and_is_answered_and_then_it_sleeps_again(tmp_path: Path) -> None:
    async def test(local: Local, url: str) -> None:
        await eventually(lambda: asleep(local))
        status, headers, answer = await asyncio.to_thread(ask, url)
        assert (status, "held" in headers["x-decision"].split(",")) == (200, True), answer
        assert await pods(local) >= 1
        status, headers, _ = await asyncio.to_thread(ask, url)
        assert (status, "held" in headers["x-decision"]) == (200, False)
        await eventually(lambda: asleep(local), 30)
        assert (await asyncio.to_thread(ask, url))[0] == 200

    on_a_machine(tmp_path, ZERO, test)


def test_a_start_that_takes_too_long_is_503_with_retry_after(tmp_path: Path) -> None:
    """A start was learned to take a second or so, the class lets nobody wait for long, and the next server needs a minute."""

    async def test(local: Local, url: str) -> None:
        await eventually(lambda: asleep(local))
        await asyncio.to_thread(ask, url)
        await eventually(lambda: asleep(local), 30)
        slow = read_folder(a_folder(tmp_path / "slow", resources=impatient.replace("--startup, 0s", "--startup, 60s"))).objects
        await local.apply(slow)
        status, headers, answer = await eventually(lambda: refused(url), 30)
        assert (status, answer["error"]["code"]) == (503, "server_is_overloaded")
        assert int(headers["retry-after"]) >= 1
        assert "hold-timed-out" in headers["x-decision"]

    impatient = ZERO.replace("target: 2s}}", "target: 2s}}, queue: {maxWait: 100ms}")
    on_a_machine(tmp_path, impatient, test)


async def refused(url: str) -> tuple[int, dict[str, str], Any] | None:
    """The answer, once it is a refusal."""
    answer = await asyncio.to_thread(ask, url)
    return answer if answer[0] == 503 else None

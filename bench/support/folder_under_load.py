"""`forebay up` as a process of its own, on a folder with one pool of simulated engines, under a load that steps; its replicas counted."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import orjson

from bench.support.process import HOST, Measured, free_port, running
from forebay.api.inference_pool import Task
from forebay.dataplane.http.client import Client, UpstreamError
from forebay.dataplane.outcome import Outcome
from forebay.local.demo.doors import Door, find_doors
from forebay.local.demo.load import Due, Load, chat_body
from forebay.local.demo.shape import Shape, arrivals
from forebay.local.folder import Folder, read_folder
from forebay.local.rollout import is_over
from forebay.planning.variants import LABEL_POOL
from forebay.runtime.errors import ForebayError
from forebay.simulation.figures import Document
from forebay.simulation.request import Request
from forebay.simulation.study import Asked, study

INTERVAL_S = 3.0
"""Time between two decisions, in both."""
_INPUT_TOKENS, _OUTPUT_TOKENS = (100, 200, 300), (60, 80, 100)
_CHARACTERS = 4
"""Of a token, as the simulated engine counts them."""
_LOOK_S = 0.25
_READY_S = 90.0
_AFTER_S = 6.0
"""Replicas are counted for so long after the last answer: a simulation ends with the first sample after its own."""
_KNOWN_S = 2.0
"""Until the gateway knows of a replica that is ready."""

RESOURCES = Path(__file__).parents[1] / "resources" / "truth"

SHAPE = Shape(((0, 1), (20, 1), (20.1, 3.5), (70, 3.5), (70.1, 6), (120, 6), (120.1, 2), (150, 2), (150.1, 1), (200, 1)))
"""Up in two steps, down in two, and low for long enough to see replicas go."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One request, in seconds since the load begins, and its lengths."""

    at_s: float
    input_tokens: int
    output_tokens: int


def askings(shape: Shape, seed: int) -> list[Asking]:
    """Independent arrivals at the shape's rate, with lengths drawn from a few."""
    chance = random.Random(seed)
    return [Asking(at, chance.choice(_INPUT_TOKENS), chance.choice(_OUTPUT_TOKENS)) for at in arrivals(shape, seed)]


def simulated(folder: Folder, asked: Sequence[Asking], start_s: float) -> Document:
    """What `forebay simulate` says of the same folder, requests and start time."""
    study_of = Asked(tuple(folder.objects.values()), "default", "chat", start_s=start_s, interval_s=INTERVAL_S)
    return study(study_of, (Request(one.at_s, one.input_tokens, one.output_tokens, "interactive") for one in asked))


@dataclass(frozen=True, slots=True)
class Look:
    """Replicas at a moment, in seconds of the loop's clock: all there are, from being asked for to being gone, and those ready."""

    at_s: float
    there: int
    ready: int


def replica_s(looks: Sequence[Look], begin_s: float, end_s: float) -> float:
    """Replica-seconds between two moments; each look holds until the next one."""
    return sum(one.there * max(0.0, min(after.at_s, end_s) - max(one.at_s, begin_s)) for one, after in pairwise(looks))


def start_s(looks: Sequence[Look]) -> float:
    """From the first replica's being asked for to its being ready."""
    return next(look.at_s for look in looks if look.ready) - next(look.at_s for look in looks if look.there)


@dataclass(slots=True)
class Seen:
    """What came of a run."""

    looks: list[Look] = field(default_factory=list)
    began_s: float = 0.0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    start_s: float = 0.0


async def observed(asked: Sequence[Asking], root: Path) -> tuple[Folder, Seen]:
    """Runs the folder, loads it, and counts.

    Raises:
        ForebayError: it does not answer.
    """
    folder, port, api_port = read_folder(RESOURCES), free_port(), free_port()
    ports = ["--port", str(port), "--api-port", str(api_port)]
    argv = [sys.executable, "-m", "forebay", "up", str(RESOURCES), *ports, "--state", str(root / "state"), "--interval", f"{INTERVAL_S:g}s"]
    seen, client = Seen(), Client()
    clock = asyncio.get_running_loop().time
    try:
        async with running("up", argv, root, core=None, env={"HOME": str(root)}) as process:
            watching = asyncio.create_task(_watch(client, api_port, seen.looks))
            door = find_doors(folder)[Task.CHAT]
            load = Load(client, {door.gateway: f"http://{HOST}:{port}"})
            await _ready(client, port, door, process, seen, root)
            seen.start_s, seen.began_s = start_s(seen.looks), clock()
            await load.run([Due(one.at_s, door, _body(door, number, one)) for number, one in enumerate(asked)], seen.began_s)
            await asyncio.sleep(_AFTER_S)
            watching.cancel()
    finally:
        await client.close()
    seen.outcomes = Counter(one.outcome for one in load.answered)
    seen.outcomes[Outcome.LOST] += load.held_back
    return folder, seen


def _body(door: Door, number: int, one: Asking) -> bytes:
    return chat_body(door, f"{number:06d}".ljust(one.input_tokens * _CHARACTERS, "x"), one.output_tokens)


async def _ready(client: Client, port: int, door: Door, process: Measured, seen: Seen, root: Path) -> None:
    """Waits for a replica and the gateway. Asks the model for nothing: sizing is to know as little of lengths as in the simulation."""
    key, until = [(b"authorization", f"Bearer {door.key}".encode())], asyncio.get_running_loop().time() + _READY_S
    while not process.ended and asyncio.get_running_loop().time() < until:
        with suppress(UpstreamError):
            async with await client.send(HOST, port, "GET", "/v1/models", key, b"") as reply:
                await reply.read()
            if reply.status == 200 and seen.looks and seen.looks[-1].ready:
                await asyncio.sleep(_KNOWN_S)
                return
        await asyncio.sleep(_LOOK_S)
    raise ForebayError(f"forebay up does not answer:\n{(root / 'up.log').read_text(errors='replace')[-2000:]}")


async def _watch(client: Client, api_port: int, looks: list[Look]) -> None:
    """Counts the pool's pods again and again."""
    clock, path = asyncio.get_running_loop().time, f"/api/v1/namespaces/default/pods?labelSelector={quote(f'{LABEL_POOL}=chat')}"
    while True:
        with suppress(UpstreamError):  # it does not listen yet
            async with await client.send(HOST, api_port, "GET", path, [], b"") as reply:
                pods = [pod for pod in orjson.loads(await reply.read())["items"] if not is_over(pod)]
            looks.append(Look(clock(), len(pods), sum(map(_is_ready, pods))))
        await asyncio.sleep(_LOOK_S)


def _is_ready(pod: dict[str, object]) -> bool:
    status = pod.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

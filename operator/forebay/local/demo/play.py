"""The demo from its beginning to its report: wait until everything answers, load it, take a spot node away, and count."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forebay.adapters.cluster import INFERENCE_POOLS
from forebay.adapters.decisions import DecisionsInMemory
from forebay.api.inference_pool import Task
from forebay.dataplane.http.client import Client
from forebay.dataplane.outcome import Outcome
from forebay.local.demo.doors import Door, class_specs, find_doors, pool_specs
from forebay.local.demo.load import Due, Load, Vector, chat_body, embeddings_body, schedule
from forebay.local.demo.reclaim import Reclaimed, reclaim_spot
from forebay.local.demo.shape import Shape
from forebay.local.demo.summary import Document, Seen, summary
from forebay.local.demo.texts import QUERY, QUESTIONS
from forebay.local.demo.watch import Watch
from forebay.local.folder import Folder
from forebay.local.up import Local
from forebay.local.waiting import beside
from forebay.runtime.errors import ForebayError

Say = Callable[[str], None]

_TELL_EVERY_S = 5.0
_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Script:
    """What is done to the machine. Times in seconds since the load begins."""

    shapes: dict[Task, Shape]
    reclaim_at_s: float
    notice_s: float
    seed: int = 12
    ready_within_s: float = 120.0

    @property
    def seconds(self) -> float:
        return max(shape.seconds for shape in self.shapes.values())


SCRIPT = Script(
    shapes={
        Task.CHAT: Shape(((0, 0.6), (8, 0.6), (35, 1.6), (60, 3.4), (80, 5.6), (104, 5.6), (110, 0.6), (142, 0.6))),
        Task.EMBEDDINGS: Shape(((0, 0.5), (8, 0.5), (80, 1.5), (104, 1.5), (110, 0.5), (142, 0.5))),
    },
    reclaim_at_s=94.0,
    notice_s=10.0,
)
"""Low, up to what needs several replicas, and low again for long enough to see capacity go. The notice is shorter than any cloud's."""


async def play(local: Local, folder: Folder, decisions: DecisionsInMemory, script: Script, say: Say) -> Document:
    """Runs the script and returns its summary.

    Raises:
        ForebayError: no chat model can be asked, or something is not ready in time.
    """
    doors, pools = find_doors(folder), pool_specs(folder)
    client = Client()
    try:
        load = await _ready(local, client, doors, script)
        due = schedule(doors, script.shapes, script.seed)
        say(f"the demo begins: {len(due)} requests in {script.seconds:.0f} s")
        clock = asyncio.get_running_loop().time
        began, epoch = clock(), time.time()
        watch = Watch(local.cluster, pools, lambda: (load.sent, load.in_flight))
        async with beside(watch.run(began), _tell(load, watch, say)), asyncio.TaskGroup() as group:
            group.create_task(load.run(due, began))
            taken = group.create_task(_reclaim(local, client, doors[Task.CHAT].pool, script, began))
        watch.samples.append(await watch.sample(clock() - began))
        nearest = await _nearest(load, doors)
    finally:
        await client.close()
    return summary(
        Seen(
            began=epoch,
            classes=class_specs(folder),
            pools=pools,
            answered=load.answered,
            held_back=load.held_back,
            samples=watch.samples,
            decisions=list(decisions.records),
            reclaimed=taken.result(),
            nearest=nearest,
        )
    )


async def _ready(local: Local, client: Client, doors: dict[Task, Door], script: Script) -> Load:
    """Waits until every door has answered once; these first requests are not counted."""
    clock = asyncio.get_running_loop().time
    until = clock() + script.ready_within_s
    for door in doors.values():
        body = chat_body(door, QUESTIONS[0], 1) if door.task == Task.CHAT else embeddings_body(door, QUERY)
        status = 0
        while True:
            load = Load(client, local.gateways())
            if local.is_ready(door.gateway):
                answered = await load.ask(Due(0.0, door, body, QUERY))
                if answered.outcome is Outcome.FINISHED:
                    break
                status = answered.status
            if clock() > until:
                raise ForebayError(await _not_ready(local, door, status, script.ready_within_s))
            await asyncio.sleep(_LOOK_S)
    return load


async def _not_ready(local: Local, door: Door, status: int, within_s: float) -> str:
    namespace, _, name = door.pool.partition("/")
    pool = await local.cluster.get(INFERENCE_POOLS, namespace, name)
    conditions = ((pool or {}).get("status") or {}).get("conditions") or []
    told = next((f": {c['reason']}: {c['message']}" for c in conditions if c["type"] == "Ready"), "")
    last = f"its last answer was {status}" if status else "it never answered"
    return f"model {door.model} gave no good answer within {within_s:g} s, {last}; pool {door.pool}{told}. With --state DIR the logs stay"


async def _reclaim(local: Local, client: Client, pool: str, script: Script, began: float) -> Reclaimed | None:
    await asyncio.sleep(max(0.0, began + script.reclaim_at_s - asyncio.get_running_loop().time()))
    return await reclaim_spot(local, client, pool, script.notice_s, began, began + script.seconds)


async def _tell(load: Load, watch: Watch, say: Say) -> None:
    """A line every few seconds: what was asked, what became of it, what there is."""
    before = 0
    while True:
        await asyncio.sleep(_TELL_EVERY_S)
        sample = watch.samples[-1]
        became = Counter(one.outcome for one in load.answered)
        pools = ", ".join(f"{name.partition('/')[2]} {p.ready}/{p.desired}" for name, p in sample.pools.items())
        say(
            f"{sample.at_s:+5.0f} s  {(load.sent - before) / _TELL_EVERY_S:.1f} requests/s, {load.in_flight} in flight,"
            f" {became[Outcome.FINISHED]} finished, {became[Outcome.REFUSED]} refused, {became[Outcome.LOST]} lost; {pools}"
        )
        before = load.sent


async def _nearest(load: Load, doors: dict[Task, Door]) -> dict[str, Any] | None:
    """The sentence nearest to the query, by the vectors that the model gave."""
    if Task.EMBEDDINGS not in doors or not load.vectors:
        return None
    sentences = {text: vector for text, vector in load.vectors.items() if text != QUERY}
    await load.ask(Due(0.0, doors[Task.EMBEDDINGS], embeddings_body(doors[Task.EMBEDDINGS], QUERY), QUERY))
    if not sentences or QUERY not in load.vectors:
        return None
    query = load.vectors[QUERY]
    text = max(sentences, key=lambda sentence: cosine(query, sentences[sentence]))
    return {"query": QUERY, "sentence": text, "cosine": round(cosine(query, sentences[text]), 4)}


def cosine(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other) or 1.0)

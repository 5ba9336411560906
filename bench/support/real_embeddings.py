"""The real embeddings engine behind the real sidecar: one replica on a core of its own, measured as `forebay profile` does, and loaded."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from time import perf_counter

import orjson

from bench.support.priority import Spent, favour, spent
from bench.support.process import CORES, HOST, Measured, free_port, listening, running
from forebay.api.batch_class import Batching
from forebay.api.canonical import sealed
from forebay.api.inference_pool import Task
from forebay.dataplane.http.client import Client, UpstreamError
from forebay.dataplane.http.errors import JSON
from forebay.planning.work import EngineProfile
from forebay.profiling.curve import measured
from forebay.profiling.load import Endpoint, Level, Loader
from forebay.runtime.errors import ForebayError

CLASS = "lookup"
BATCHING = Batching.model_validate({"mode": "Adaptive", "maxBatchSize": 16, "window": "10ms", "maxBatchTokens": 4096})
"""That of the quickstart."""

MEAN_WORDS = 96
"""Of a text; `forebay profile` asks with 0.25, 1 and 1.75 times as many."""
_FEWEST, _MOST = MEAN_WORDS * 3 // 4, MEAN_WORDS * 5 // 4
"""Of a text of a load, as of documents cut into pieces. The engine pads a batch to its longest text: the more unequal texts are, the more
work a queue makes, and with lengths as those of the profile the engine could not be kept busy without being overloaded."""
_MARKS = 2
_WORDS = ("time", "year", "way", "day", "man", "thing", "life", "hand", "part", "eye", "place", "work", "week", "case", "point", "word")
"""One token each; every text has two marks beside them."""

MEAN_TOKENS = MEAN_WORDS + _MARKS

_MODEL = "all-MiniLM-L6-v2"
_AT_ONCE = (1, 2, 4)
_START_S = 60.0
_REST = 0.12
_ALONE, _PAUSE_S = 120, 0.05


@dataclass(frozen=True, slots=True)
class Text:
    """One request: when it is sent, in seconds since the load begins, and how many words it has."""

    at_s: float
    words: int

    @property
    def tokens(self) -> int:
        return self.words + _MARKS


def texts(seed: int, rate: float, seconds: float) -> list[Text]:
    """Poisson arrivals at a rate, with lengths that are all equally likely."""
    chance, at, found = random.Random(seed), 0.0, list[Text]()
    while (at := at + chance.expovariate(rate)) < seconds:
        found.append(Text(at, chance.randint(_FEWEST, _MOST)))
    return found


class _Resting(Loader):
    """Leaves the core to others between two batches.

    Linux gives ordinary threads a twentieth of a core that a real-time one keeps to itself all the time; a load well below saturation
    never meets with that, and so neither must the measurement.
    """

    async def _embed(self, level: Level) -> None:
        began = perf_counter()
        await super()._embed(level)
        await asyncio.sleep(_REST * (perf_counter() - began))


@dataclass(frozen=True, slots=True)
class Replica:
    """A running pair."""

    engine: Measured
    engine_port: int
    port: int
    client: Client
    favoured: bool

    def spent(self) -> Spent:
        """The engine's own CPU so far, and what it waited for."""
        return spent(self.engine.pid, CORES[0])

    async def profile(self, seconds: float) -> EngineProfile:
        """What `forebay profile --task Embeddings` finds, asking the engine itself."""
        endpoint = Endpoint(HOST, self.engine_port, "", _MODEL, Task.EMBEDDINGS, input_tokens=MEAN_WORDS)
        loader = _Resting(endpoint, self.client)
        levels = [await loader.at(count, seconds / len(_AT_ONCE)) for count in _AT_ONCE]
        base_s, per_token_s = measured(levels, loader.steps.sums, Task.EMBEDDINGS).times.times_s
        return EngineProfile(base_s, per_token_s, 0.0, BATCHING.max_batch_size, Task.EMBEDDINGS)

    async def load(self, due: Sequence[Text], seed: int) -> list[float | None]:
        """Sends each text at its moment, whatever became of those before. Seconds from that moment to the answer; None: not answered."""
        chance = random.Random(seed)
        bodies = [orjson.dumps({"model": _MODEL, "input": " ".join(chance.choices(_WORDS, k=text.words))}) for text in due]
        began, tasks = perf_counter() + 0.1, list[asyncio.Task[float | None]]()
        for text, body in zip(due, bodies, strict=True):
            await asyncio.sleep(max(0.0, began + text.at_s - perf_counter()))
            tasks.append(asyncio.create_task(self._ask(body, began + text.at_s, self.port)))
        return await asyncio.gather(*tasks)

    async def sidecar_s(self) -> float:
        """What the sidecar adds to a text that comes alone: the mean of many, each beside the same text straight to the engine."""
        body, ways = orjson.dumps({"model": _MODEL, "input": " ".join(islice(cycle(_WORDS), MEAN_WORDS))}), (self.port, self.engine_port)
        added = list[float]()
        for number in range(_ALONE):
            # Whichever is first has the caches of an idle processor: they take turns.
            took = {}
            for port in ways if number % 2 else reversed(ways):
                await asyncio.sleep(_PAUSE_S)
                took[port] = await self._ask(body, perf_counter(), port)
            through, straight = (took[port] for port in ways)
            if through is not None and straight is not None:
                added.append(through - straight)
        return fmean(added)

    async def _ask(self, body: bytes, began: float, port: int) -> float | None:
        try:
            async with await self.client.send(HOST, port, "POST", "/v1/embeddings", [JSON], body) as reply:
                await reply.read()
        except UpstreamError:
            return None
        return perf_counter() - began if reply.status == 200 else None

    async def warm(self) -> None:
        """Answers some, so that all is loaded; and looks whether lengths are what they are taken for.

        Raises:
            ForebayError: they are not, or the engine does not answer.
        """
        for words in (*range(1, MEAN_WORDS * 7 // 4, 8), MEAN_WORDS):
            body = orjson.dumps({"model": _MODEL, "input": " ".join(islice(cycle(_WORDS), words))})
            for port in (self.port, self.engine_port):
                async with await self.client.send(HOST, port, "POST", "/v1/embeddings", [JSON], body) as reply:
                    answer = orjson.loads(await reply.read())
        if (tokens := answer.get("usage", {}).get("prompt_tokens")) != MEAN_TOKENS:
            raise ForebayError(f"a text of {MEAN_WORDS} words has {tokens} tokens, not {MEAN_TOKENS}")


@asynccontextmanager
async def replica(folder: Path) -> AsyncIterator[Replica]:
    """Engine on the first core with one thread, sidecar on the last; both before others where that is permitted."""
    port, engine_port = free_port(), free_port()
    (config := folder / "sidecar.json").write_bytes(orjson.dumps(_document()))
    forebay = [sys.executable, "-m", "forebay"]
    engine = [*forebay, "engine", "embeddings", "--host", HOST, "--port", str(engine_port), "--threads", "1"]
    sidecar = [*forebay, "sidecar", "--config", str(config), "--host", HOST, "--port", str(port), "--engine", f"{HOST}:{engine_port}"]
    client = Client()
    try:
        async with running("engine", engine, folder) as engine_process:
            await listening(engine_process, engine_port, folder, _START_S)
            async with running("sidecar", [*sidecar, "--grace", "1s"], folder, core=-1) as process:
                await listening(process, port, folder)
                found = Replica(engine_process, engine_port, port, client, False)
                await found.warm()
                # After the first requests, for only then all threads are there.
                yield Replica(engine_process, engine_port, port, client, favour(engine_process.pid) and favour(process.pid))
    finally:
        await client.close()


def _document() -> dict[str, object]:
    batching = {
        "mode": BATCHING.mode.value,
        "maxBatchSize": BATCHING.max_batch_size,
        "windowSeconds": BATCHING.window,
        "maxBatchTokens": BATCHING.max_batch_tokens,
    }
    queue = {"maxDepth": 4096, "maxWaitSeconds": 60.0}
    only = {"name": CLASS, "tier": "NearRealTime", "priority": 50, "objectives": {}, "batching": batching, "queue": queue}
    head = {"schemaVersion": 1, "pool": {"namespace": "default", "name": "truth"}, "model": _MODEL, "task": "Embeddings", "engine": "TEI"}
    return sealed({**head, "classes": [only], "defaultClass": CLASS})

"""What a clairvoyant would pay on the very workload: the least that it comes to with every promise kept.

It knows the arrivals, and replicas take their time to start as under any law. What is searched, on the workload that it is scored on: how
much of its time a replica is given work for, within bins of how many seconds, and whether work that may wait is spread. Where not even all
replicas that the pool may have, from the first decision on, keep a promise, as after a cold start, as much as they keep is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import ceil, log2

from forebay.api.batch_class import BatchClassSpec
from forebay.planning.target import promises
from forebay.simulation.beside import Beside
from forebay.simulation.figures import Document
from forebay.simulation.laws.capacity import full_s
from forebay.simulation.laws.clairvoyant import Clairvoyant, Foresight, largest
from forebay.simulation.laws.registry import CLAIRVOYANT
from forebay.simulation.study import TELL_EVERY

SHARES = [0.04 * 1.03**k for k in range(127)]
"""What a replica is given: of its throughput with every place taken, from next to nothing to 1.65 times as much."""

BINS_S = (15.0, 60.0)
SPREAD = 0.5
"""Work may be spread over so much of the time that its class allows."""

NEARLY = 0.001
"""Chance between two runs: an attainment that lies so little below what can be had is none the worse."""


@dataclass(frozen=True, slots=True)
class Form:
    """How it looks at what comes: by how many seconds, ordering how long ahead, and over how much of what it may wait work is spread."""

    bin_s: float
    ahead_s: float
    spread: float


@dataclass(frozen=True, slots=True)
class Tried:
    """A run: its figures, replica-seconds, and requests not answered of classes that are promised no latency."""

    row: Document
    replica_s: float
    gone: int

    def as_good_as(self, best: Tried) -> bool:
        """Whether every promise is kept, or as much of it as with all replicas."""
        known = {(row["class"], row["objective"]): row["attainment"] for row in best.row["objectives"]}
        enough = all(
            row["attainment"] >= min(row["quantile"], known[row["class"], row["objective"]] - NEARLY) for row in self.row["objectives"]
        )
        return enough and self.gone <= best.gone + NEARLY * sum(self.row["requests"][what] for what in ("answered", "refused", "lost"))


def searched(beside: Beside) -> Document:
    """Its row; `searched` says with what it came to that, and in how many runs."""
    return _Search(beside).row()


class _Search:
    def __init__(self, beside: Beside) -> None:
        self._beside = beside
        waits_s = {name: slack_s(spec) for name, spec in beside.operator.classes().items()}
        spreads = (0.0, SPREAD) if any(SPREAD * wait_s >= 2 * max(BINS_S) for wait_s in waits_s.values()) else (0.0,)
        start_s, unequal = beside.asked.start_s, beside.asked.start_spread
        # Of starts that take unequally long it knows how unequal they are, and not which takes how long.
        aheads_s = (start_s, start_s * (1.0 + 2.0 * unequal)) if unequal else (start_s,)
        self._forms = [Form(*each) for each in product(BINS_S, aheads_s, spreads)]
        self._most_runs = 1 + len(self._forms) * ceil(log2(len(SHARES) + 1))
        self._runs = 0
        self._done: dict[tuple[Form, tuple[int, ...]], Tried] = {}
        self._foreseen = self._read(waits_s)

    def _read(self, waits_s: dict[str, float]) -> dict[tuple[float, float], Foresight]:
        """The work of the whole workload, by the seconds of a bin and the spread."""
        found = {(form.bin_s, form.spread): Foresight(form.bin_s) for form in self._forms}
        with self._beside.again(f"{CLAIRVOYANT}, reading ahead") as (workload, tell):
            for number, request in enumerate(workload):
                work = full_s(self._beside.real, request.input_tokens, request.output_tokens)
                for (_, spread), foresight in found.items():
                    foresight.add(request.arrived, work, spread * waits_s.get(request.batch_class, 0.0))
                if number % TELL_EVERY == 0:
                    tell(request.arrived, number)
        return found

    def row(self) -> Document:
        best = self._run(self._forms[0], [self._beside.most] * len(self._foreseen[self._forms[0].bin_s, 0.0].needs(1.0)))
        held = [(form, *found) for form in self._forms if (found := self._of(form, best)) is not None]
        form, share, least = min(held, key=lambda each: each[2].replica_s, default=(None, None, best))
        how: dict[str, float | None] = {"share": None, "binSeconds": None, "aheadSeconds": None, "spread": None}
        if form is not None and share is not None:
            how = {"share": round(share, 4), "binSeconds": form.bin_s, "aheadSeconds": form.ahead_s, "spread": form.spread}
        return {**least.row, "bound": True, "searched": {**how, "runs": self._runs}}

    def _of(self, form: Form, best: Tried) -> tuple[float, Tried] | None:
        foresight = self._foreseen[form.bin_s, form.spread]
        return largest(SHARES, lambda share: self._run(form, foresight.needs(share)), lambda tried: tried.as_good_as(best))

    def _run(self, form: Form, needs: list[int]) -> Tried:
        bounded = tuple(min(max(need, self._beside.least), self._beside.most) for need in needs)
        # A small pool needs the same replicas with many a share; how work was spread matters no more.
        key = replace(form, spread=0.0), bounded
        if (known := self._done.get(key)) is not None:
            return known
        self._runs += 1
        what = f"{CLAIRVOYANT}, run {self._runs} of at most {self._most_runs}"
        outcome = self._beside.run(what, Clairvoyant(bounded, form.bin_s, form.ahead_s), self._beside.least)
        free = [name for name, spec in self._beside.operator.classes().items() if not promises(spec)]
        gone = sum(outcome.refused_of.get(name, 0) + outcome.lost_of.get(name, 0) for name in free)
        tried = self._done[key] = Tried(self._beside.row(CLAIRVOYANT, outcome), outcome.replica_s, gone)
        return tried


def slack_s(spec: BatchClassSpec) -> float:
    """How long a request of the class may wait without harm: by what it is promised of a first token or an end, and by its queue."""
    latencies = [p.target_s for p in promises(spec) if p.metric != "interTokenLatency"]
    return min([*latencies, spec.queue.max_wait])

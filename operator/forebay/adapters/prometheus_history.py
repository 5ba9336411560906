"""The past of a pool's classes from a Prometheus: ten-minute means as far back as is asked for, and the last day by the minute.

It is asked in threads of its own, a few at once. Whoever asks waits a moment only: where the answer comes later, a later decision has it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from forebay.adapters import promql
from forebay.adapters.promql import FAILURES, OPEN, Access, PromQL, Row
from forebay.api.meta import format_duration
from forebay.planning import series
from forebay.planning.backfill import DAY_S, SLOT_S
from forebay.planning.forecast.codes import MAX_VALUE, MISSING, code_of, packed
from forebay.planning.measured import ClassHistory, MeasuredPast

MINUTE_S = 60.0
PATIENCE_S = 5.0
"""A decision waits so long for a past."""
LONGEST_S = 60.0
RETRY_S = 300.0
MAX_WAITING = 32
"""Pools that are asked for at once; a further one comes with a later decision."""
THREADS = 2

_log = logging.getLogger(__name__)

_COLUMNS = (
    (f"sum by (batch_class) (rate({series.ARRIVALS}%s))", ""),
    (f"sum by (batch_class) (rate({series.REQUESTS}%s))", 'outcome="ok"'),
    (f"sum by (batch_class) (rate({series.TOKENS}%s))", 'token_type="input"'),
    (f"sum by (batch_class) (rate({series.TOKENS}%s))", 'token_type="output"'),
)
"""Arrivals, answered requests, their input and their output tokens."""

Place = tuple[str, str]


class PrometheusHistory:
    """History by PromQL. A past of which the server could tell only a part is asked for again later."""

    def __init__(self, url: str, matchers: Mapping[str, str] | None = None, access: Access = OPEN) -> None:
        self._promql, self._matchers = PromQL(url, access), dict(matchers or {})
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="history")
        self._asked: dict[Place, asyncio.Future[dict[str, ClassHistory]]] = {}
        self._failed: dict[Place, tuple[float, str]] = {}

    def forget(self, namespace: str, pool: str) -> None:
        self._failed.pop((namespace, pool), None)
        if (asked := self._asked.pop((namespace, pool), None)) is not None:
            asked.cancel()

    def trouble(self, namespace: str, pool: str) -> str:
        _, why = self._failed.get((namespace, pool), (0.0, ""))
        return f"Prometheus: {why} (asked again every {format_duration(RETRY_S)}; the operator's log has its words)" if why else ""

    async def read(self, namespace: str, pool: str, since: Mapping[str, float], now: float) -> dict[str, ClassHistory]:
        place = namespace, pool
        if place not in self._asked:
            failed_at, _ = self._failed.get(place, (-math.inf, ""))
            if 0 <= now - failed_at < RETRY_S or len(self._asked) >= MAX_WAITING:
                return {}
            loop = asyncio.get_running_loop()
            self._asked[place] = loop.run_in_executor(self._threads, self._ask, place, dict(since), now)
            await asyncio.wait({self._asked[place]}, timeout=PATIENCE_S)
        return self._answer(place, since, now)

    def _answer(self, place: Place, since: Mapping[str, float], now: float) -> dict[str, ClassHistory]:
        """What came of the question, once: the next one is a new one."""
        asked = self._asked.get(place)
        if asked is None or not asked.done():
            return {}
        del self._asked[place]
        try:
            found = {name: past for name, past in asked.result().items() if name in since}
        except FAILURES as error:
            _log.warning("the history of %s/%s could not be read, again in %.0f s: %s", *place, RETRY_S, promql.told(error))
            self._failed[place] = now, promql.trouble(error)
            return {}
        self._failed.pop(place, None)
        return found

    def _ask(self, place: Place, since: Mapping[str, float], now: float) -> dict[str, ClassHistory]:
        until = time.monotonic() + LONGEST_S
        start = min(since.values())
        parts = [self._part(place, start, now, SLOT_S, until), self._part(place, max(start, now - DAY_S), now, MINUTE_S, until)]
        return {name: _history(name, first, parts) for name, first in since.items()}

    def _part(self, place: Place, start: float, end: float, step_s: float, until: float) -> _Part:
        """Every class's means of whole steps between two times."""
        first, last = math.floor(start / step_s) * step_s, math.floor(end / step_s) * step_s
        count = round((last - first) / step_s)
        if count < 1:
            return _Part(first, step_s, 0, ())
        columns = []
        for query, only in _COLUMNS:
            select = promql.selector(*place, self._matchers) + (f",{only}" if only else "") + f"}}[{step_s:.0f}s]"
            rows = self._promql.steps(query % select, first + step_s, last, step_s, until)
            columns.append({row["metric"].get("batch_class", ""): _codes(row, first, step_s, count) for row in rows})
        return _Part(first, step_s, count, tuple(columns))


@dataclass(frozen=True, slots=True)
class _Part:
    """Steps of `step_s` seconds from `first`: for each of _COLUMNS the codes by class."""

    first: float
    step_s: float
    count: int
    columns: tuple[dict[str, list[int]], ...]


def _history(name: str, since: float, parts: list[_Part]) -> ClassHistory:
    """One class's past, without the steps before `since` that were read for other classes."""
    known = []
    for part in parts:
        skip = min(part.count, max(0, math.ceil((since - part.first) / part.step_s)))
        if part.columns and name in part.columns[0] and skip < part.count:
            unknown = [MISSING] * part.count
            requests, completed, inputs, outputs = (packed(column.get(name, unknown)[skip:], "H") for column in part.columns)
            known.append(
                MeasuredPast(
                    start=part.first + skip * part.step_s,
                    step_s=part.step_s,
                    requests=requests,
                    completed=completed,
                    input_tokens=inputs,
                    output_tokens=outputs,
                )
            )
    return ClassHistory(since=since, source="prometheus", parts=tuple(known))


def _codes(row: Row, first: float, step_s: float, count: int) -> list[int]:
    """A row's values by step; what is missing, or is no rate, is unknown. A value at a time is the mean of the step before it."""
    codes = [MISSING] * count
    for at, text in row["values"]:
        index, value = round((float(at) - first) / step_s) - 1, float(text)
        if 0 <= index < count and 0 <= value <= MAX_VALUE:
            codes[index] = code_of(value)
    return codes

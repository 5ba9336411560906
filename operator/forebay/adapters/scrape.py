"""Demand by reading every sidecar's own `/metrics`: what is used where there is no Prometheus.

Counters are differenced per replica between two scrapes, and the differences are summed over a window. So a replica that went away keeps
counting for what it did within the window, one that restarted counts from zero, and one seen for the first time counts from zero only if
it became ready within the window. One scrape alone says nothing about rates: demand is unknown until the second.

A reading in which a value is no number, or arrivals are missing, is no reading: what is not known must not look like no load. Why a replica
that is ready was not read is told.

Spans are measured with the monotonic clock: the calendar may be set, and rates over what it jumped by would be of any size.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from statistics import variance

from prometheus_client.parser import text_string_to_metric_families

from forebay.adapters.metrics import Target
from forebay.adapters.sums import Sample, class_demand, classes_of, prompting_of, steps_of
from forebay.dataplane.http.client import Client, UpstreamError
from forebay.planning.measured import Demand
from forebay.planning.series import (
    ARRIVALS,
    ARRIVED_TOKENS,
    CONFIG_INFO,
    IN_FLIGHT,
    OBJECTIVE,
    PROMPTING,
    QUEUE_DEPTH,
    REQUESTS,
    STEP_MOMENTS,
    TOKENS,
    TOKENS_SQUARED,
    TTFT_BUCKET,
)

WINDOW_S = 45.0
MIN_SPACING_S = 1.0
MAX_SCRAPES = 64
SCRAPE_TIMEOUT_S = 3.0
MAX_BODY_BYTES = 4 << 20
AT_ONCE = 32
MAX_WRONG = 4
_MOST = 1e24

_FURTHER = {
    REQUESTS: "outcome",
    TOKENS: "token_type",
    TOKENS_SQUARED: "token_type",
    OBJECTIVE: "met",
    TTFT_BUCKET: "le",
    STEP_MOMENTS: "term",
    PROMPTING: "term",
}
_COUNTERS = frozenset({ARRIVALS, ARRIVED_TOKENS, REQUESTS, TOKENS, TOKENS_SQUARED, OBJECTIVE, TTFT_BUCKET, STEP_MOMENTS, PROMPTING})
_GAUGES = frozenset({QUEUE_DEPTH, IN_FLIGHT})
_COUNTED = _COUNTERS | _GAUGES
_AT_WORK = frozenset({REQUESTS, QUEUE_DEPTH, IN_FLIGHT})


@dataclass(slots=True)
class Reading:
    """One sidecar at one moment. `wrong` says why it cannot be counted with, where it cannot."""

    counters: dict[Sample, float] = field(default_factory=dict)
    gauges: dict[Sample, float] = field(default_factory=dict)
    config_hash: str = ""
    wrong: str = ""


def parse(text: str) -> Reading:
    """What matters of a sidecar's exposition.

    Raises:
        ValueError: the text is not an exposition.
    """
    reading = Reading()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == CONFIG_INFO and sample.value == 1:
                reading.config_hash = sample.labels.get("hash", "")
            series = (sample.name, sample.labels.get("batch_class", ""), sample.labels.get(_FURTHER.get(sample.name, ""), ""))
            if sample.name in _COUNTED and not countable(sample.value):
                reading.wrong = reading.wrong or uncountable(*series[:2], sample.value)
            elif not _bounded(series):
                continue
            elif sample.name in _COUNTERS:
                reading.counters[series] = reading.counters.get(series, 0.0) + sample.value
            elif sample.name in _GAUGES:
                reading.gauges[series] = reading.gauges.get(series, 0.0) + sample.value
    reading.wrong = reading.wrong or missing(reading.counters, reading.gauges)
    return reading


def countable(value: float) -> bool:
    """Whether a value is a number from 0 whose sums stay finite."""
    return 0 <= value <= _MOST


def uncountable(metric: str, name: str, value: float) -> str:
    """What is said of a value that cannot be counted with."""
    return f"{metric} of class {name} is {value:g}" if name and metric != STEP_MOMENTS else f"{metric} is {value:g}"


def missing(counted: dict[Sample, float], gauges: dict[Sample, float]) -> str:
    """Which arrivals are missing: a class that is at work has some, and whoever counts anything counts them. Nothing where none are."""
    arrived = {name for metric, name, _ in counted if metric == ARRIVALS}
    at_work = {name for (metric, name, _), value in (*counted.items(), *gauges.items()) if name and value > 0.0 and metric in _AT_WORK}
    unknown = sorted(at_work - arrived)
    if unknown:
        return f"{ARRIVALS} of class {unknown[0]} is missing"
    return "" if arrived else f"{ARRIVALS} is missing"


def _bounded(series: Sample) -> bool:
    """Whether the bound of a histogram's bucket is a number; of other series nothing is asked."""
    try:
        return series[0] != TTFT_BUCKET or not math.isnan(float(series[2]))
    except ValueError:
        return False


@dataclass(slots=True)
class _Pool:
    """What is kept of one pool: last counters per replica, and what was added at each scrape of the window, by the monotonic clock.
    `since` is when a replica was heard again that was asked before without being heard.
    """

    since: dict[str, float] = field(default_factory=dict)
    last: dict[str, tuple[float, dict[Sample, float]]] = field(default_factory=dict)
    added: deque[tuple[float, dict[Sample, float]]] = field(default_factory=lambda: deque(maxlen=MAX_SCRAPES))
    answer: Demand | None = None


class ScrapedMetrics:
    """Metrics by scrape."""

    def __init__(self, client: Client, window_s: float = WINDOW_S, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client, self._window_s, self._monotonic = client, window_s, monotonic
        self._pools: dict[tuple[str, str], _Pool] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def forget(self, namespace: str, pool: str) -> None:
        self._pools.pop((namespace, pool), None)

    async def demand(self, namespace: str, pool: str, targets: list[Target], now: float) -> Demand | None:
        kept = self._pools.setdefault((namespace, pool), _Pool())
        at_s = self._monotonic()
        silent_s = at_s - kept.added[-1][0] if kept.added else 0.0
        if kept.added and silent_s < MIN_SPACING_S:
            return kept.answer
        if silent_s > self._window_s:
            kept.added.clear()
            kept.last.clear()
            kept.since.clear()
        answers = await asyncio.gather(*(self._read(target) for target in targets))
        read = {target.pod: (target, found) for target, found in zip(targets, answers, strict=True) if isinstance(found, Reading)}
        silent = {t.pod: why for t, why in zip(targets, answers, strict=True) if isinstance(why, str) and t.ready_at is not None}
        faults = {pod: reading.wrong or _lost(kept.last.get(pod), reading, at_s - self._window_s) for pod, (_, reading) in read.items()}
        readings = {pod: found for pod, found in read.items() if not faults[pod]}
        wrong = (*_unheard(silent), *sorted(set(faults.values()) - {""}))[:MAX_WRONG]
        if not readings:
            kept.answer = nothing_newer(kept.answer, wrong, "scrape", now)
            return kept.answer
        kept.added.append((at_s, _difference(kept, readings, at_s, now, self._window_s)))
        there = {t.pod for t in targets}
        kept.last = {pod: counters for pod, counters in kept.last.items() if pod in there}
        # The oldest entry kept is the one that opens the window: what it added came before it.
        while len(kept.added) > 2 and kept.added[1][0] <= at_s - self._window_s:
            kept.added.popleft()
        kept.since = {pod: since_s for pod, since_s in kept.since.items() if pod in there and since_s > kept.added[0][0]}
        if len(kept.added) > 1:
            partly = {"wrong": wrong, "unheard": _partly(kept, targets, readings)}
            kept.answer = self._summary(kept, readings, now).model_copy(update=partly)
        elif kept.answer is not None and not kept.answer.window_s:
            kept.answer = None
        return kept.answer

    async def _read(self, target: Target) -> Reading | str:
        """What its sidecar says, or why that is not known."""
        async with self._slots:
            try:
                async with asyncio.timeout(SCRAPE_TIMEOUT_S):
                    reply = await self._client.send(target.address, target.port, "GET", "/metrics", first_byte_timeout_s=SCRAPE_TIMEOUT_S)
                    async with reply:
                        body = await reply.read(MAX_BODY_BYTES)
                return parse(body.decode()) if reply.status == 200 else f"it answers {reply.status}"
            except UpstreamError as error:
                return str(error)
            except TimeoutError:
                return f"no answer within {SCRAPE_TIMEOUT_S:g} s"
            except ValueError:
                return "what it answers are no metrics"

    def _summary(self, kept: _Pool, readings: dict[str, tuple[Target, Reading]], now: float) -> Demand:
        opened = kept.added[0][0]
        window_s = kept.added[-1][0] - opened
        total: dict[Sample, float] = {}
        for at, added in kept.added:
            if at > opened:
                for series, value in added.items():
                    total[series] = total.get(series, 0.0) + value
        gauges: dict[Sample, float] = {}
        hashes: dict[str, int] = {}
        for _, reading in readings.values():
            hashes[reading.config_hash] = hashes.get(reading.config_hash, 0) + 1
            for series, value in reading.gauges.items():
                gauges[series] = gauges.get(series, 0.0) + value
        taken = [sum(reading.gauges.values()) for _, reading in readings.values()]
        names = classes_of(total, gauges)
        return Demand(
            measured_at=now,
            window_s=round(window_s, 3),
            source="scrape",
            replicas_reporting=len(readings),
            in_flight_variance=round(variance(taken), 4) if len(taken) > 1 else None,
            classes={name: class_demand(name, total, gauges, window_s) for name in names},
            config_hashes=hashes,
            steps=steps_of(total),
            prompting=prompting_of(total),
        )


def _partly(kept: _Pool, targets: list[Target], readings: Collection[str]) -> int:
    """Of how many ready replicas it is not known what they were asked for over the whole window."""
    return sum(t.ready_at is not None and (t.pod not in readings or t.pod in kept.since) for t in targets)


def _unheard(silent: dict[str, str]) -> tuple[str, ...]:
    """What is said of replicas that should answer and do not: by the first of them, for they mostly have one cause."""
    if not silent:
        return ()
    pod = min(silent)
    more = f" (and of {len(silent) - 1} more)" if len(silent) > 1 else ""
    return (f"the metrics of {pod}{more} cannot be read: {silent[pod]}",)


def _lost(before: tuple[float, dict[Sample, float]] | None, reading: Reading, since_s: float) -> str:
    """Which series a replica has no longer, though it had it since then: rates over the window would be those of a part of it."""
    gone = before[1].keys() - reading.counters.keys() if before is not None and before[0] >= since_s else ()
    return f"{min(gone)[0]} of class {min(gone)[1]} is missing" if gone else ""


def _difference(kept: _Pool, readings: dict[str, tuple[Target, Reading]], at_s: float, now: float, window_s: float) -> dict[Sample, float]:
    """What was added since each replica's last reading. After one that was silent for a window it is not known when it was added."""
    added: dict[Sample, float] = {}
    for pod, (target, reading) in readings.items():
        read_at_s, before = kept.last.get(pod, (-math.inf, {}))
        if at_s - read_at_s > window_s:
            young = pod not in kept.last and target.ready_at is not None and target.ready_at >= now - window_s and bool(kept.added)
            before = {} if young else reading.counters
            if kept.added and not young and target.ready_at is not None:
                kept.since[pod] = at_s
        for series, value in reading.counters.items():
            grown = value - before.get(series, 0.0)
            series = (STEP_MOMENTS, target.variant, series[2]) if series[0] == STEP_MOMENTS else series
            added[series] = added.get(series, 0.0) + (value if grown < 0 else grown)
        kept.last[pod] = at_s, reading.counters
    return added


def nothing_newer(before: Demand | None, wrong: tuple[str, ...], source: str, now: float) -> Demand | None:
    """The last answer, which ages, with what is wrong now; where there was none, one over no time that only says this."""
    if before is not None and before.window_s:
        return before.model_copy(update={"wrong": wrong})
    return Demand(measured_at=now, window_s=0.0, source=source, replicas_reporting=0, wrong=wrong) if wrong else None

"""Demand from a Prometheus that scrapes the sidecars.

A rate takes two samples within the window. Where there is none of arrivals, or a value is no number, nothing is known: that is not no load.

A Prometheus may hold series of another cluster with the same names, and of pods that are gone. Pods are told apart by the label `pod`: what
is not of the pool's own is left out. Where that label is missing, more replicas than there are pods make the whole answer void: held is
better than sized for somebody else's demand. So do pods whose series are there twice, for sums would be of twice what is asked.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from forebay.adapters import promql, scrape, sums
from forebay.adapters.metrics import Target
from forebay.adapters.promql import FAILURES, OPEN, Access, PromQL, Row
from forebay.planning import series
from forebay.planning.measured import Demand

WINDOW_S = 60.0
PATIENCE_S = 8.0
"""All of a pool's queries together may take so long."""
PAUSE_S = 10.0
"""After a failure nobody asks for this long: pools are planned meanwhile, on answers that age, instead of waiting for one more."""
LOOKBACK_S = 300.0
"""A series without new samples is answered for so long: a pod that went within it is still the pool's."""
MAX_LEFT_OUT = 50
"""Pods that a query can leave out by name."""
THREADS = 4
_SCRAPED = (
    "it is to scrape the port forebay-sidecar of the pool's pods and to label what it finds so, as the chart's PodMonitor has it"
    " (podMonitor.enabled)"
)
_TWICE = (
    "the series of {pod} are there more than once, for two jobs or two servers scrape it: name a label of those to keep in"
    " --prometheus-matchers, such as job=NAME (chart: operator.prometheusMatchers)"
)

_log = logging.getLogger(__name__)

_RATES = {
    series.ARRIVALS: ("batch_class",),
    series.ARRIVED_TOKENS: ("batch_class",),
    series.REQUESTS: ("batch_class", "outcome"),
    series.TOKENS: ("batch_class", "token_type"),
    series.TOKENS_SQUARED: ("batch_class", "token_type"),
    series.OBJECTIVE: ("batch_class", "met"),
    series.TTFT_BUCKET: ("batch_class", "le"),
    series.STEP_MOMENTS: ("forebay_variant", "term"),
    series.PROMPTING: ("batch_class", "term"),
}
_GAUGES = (series.QUEUE_DEPTH, series.IN_FLIGHT)


@dataclass(slots=True)
class _Pool:
    """The pods that were a pool's, when each was seen last, and the last answer."""

    seen: dict[str, float] = field(default_factory=dict)
    answer: Demand | None = None


class PrometheusMetrics:
    """Metrics by PromQL. Series are told apart by the labels `namespace`, `forebay_pool` and `forebay_variant` that a PodMonitor adds.

    Where the last is missing, what steps take is known of the pool's replicas together.
    """

    def __init__(self, url: str, window_s: float = WINDOW_S, matchers: Mapping[str, str] | None = None, access: Access = OPEN) -> None:
        self._promql, self._window_s, self._matchers = PromQL(url, access), window_s, dict(matchers or {})
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prometheus")
        self._failed_at, self._trouble = -math.inf, ""
        self._pools: dict[tuple[str, str], _Pool] = {}

    def forget(self, namespace: str, pool: str) -> None:
        self._pools.pop((namespace, pool), None)

    async def demand(self, namespace: str, pool: str, targets: list[Target], now: float) -> Demand | None:
        kept = self._pools.setdefault((namespace, pool), _Pool())
        kept.seen = {pod: min(at, now) for pod, at in kept.seen.items() if now - at < LOOKBACK_S} | {t.pod: now for t in targets}
        if not 0 <= now - self._failed_at < PAUSE_S:
            ready = frozenset(target.pod for target in targets if target.ready_at is not None)
            answer = await self._asked(namespace, pool, frozenset(kept.seen), ready, now)
            if answer is not None:
                kept.answer = scrape.nothing_newer(kept.answer, answer.wrong, "prometheus", now) if answer.wrong else answer
        if 0 <= now - self._failed_at < PAUSE_S:
            kept.answer = scrape.nothing_newer(kept.answer, (f"Prometheus: {self._trouble}",), "prometheus", now)
        return kept.answer

    async def _asked(self, namespace: str, pool: str, own: frozenset[str], ready: frozenset[str], now: float) -> Demand | None:
        select = promql.selector(namespace, pool, self._matchers)
        asking = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, select, own, ready, now)
        try:
            return await asyncio.wait_for(asking, PATIENCE_S)
        except FAILURES as error:
            _log.warning("Prometheus could not be asked: %s", promql.told(error))
            self._failed_at, self._trouble = now, promql.trouble(error)
            return None

    def _ask(self, select: str, own: frozenset[str], ready: frozenset[str], now: float) -> Demand | None:
        """What the pool's `own` pods are asked for; without series None, unless some are `ready`."""
        none = f"Prometheus has no {series.ARRIVALS}{select}}}: {_SCRAPED}"
        until = time.monotonic() + PATIENCE_S

        def query(text: str) -> list[Row]:
            """The rows of an answer that have a number which can be counted with."""
            return [row for row in self._promql.instant(text, until) if scrape.countable(float(row["value"][1]))]

        who = _told_apart(query(f"count by (pod,hash) ({series.CONFIG_INFO}{select}}})"), own)
        if who.twice:
            return scrape.nothing_newer(None, (f"Prometheus: {_TWICE.format(pod=who.twice)}",), "prometheus", now)
        select += f",pod!~{promql.quoted('|'.join(map(re.escape, who.strangers)))}}}" if who.strangers else "}"
        newest = query(f"max(timestamp({series.ARRIVALS}{select}))")
        if not newest:
            return scrape.nothing_newer(None, (none,) if ready else (), "prometheus", now)
        found = Demand(
            measured_at=now - _age_s(newest[0]),
            window_s=self._window_s,
            source="prometheus",
            replicas_reporting=sum(who.hashes.values()),
            unheard=len(ready - who.pods) if who.pods else 0,
            strangers=len(who.strangers),
            told_apart=sum(who.hashes.values()) <= len(own) and len(who.strangers) <= MAX_LEFT_OUT,
            config_hashes=who.hashes,
        )
        if not found.told_apart:
            return found
        taken = f"sum by (pod) ({series.IN_FLIGHT}{select} + {series.QUEUE_DEPTH}{select})"
        spread = _spread(query(f"stdvar({taken})"), found.replicas_reporting)
        return found.model_copy(update={**self._measured(select, until), "in_flight_variance": spread})

    def _measured(self, select: str, until: float) -> dict[str, object]:
        """What its classes asked for, and what its replicas' steps took; or what is wrong with it."""
        window = f"[{self._window_s:.0f}s]"
        total: dict[sums.Sample, float] = {}
        gauges: dict[sums.Sample, float] = {}
        wrong: list[str] = []
        asked = [(f"sum by ({','.join(by)}) (rate({m}{select}{window}))", m, by, total, self._window_s) for m, by in _RATES.items()]
        asked += [(f"sum by (batch_class) ({m}{select})", m, ("batch_class",), gauges, 1.0) for m in _GAUGES]
        for text, metric, by, found, times in asked:
            for row in self._promql.instant(text, until):
                labels, value = [row["metric"].get(label, "") for label in by], float(row["value"][1])
                if scrape.countable(value):
                    found[metric, labels[0], labels[1] if len(labels) > 1 else ""] = value * times
                else:
                    wrong.append(scrape.uncountable(metric, labels[0], value))
        if unknown := scrape.missing(total, gauges):
            wrong.append(f"{unknown} over {self._window_s:.0f} s, within which each sidecar is to be scraped twice")
        names = sums.classes_of(total, gauges)
        return {
            "classes": {n: sums.class_demand(n, total, gauges, self._window_s) for n in names},
            "steps": sums.steps_of(total),
            "prompting": sums.prompting_of(total),
            "wrong": tuple(wrong[: scrape.MAX_WRONG]),
        }


@dataclass(frozen=True, slots=True)
class _Reporting:
    """Replicas of the pool by the hash of the configuration they have loaded, and pods that report as if they were the pool's.

    `pods` are those of its own that report, where a label tells. `twice` is one of them of which there are several series that are to be
    one, if there is any.
    """

    hashes: dict[str, int]
    pods: frozenset[str]
    strangers: tuple[str, ...]
    twice: str


def _age_s(newest: Row) -> float:
    """How old the newest sample was when the question was answered, all by the server's clock: ours may have been set."""
    answered_at, sampled_at = map(float, newest["value"])
    return max(0.0, answered_at - sampled_at)


def _spread(rows: list[Row], replicas: int) -> float | None:
    """The variance between replicas, of which PromQL gives the mean square."""
    return round(float(rows[0]["value"][1]) * replicas / (replicas - 1), 4) if rows and replicas > 1 else None


def _told_apart(rows: list[Row], own: frozenset[str]) -> _Reporting:
    hashes: dict[str, int] = {}
    strangers, pods, twice = set(), set(), set()
    for row in rows:
        pod, name = row["metric"].get("pod", ""), row["metric"].get("hash", "")
        if pod and pod not in own:
            strangers.add(pod)
            continue
        count = int(float(row["value"][1]))
        hashes[name] = hashes.get(name, 0) + count
        if pod:
            pods.add(pod)
            if count > 1:
                twice.add(pod)
    return _Reporting(hashes, frozenset(pods), tuple(sorted(strangers)), min(twice, default=""))

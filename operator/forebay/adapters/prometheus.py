"""Demand from a Prometheus that scrapes the sidecars. The client blocks, so it works in a thread."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import RequestException
from urllib3.util.retry import Retry

from forebay.adapters import scrape
from forebay.adapters.metrics import Target
from forebay.planning import series
from forebay.planning.snapshot import Demand

WINDOW_S = 60.0
TIMEOUT_S = 5
PAUSE_S = 10.0
"""After a failure nobody asks for this long: pools are planned meanwhile, on answers that age, instead of waiting for one more."""

_log = logging.getLogger(__name__)

_RATES = {
    series.ARRIVALS: ("batch_class",),
    series.REQUESTS: ("batch_class", "outcome"),
    series.TOKENS: ("batch_class", "token_type"),
    series.TOKENS_SQUARED: ("batch_class", "token_type"),
    series.OBJECTIVE: ("batch_class", "met"),
    series.TTFT_BUCKET: ("batch_class", "le"),
}
_GAUGES = (series.QUEUE_DEPTH, series.IN_FLIGHT)


class PrometheusMetrics:
    """Metrics by PromQL. Series are told apart by the labels `namespace` and `forebay_pool` that a PodMonitor's relabelling adds."""

    def __init__(self, url: str, window_s: float = WINDOW_S) -> None:
        self._prometheus = PrometheusConnect(url=url, retry=Retry(total=0), timeout=TIMEOUT_S)
        self._window_s = window_s
        self._failed_at = -math.inf
        self._answers: dict[tuple[str, str], Demand] = {}

    def forget(self, namespace: str, pool: str) -> None:
        self._answers.pop((namespace, pool), None)

    async def demand(self, namespace: str, pool: str, targets: list[Target], now: float) -> Demand | None:
        answer = None if 0 <= now - self._failed_at < PAUSE_S else await self._asked(namespace, pool, now)
        if answer is not None:
            self._answers[namespace, pool] = answer
        return self._answers.get((namespace, pool))

    async def _asked(self, namespace: str, pool: str, now: float) -> Demand | None:
        try:
            return await asyncio.to_thread(self._ask, namespace, pool, now)
        except (
            PrometheusApiClientException,
            RequestException,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            RecursionError,
        ) as error:
            _log.warning("Prometheus could not be asked: %s", error)
            self._failed_at = now
            return None

    def _query(self, promql: str) -> list[dict[str, Any]]:
        """The rows of an answer that have a number which can be counted with."""
        rows: list[dict[str, Any]] = self._prometheus.custom_query(promql, params={"timeout": f"{TIMEOUT_S}s"})
        return [row for row in rows if scrape.countable(float(row["value"][1]))]

    def _ask(self, namespace: str, pool: str, now: float) -> Demand | None:
        select = f'{{namespace="{namespace}",forebay_pool="{pool}"}}'
        newest = self._query(f"max(timestamp({series.ARRIVALS}{select}))")
        if not newest:
            return None
        window = f"[{self._window_s:.0f}s]"
        total: dict[scrape.Sample, float] = {}
        for metric, labels in _RATES.items():
            for row in self._query(f"sum by ({','.join(labels)}) (rate({metric}{select}{window}))"):
                further = row["metric"].get(labels[1], "") if len(labels) > 1 else ""
                further = "+Inf" if further == "+Inf" else further
                total[metric, row["metric"].get("batch_class", ""), further] = float(row["value"][1]) * self._window_s
        gauges = {
            (metric, row["metric"].get("batch_class", ""), ""): float(row["value"][1])
            for metric in _GAUGES
            for row in self._query(f"sum by (batch_class) ({metric}{select})")
        }
        hashes = {
            row["metric"].get("hash", ""): int(float(row["value"][1]))
            for row in self._query(f"count by (hash) ({series.CONFIG_INFO}{select})")
        }
        taken = self._query(f"stdvar(sum by (pod) ({series.IN_FLIGHT}{select} + {series.QUEUE_DEPTH}{select}))")
        replicas = sum(hashes.values())
        names = sorted({series[1] for series in (*total, *gauges) if series[1]})
        return Demand(
            measured_at=min(now, float(newest[0]["value"][1])),
            window_s=self._window_s,
            source="prometheus",
            replicas_reporting=replicas,
            in_flight_variance=round(float(taken[0]["value"][1]) * replicas / (replicas - 1), 4) if taken and replicas > 1 else None,
            classes={name: scrape.class_demand(name, total, gauges, self._window_s) for name in names},
            config_hashes=hashes,
        )

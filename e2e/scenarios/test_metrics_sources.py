"""Demand read from the sidecars themselves and through a real Prometheus is the same, and so is what follows from it."""

from __future__ import annotations

import asyncio
import time

import pytest
from e2e import resources
from e2e.controlplane.prometheus import Prometheus
from e2e.forebay import Forebay, Load
from e2e.waiting import eventually

from forebay.adapters.prometheus import PrometheusMetrics
from forebay.adapters.scrape import ScrapedMetrics
from forebay.dataplane.http.client import Client
from forebay.planning.measured import Demand
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot
from forebay.reconcile.observe import target

WINDOW_S, INTERVAL_S = 30.0, 2.0
RPS, TOKENS, REPLICAS = 8.0, 60, 2
AGREE = 0.05


async def measured(forebay: Forebay, prometheus: Prometheus) -> tuple[Demand, Demand]:
    """Both demands at one moment, after a whole window of either."""
    client = Client()
    scraped, asked = ScrapedMetrics(client, window_s=WINDOW_S), PrometheusMetrics(prometheus.url, window_s=WINDOW_S)
    end = time.monotonic() + WINDOW_S + 2 * INTERVAL_S
    try:
        while True:
            targets = [found for pod in forebay.ready_replicas() if (found := target(pod))]
            one = await scraped.demand(forebay.namespace, "chat", targets, time.time())
            if time.monotonic() > end:
                other = await asked.demand(forebay.namespace, "chat", targets, time.time())
                assert one is not None and other is not None
                return one, other
            await asyncio.sleep(INTERVAL_S)
    finally:
        await client.close()


def test_scrape_and_prometheus_agree_and_lead_to_the_same_plan(forebay: Forebay, prometheus: Prometheus) -> None:
    pool = resources.pool(forebay.namespace, scaling={"minReplicas": REPLICAS, "maxReplicas": REPLICAS})
    forebay.apply(resources.batch_class("interactive"), resources.keys(forebay.namespace), pool, resources.policy(forebay.namespace))
    eventually("all replicas", lambda: len(forebay.ready_replicas()) == REPLICAS, 90)
    forebay.wait("routingpolicy/support", "Programmed")
    with Load(forebay.gateway(), rps=RPS, tokens=TOKENS) as load:
        scraped, asked = asyncio.run(measured(forebay, prometheus))
        decision = forebay.operator.decisions(forebay.namespace)[-1]
    assert set(load.counts) == {"finished"}, load.counts

    one, other = scraped.classes["interactive"], asked.classes["interactive"]
    assert one.requests_per_s == pytest.approx(RPS, rel=AGREE)
    for figure in ("requests_per_s", "completed_per_s", "input_tokens_per_s", "output_tokens_per_s"):
        assert getattr(other, figure) == pytest.approx(getattr(one, figure), rel=AGREE), figure
    assert other.p95_time_to_first_token_s == pytest.approx(one.p95_time_to_first_token_s, rel=AGREE)
    assert (scraped.replicas_reporting, scraped.config_hashes) == (asked.replicas_reporting, asked.config_hashes)

    # As if the pool were free to grow, so that the figures decide.
    snapshot = Snapshot.model_validate(decision["snapshot"])
    scaling = snapshot.spec.scaling.model_copy(update={"min_replicas": 1, "max_replicas": 10})
    free = snapshot.model_copy(update={"spec": snapshot.spec.model_copy(update={"scaling": scaling})})
    plans = [plan(free.model_copy(update={"demand": demand, "now": demand.measured_at})) for demand in (scraped, asked)]
    assert plans[0].replicas == plans[1].replicas > 1
    assert plans[0].actions == plans[1].actions

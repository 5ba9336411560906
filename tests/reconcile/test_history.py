"""An operator whose Prometheus knows a past: it is in the first decision, in status and Events, and the decision replays."""

from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path

import pytest
from tests.adapters.prometheus_server import Question, answering
from tests.adapters.test_prometheus_history import RATES, server
from tests.reconcile.worlds import Lab, a_class, a_pool, in_lab

from forebay.adapters import cluster as kinds
from forebay.adapters.decisions import FileDecisions
from forebay.adapters.prometheus_history import PrometheusHistory
from forebay.cli.explain import sentences
from forebay.cli.main import main
from forebay.reconcile.observe import memory_name

DAY = 86400.0


def a_day(metric: str, at: float) -> str:
    return str(dict(RATES)[metric] * (1.5 + math.sin(2 * math.pi * at / DAY)))


async def first_decisions(lab: Lab, url: str, path: Path) -> None:
    await lab.apply(a_class(), a_pool(scaling={"minReplicas": 1, "maxReplicas": 20, "forecast": {"history": "3h"}}))
    lab.demand(4)
    async with lab.operator() as operator:
        operator.world.history, operator.world.decisions = PrometheusHistory(url), FileDecisions(path)
        await lab.run_pods()
        for _ in range(200):
            await operator.again()
            if (await lab.condition("ForecastCalibrated")).get("status") == "True":
                break
            await asyncio.sleep(0.02)
            await lab.clock.advance(15)
            lab.demand(4)


def test_a_pool_that_adopts_a_past_is_sized_by_it_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also after its memory was lost: the ConfigMap is not needed for it."""

    async def check(lab: Lab) -> None:
        with answering(server(a_day)) as url:
            await first_decisions(lab, url, tmp_path / "d.jsonl")
            await lab.cluster.delete(kinds.CONFIG_MAPS, "default", memory_name("chat"))
            await first_decisions(lab, url, tmp_path / "again.jsonl")
        (row,) = (await lab.status())["demand"]["forecast"]
        assert row["drives"] and row["model"] == "trend" and row["history"].startswith("2h5")
        events = [e["note"] for e in await lab.cluster.list(kinds.EVENTS) if e["reason"] == "HistoryRead"]
        assert any("minutes of prometheus history" in note for note in events)
        told = " ".join(sentences(await lab.get(kinds.INFERENCE_POOLS, "chat")))
        assert "seen for 2h5" in told

    in_lab(check)
    for name in ("d.jsonl", "again.jsonl"):
        records = (tmp_path / name).read_text()
        assert "minutes of prometheus history" in records
        assert main(["replay", str(tmp_path / name)]) == 0
        assert ", 0 differ" in capsys.readouterr().out


def test_why_a_past_could_not_be_read_is_in_the_condition(tmp_path: Path) -> None:
    """It stood in the operator's log alone, and whoever looks at a pool may not read that."""

    async def check(lab: Lab) -> None:
        with answering(lambda _: b'{"status": "error", "error": "the query time range exceeds the limit"}') as url:
            await lab.apply(a_class(), a_pool())
            lab.demand(4)
            async with lab.operator() as operator:
                operator.world.history, operator.world.decisions = PrometheusHistory(url), FileDecisions(tmp_path / "d.jsonl")
                await lab.run_pods()
                for _ in range(200):
                    await operator.again()
                    told = (await lab.condition("ForecastCalibrated"))["message"]
                    if "could not be read" in told:
                        break
                    await asyncio.sleep(0.02)
            assert "; a past that is missing could not be read, for Prometheus: no answer: " in told
            assert "the query time range exceeds the limit" in told and "asked again every 5m" in told
            explained = sentences(await lab.get(kinds.INFERENCE_POOLS, "chat"))
            assert any(line.startswith("  - a past that is missing could not be read") for line in explained)

    in_lab(check)
    assert main(["replay", str(tmp_path / "d.jsonl")]) == 0


def test_a_slow_prometheus_holds_no_decision_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is planned without its past, and with it once it is there."""
    monkeypatch.setattr("forebay.adapters.prometheus_history.PATIENCE_S", 0.02)
    go_on = threading.Event()

    def slow(asked: Question) -> bytes:
        go_on.wait(20)
        return server(a_day)(asked)

    async def check(lab: Lab) -> None:
        with answering(slow) as url:
            await lab.apply(a_class(), a_pool(scaling={"minReplicas": 1, "maxReplicas": 20, "forecast": {"history": "3h"}}))
            lab.demand(4)
            async with lab.operator() as operator:
                operator.world.history = PrometheusHistory(url)
                await lab.run_pods()
                await asyncio.sleep(0.1)
                await operator.again()
                assert (await lab.status())["plan"]["summary"]
                assert (await lab.condition("ForecastCalibrated"))["status"] == "Unknown"
                go_on.set()
                for _ in range(200):
                    await asyncio.sleep(0.02)
                    await lab.clock.advance(15)
                    lab.demand(4)
                    await operator.again()
                    if (await lab.condition("ForecastCalibrated"))["status"] == "True":
                        return
        raise AssertionError(f"the past never came: {await lab.condition('ForecastCalibrated')}")

    in_lab(check)

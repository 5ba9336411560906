"""The planner bench with a few pools and hours: that its rows come as promised, and that its fleet is what it says."""

from __future__ import annotations

import json

import pytest
from bench.__main__ import main
from bench.support.learned import scaled, taught

from forebay.planning.forecast import ForecastState, observe, predict

NOW = 1_800_000_000.0


def test_rows_of_figures_come_with_their_floors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["planner", "--json", "--pools", "3", "--passes", "5", "--learned-days", "0.05"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert result["bench"] == "planner"
    rows = {row["name"]: row for row in result["rows"]}
    whole = rows["forebay"]
    assert whole["passes"] == 5 and whole["pools"] == 3 and whole["variants"] == 4
    assert 0 < whole["cpu_p50_s"] <= whole["cpu_p99_s"] <= whole["cpu_max_s"]
    assert whole["rss_mib"] > whole["rss_mib_empty"] > 10
    assert rows["forebay, every pool waits to move to another mix"]["passes"] > 0
    assert rows["one pool's demand changes, through the loop"]["replanned"] == 1.0
    assert rows["hpa's formula alone"]["cpu_p50_s"] < rows["json of the same snapshots"]["cpu_p50_s"] < whole["cpu_p50_s"]


def test_a_pool_of_another_size_has_learned_what_it_would_have() -> None:
    """What is handed to the fleet instead of weeks of its own: the same as if every load had been so many times as large."""
    known = taught(0, NOW, 2.1)

    def goes_on(state: ForecastState, times: float) -> ForecastState:
        for minute in range(3):
            state = observe(state, NOW + 60 * minute, 900.0 * times)
        return state

    once, larger = (predict(goes_on(scaled(known, times), times), 75.0, 0.9) for times in (1.0, 3.7))
    assert once is not None and larger is not None
    assert larger.p50 / once.p50 == pytest.approx(3.7, rel=1e-3) and larger.upper / once.upper == pytest.approx(3.7, rel=1e-3)
    assert (larger.model, larger.judged) == (once.model, once.judged) and once.model == "day" and once.judged > 2.1 * 1440 - 5

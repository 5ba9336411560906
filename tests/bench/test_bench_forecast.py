"""The forecast bench without its hours of series: what it says where data are absent, and how it judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.__main__ import main
from bench.forecast import _forebay, _holds, _scored
from bench.support.forecast_baselines import LEVELS, damped_holt, of_the_law, pinball, seasonal_naive
from bench.support.load_series import generated


def test_absent_data_are_said_and_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "--data", str(tmp_path)]) == 1
    assert "m-large_rate_10min.csv: name the folder of the traces with --data" in capsys.readouterr().err


def test_coverage_is_judged_by_points_or_by_chance() -> None:
    assert _holds(0.90, 0.885, 100_000) and not _holds(0.90, 0.87, 1000)
    assert _holds(0.79, 0.9, 29) and not _holds(0.70, 0.9, 29)
    assert _holds(1.0, 0.95, 29)


def test_a_generated_series_is_the_same_each_time() -> None:
    assert generated("bursts", 600, 2) == generated("bursts", 600, 2)
    assert generated("bursts", 600, 2).values != generated("bursts", 600, 2, seed=1).values


def test_forebays_bounds_are_loads_and_rise_with_their_level() -> None:
    series = generated("season", 600, 4)
    for bounds in _forebay(series).values():
        made = bounds[:, ~np.isnan(bounds).any(axis=0)]
        assert made.shape[1] > len(series.values) // 2
        assert (made >= 0).all() and (np.diff(made, axis=0) >= 0).all()
        assert made.mean() == pytest.approx(np.mean(series.values), rel=0.5)


def test_nobody_beats_the_law() -> None:
    series = generated("season", 600, 14)
    values = np.asarray(series.values)
    half = len(values) // 2
    law = pinball(values[half:], of_the_law(np.asarray(series.rates), 600)[:, half:])
    holt = damped_holt(values, [1])[1]
    naive = seasonal_naive(values, 1, 600)
    assert law < pinball(values[half:], holt[:, half:]) < pinball(values[half:], naive[:, half:])
    (row,) = _scored(series, {1: holt})
    assert row["loss"]["forebay"] == row["loss"]["holt"] and len(row["coverage"]["holt"]) == len(LEVELS)

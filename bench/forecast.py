"""Are the forecaster's bounds as sure as it says, and does it lose less than the forecasters that everyone has?

Every recorded load series, and six weeks of generated ones by the minute. Each is observed from its beginning and scored on its second
half; settings of the others are chosen on the first (bench/support/forecast_baselines.py), the forecaster has none to choose.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from bench.support.forecast_baselines import LEVELS, Floats, damped_holt, of_the_law, pinball, seasonal_naive
from bench.support.load_series import KINDS, Series, generated, recorded
from bench.support.progress import progress
from bench.support.table import digits
from forebay.planning.forecast import fresh, observe
from forebay.planning.forecast.packing import unpack
from forebay.planning.forecast.working import value_of

NAME = "forecast"
HELP = "coverage and pinball loss of load forecasts, against seasonal-naive and damped Holt"

START_S = 1_704_067_200
WITHIN = 0.02
WANTED = 0.85


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows, details = [], []
    for series in _all(args):
        began = time.process_time()
        forebay = _forebay(series)
        took = time.process_time() - began
        details += list(_scored(series, forebay))
        progress(NAME, f"{series.name}: {took / len(series.values) * 1e6:.0f} us a point")
    rows = [_shown(detail) for detail in details]
    return rows + [_summary(name, details) for name in ("forebay", "seasonal-naive", "holt")]


def _all(args: argparse.Namespace) -> Iterator[Series]:
    yield from recorded(args.data)
    for kind in KINDS:
        yield generated(kind)


def _forebay(series: Series) -> dict[int, Floats]:
    """By horizon the bounds by LEVELS of each step; NaN where none was made."""
    state = fresh(series.step_s)
    bounds = {steps: np.full((len(LEVELS), len(series.values)), np.nan) for steps in state.horizons}
    for i, value in enumerate(series.values):
        state = observe(state, START_S + i * series.step_s, value)
        if i == 0:
            continue
        work = unpack(state)
        for horizon in work.horizons:
            target, newest = i - 1 + horizon.steps, horizon.newest(state.step)
            if newest is not None and target < len(series.values):
                bounds[horizon.steps][:, target] = [value_of(bound, work.offset) for bound in newest.bounds[1:]]
    return bounds


def _scored(series: Series, forebay: dict[int, Floats]) -> Iterator[dict[str, Any]]:
    values = np.asarray(series.values)
    half = len(values) // 2
    holt = damped_holt(values, list(forebay))
    law = of_the_law(np.asarray(series.rates), series.step_s) if len(series.rates) else None
    for steps, bounds in forebay.items():
        naive = seasonal_naive(values, steps, series.step_s)
        by_name = {"forebay": bounds, "seasonal-naive": naive, "holt": holt[steps]}
        yield {
            "name": f"{series.name}, {steps * series.step_s // 60} min",
            "points": len(values) - half,
            "loss": {name: pinball(values[half:], b[:, half:]) for name, b in by_name.items()},
            "coverage": {name: [float(np.mean(values[half:] <= b[half:])) for b in rows] for name, rows in by_name.items()},
            "law": None if law is None else pinball(values[half:], law[:, half:]),
        }


def _holds(coverage: float, level: float, points: int) -> bool:
    """Within two points of what was declared, or where so few points vary by chance."""
    if abs(coverage - level) <= WITHIN:
        return True
    held = round(coverage * points)
    odds = [_odds(k, points, level) for k in range(points + 1)]
    return min(math.fsum(odds[: held + 1]), math.fsum(odds[held:])) >= 0.025


def _odds(held: int, points: int, level: float) -> float:
    choices = math.lgamma(points + 1) - math.lgamma(held + 1) - math.lgamma(points - held + 1)
    return math.exp(choices + held * math.log(level) + (points - held) * math.log(1 - level))


def _all_hold(detail: dict[str, Any], name: str) -> bool:
    return all(_holds(c, level, detail["points"]) for c, level in zip(detail["coverage"][name], LEVELS, strict=True))


def _times(detail: dict[str, Any], other: str) -> float:
    return float(detail["loss"]["forebay"] / detail["loss"][other])


def _shown(detail: dict[str, Any]) -> dict[str, Any]:
    row = {"name": detail["name"], "points": detail["points"]}
    for level, coverage in zip(LEVELS, detail["coverage"]["forebay"], strict=True):
        row[f"coverage_{level * 100:.0f}"] = round(100 * coverage, 1)
    row["coverage_holds"] = _all_hold(detail, "forebay")
    row["loss_times_seasonal_naive"] = digits(_times(detail, "seasonal-naive"))
    row["loss_times_holt"] = digits(_times(detail, "holt"))
    if detail["law"]:
        row["law_times_holt"] = digits(detail["law"] / detail["loss"]["holt"])
    return row


def _summary(name: str, details: list[dict[str, Any]]) -> dict[str, Any]:
    """`points` are series and horizons; losses are geometric means of ratios; `better_by_15_percent` counts where both are beaten so."""
    row: dict[str, Any] = {"name": name, "points": len(details)}
    for i, level in enumerate(LEVELS):
        row[f"coverage_{level * 100:.0f}"] = round(100 * float(np.mean([detail["coverage"][name][i] for detail in details])), 1)
    row["coverage_holds"] = sum(_all_hold(detail, name) for detail in details)
    for other in ("seasonal-naive", "holt"):
        ratios = [detail["loss"][name] / detail["loss"][other] for detail in details]
        row[f"loss_times_{other.replace('-', '_')}"] = digits(_geometric(ratios))
    if name == "forebay":
        beaten = [max(_times(detail, "seasonal-naive"), _times(detail, "holt")) for detail in details]
        row["better_by_15_percent"] = sum(worst <= WANTED for worst in beaten)
    return row


def _geometric(ratios: Iterable[float]) -> float:
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))

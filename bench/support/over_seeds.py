"""Rows of one bench for several seeds, put into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.support.comparison import spread

FIGURES = {
    "attainment": 4,
    "replicas_mean": 4,
    "times_clairvoyant": 4,
    "gpu_hours": 5,
    "p99_ttft_s": 3,
    "usd": 5,
    "attainment_first_half": 4,
}
"""Those that vary with the seed, and their digits."""


def over_seeds(found: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows with the means over the seeds, each of which was tuned by itself, and beside what is to be spread its deviation."""
    return [_merged(rows) for rows in zip(*found, strict=True)]


def _merged(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key, value in rows[0].items():
        values = [row[key] for row in rows]
        if key in FIGURES and None not in values:
            merged |= spread(key, values, FIGURES[key])
        elif key in FIGURES:
            merged |= {key: None, f"{key}_sd": None}
        else:
            merged[key] = value if key != "setting" else "; ".join(dict.fromkeys(values))
    return merged

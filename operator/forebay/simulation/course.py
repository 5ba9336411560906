"""What an operator saw and decided over a run, round by round, in so little that weeks of it can be kept."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from forebay.api.conditions import TOO_FEW, Type
from forebay.api.durations import parse_duration

MOST_CHANGES = 1000
"""Changes of the count that are kept with their reasons, the last ones; all are counted."""

AGAINST = (Type.SLO_FEASIBLE, Type.BUDGET_RESPECTED)
"""Conditions that say what keeps a pool from holding its objectives."""


class Course:
    """Times in seconds of the virtual clock. A forecast stands at the time that it is of, in prompt tokens/s of all its classes."""

    def __init__(self) -> None:
        self.forecast_for, self.expected, self.bound = array("d"), array("d"), array("d")
        self.changes: list[dict[str, Any]] = []
        """Decisions that changed the count: time, replicas and why."""
        self.changed = 0
        self.rounds = 0
        self.problems: dict[tuple[str, str], tuple[int, str]] = {}
        """What stood against the pool, by condition and reason: in how many rounds, and what was said of it last."""
        self._last: Mapping[str, Any] | None = None

    def note(self, now: float, status: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> None:
        """One round: the status that it left, and the decisions written down so far."""
        self.rounds += 1
        for condition in status.get("conditions") or []:
            if condition["type"] in AGAINST and (condition["status"] == "False" or condition["reason"] in TOO_FEW):
                problem = condition["type"], condition["reason"]
                self.problems[problem] = self.problems.get(problem, (0, ""))[0] + 1, condition["message"]
        rows = [row for row in (status.get("demand") or {}).get("forecast") or [] if row.get("inputTokensPerSecond")]
        if rows:
            self.forecast_for.append(now + max(parse_duration(row["horizon"]) for row in rows))
            self.expected.append(sum(row["inputTokensPerSecond"]["p50"] for row in rows))
            self.bound.append(sum(row["inputTokensPerSecond"]["upper"] for row in rows))
        if records and records[-1] is not self._last:
            self._last = records[-1]
            self._decided(self._last)

    def _decided(self, record: Mapping[str, Any]) -> None:
        replicas = record["plan"]["replicas"]
        if self.changes and self.changes[-1]["replicas"] == replicas:
            return
        self.changed += 1
        self.changes.append({"time": record["time"], "replicas": replicas, "why": record["plan"]["why"]})
        del self.changes[:-MOST_CHANGES]

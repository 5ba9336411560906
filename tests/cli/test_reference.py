"""The reference page of the three kinds: that it has every field, and says types, bounds and defaults as the CRDs have them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from forebay.api.crd import KINDS, render
from forebay.cli.reference import reference_page

PAGE = reference_page()


def row(field: str, kind: str = "InferencePool") -> list[str]:
    """The cells of a field's row."""
    section = PAGE.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    [line] = [line for line in section.splitlines() if line.startswith(f"| `{field}` |")]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[2:-1]]


def properties(node: Any) -> int:
    """Fields below a node, counted without regard to where they stand."""
    if not isinstance(node, dict):
        return 0
    below = node.get("properties", {})
    return len(below) + sum(map(properties, [*below.values(), node.get("items"), node.get("additionalProperties")]))


def test_every_field_has_a_row() -> None:
    for kind in KINDS:
        parts = render(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        section = PAGE.partition(f"\n## {kind.__name__}\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| `(?:spec|status)\.", section, re.M)
        assert len(rows) == properties(parts["spec"]) + properties(parts["status"]) > 20


@pytest.mark.parametrize(
    ("field", "type_", "default"),
    [
        ("spec.scaling.minReplicas", "integer, 0 to 10000", "`1`"),
        ("spec.scaling.forecast.history", "duration", "`336h`"),
        ("spec.scaling.scaleDown.stabilization", "`Auto` or a duration", "`Auto`"),
        ("spec.scaling.scaleDown.maxPerStep", "integer or string", "`100%`"),
        ("spec.scaling.paused", "boolean", "`false`"),
        ("spec.classes", "list of string, 16 at most", "required"),
        ("spec.capacity.accelerators[].usdPerHour.spot", "number, 0 to 1000000", ""),
        ("spec.partitioning.layout", "map of integer, 1 to 7", ""),
    ],
)
def test_types_bounds_and_defaults(field: str, type_: str, default: str) -> None:
    assert row(field)[:2] == [type_, default]


def test_a_bound_that_is_not_reached_itself() -> None:
    assert row("spec.objectives.endToEnd.quantile", "BatchClass")[:2] == ["number, 0.5 to below 1", "`0.95`"]


def test_rules_between_fields_are_said() -> None:
    assert "Rule: minReplicas must not exceed maxReplicas" in row("spec.scaling")[2]

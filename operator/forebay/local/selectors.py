"""Label and field selectors as they stand in a query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from forebay.local.fit import matches

Requirements = list[dict[str, Any]]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")
_EQUAL = re.compile(r"^([^\s!=]+)\s*(==|=|!=)\s*(\S*)$")
_EXISTS = re.compile(r"^(!?)\s*([^\s!=(),]+)$")
_COMMA = re.compile(r",(?![^()]*\))")


def parse(selector: str) -> Requirements:
    """The requirements of `a=b,c!=d,e in (f,g),h,!i`, all of which must be met.

    Raises:
        ValueError: that is no selector.
    """
    return [_requirement(part.strip()) for part in _COMMA.split(selector) if part.strip()]


def _requirement(part: str) -> dict[str, Any]:
    if found := _SET.match(part):
        values = [value.strip() for value in found[3].split(",")]
        return {"key": found[1], "operator": "In" if found[2] == "in" else "NotIn", "values": values}
    if found := _EQUAL.match(part):
        return {"key": found[1], "operator": "NotIn" if found[2] == "!=" else "In", "values": [found[3]]}
    if found := _EXISTS.match(part):
        return {"key": found[2], "operator": "DoesNotExist" if found[1] else "Exists"}
    raise ValueError(f"unable to parse requirement: {part!r}")


def meets(requirements: Requirements, labels: Mapping[str, str]) -> bool:
    return all(matches(requirement, labels) for requirement in requirements)

"""Defaults, nulls and unknown fields, in the order in which the API server treats them: what is null where null is not allowed counts
as absent, what is absent gets its default, and a default of an object gets the defaults of its fields.
"""

from __future__ import annotations

import copy
import difflib
from typing import Any

from forebay.api.schema_problems import Problem, join


def fill(value: Any, schema: dict[str, Any], unknown: list[Problem], drop_nulls: bool, path: str = "") -> Any:
    """A new value with defaults in place and without what the schema does not know; unknown fields are added to `unknown`."""
    if isinstance(value, dict) and schema.get("type") == "object":
        return _fill_object(value, schema, unknown, drop_nulls, path)
    if isinstance(value, list) and "items" in schema:
        return [fill(item, schema["items"], unknown, drop_nulls, f"{path}[{index}]") for index, item in enumerate(value)]
    return copy.deepcopy(value)


def _fill_object(value: dict[str, Any], schema: dict[str, Any], unknown: list[Problem], drop_nulls: bool, path: str) -> dict[str, Any]:
    properties: dict[str, Any] = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    result: dict[str, Any] = {}
    for name, child in value.items():
        known = properties.get(name, extra)
        if known:
            if child is not None or known.get("nullable") or not (drop_nulls or "default" in known):
                result[name] = fill(child, known, unknown, drop_nulls, join(path, name))
        elif schema.get("x-kubernetes-preserve-unknown-fields"):
            result[name] = copy.deepcopy(child)
        else:
            unknown.append(_unknown(join(path, name), name, properties))
    for name, child_schema in properties.items():
        if name not in result and "default" in child_schema:
            result[name] = fill(child_schema["default"], child_schema, unknown, drop_nulls, join(path, name))
    return result


def _unknown(path: str, name: str, properties: dict[str, Any]) -> Problem:
    by_lower = {known.lower(): known for known in properties}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    hint = f'; did you mean "{by_lower[close[0]]}"?' if close else ""
    return Problem(path, f'unknown field "{path}"{hint}', blocking=True)

"""OpenAPI validation as the API server does it, in its words: types, bounds, patterns, required fields, and lists without duplicates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.api.schema_problems import Problem, join, show
from forebay.api.schema_rules import matches

_DATE_TIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])t([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(z|[-+]\d\d:\d\d)", re.ASCII
)
_KEEPS_TEXT = "; put quotes around it if text was meant"


def check(value: Any, schema: dict[str, Any], path: str = "") -> list[Problem]:
    """All that is wrong with a value whose defaults are filled in."""
    return list(_check(value, schema, path))


def type_of(value: Any) -> str:
    """The JSON type of a value; a whole number within 64 bits is an integer, however it was written."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if float(value).is_integer() and abs(value) < 2**63 else "number"
    return {dict: "object", list: "array", str: "string", type(None): "null"}[type(value)]


def _check(value: Any, schema: dict[str, Any], path: str) -> Iterator[Problem]:
    expected, found = schema.get("type"), type_of(value)
    if expected and expected != found and not (expected == "number" and found == "integer"):
        hint = _KEEPS_TEXT if expected == "string" and found in ("boolean", "integer", "number") else ""
        yield Problem(path, f'Invalid value: "{found}": {path} in body must be of type {expected}: "{found}"{hint}', blocking=True)
        return
    if schema.get("x-kubernetes-int-or-string") and found not in ("integer", "string"):
        yield Problem(path, f'Invalid value: "{found}": {path} in body must be of type integer,string: "{found}"', blocking=True)
        return
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(show(choice) for choice in schema["enum"])
        yield Problem(path, f"Unsupported value: {show(value)}: supported values: {supported}", blocking=True)
    if isinstance(value, str):
        yield from _check_text(value, schema, path)
    elif isinstance(value, dict):
        yield from _check_object(value, schema, path)
    elif isinstance(value, list):
        yield from _check_list(value, schema, path)
    elif not isinstance(value, bool | None):
        yield from _check_number(value, schema, path)


def _check_text(value: str, schema: dict[str, Any], path: str) -> Iterator[Problem]:
    if len(value) > schema.get("maxLength", len(value)):
        yield Problem(path, f"Too long: may not be more than {schema['maxLength']} bytes", blocking=True)
    if len(value) < schema.get("minLength", 0):
        yield Problem(path, f"Invalid value: {show(value)}: {path} in body should be at least {schema['minLength']} chars long")
    if "pattern" in schema and not matches(value, schema["pattern"]):
        yield Problem(path, f"Invalid value: {show(value)}: {path} in body should match '{schema['pattern']}'")
    if schema.get("format") == "date-time" and not _DATE_TIME.fullmatch(value.lower()):
        yield Problem(path, f"Invalid value: {show(value)}: {path} in body must be of type date-time: {show(value)}", blocking=True)


def _check_number(value: float, schema: dict[str, Any], path: str) -> Iterator[Problem]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (value == low and schema.get("exclusiveMinimum"))):
        bound = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield Problem(path, f"Invalid value: {show(value)}: {path} in body should be {bound} {show(low)}")
    if high is not None and (value > high or (value == high and schema.get("exclusiveMaximum"))):
        bound = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield Problem(path, f"Invalid value: {show(value)}: {path} in body should be {bound} {show(high)}")


def _check_object(value: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[Problem]:
    properties: dict[str, Any] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            about = properties.get(name, {}).get("description", "")
            yield Problem(join(path, name), f"Required value: {about}" if about else "Required value", blocking=True)
    if len(value) > schema.get("maxProperties", len(value)):
        yield Problem(path, f"Too many: {len(value)}: must have at most {schema['maxProperties']} items", blocking=True)
    for name, child in value.items():
        known = properties.get(name, schema.get("additionalProperties"))
        if known:
            yield from _check(child, known, join(path, name))


def _check_list(value: list[Any], schema: dict[str, Any], path: str) -> Iterator[Problem]:
    if len(value) > schema.get("maxItems", len(value)):
        yield Problem(path, f"Too many: {len(value)}: must have at most {schema['maxItems']} items", blocking=True)
    if len(value) < schema.get("minItems", 0):
        yield Problem(path, f"Invalid value: {len(value)}: {path} in body should have at least {schema['minItems']} items")
    for index, item in enumerate(value):
        yield from _check(item, schema.get("items", {}), f"{path}[{index}]")
    yield from _check_duplicates(value, schema, path)


def _check_duplicates(value: list[Any], schema: dict[str, Any], path: str) -> Iterator[Problem]:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("set", "map"):
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        if kind == "map" and not isinstance(item, dict):
            continue
        key = show({name: item[name] for name in schema["x-kubernetes-list-map-keys"] if name in item} if kind == "map" else item)
        if key in seen:
            yield Problem(f"{path}[{index}]", f"Duplicate value: {key}")
        seen.add(key)

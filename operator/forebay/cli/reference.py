"""The reference page of the three kinds: every field with its type, bounds, default and meaning, as the CRDs have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from forebay.api.crd import KINDS, render

Schema = dict[str, Any]

_HEAD = """# The three resources

Generated from the code by `make docs`; in a cluster `kubectl explain fpool.spec` says the same. A field without a default may be left out
unless it is required. Durations are written as `250ms`, `30s` or `1h30m`. `[]` stands for each item of a list, `*` for each key of a map.
"""
_SCOPES = {"Cluster": "one for the whole cluster", "Namespaced": "in a namespace"}
_DURATIONS = {"must be a duration": "duration", "must be Auto, or a duration": "`Auto` or a duration"}
"""How a rule begins that says that a text is a duration, and what is written of it."""


def reference_page() -> str:
    """One section for each kind, as Markdown."""
    return _HEAD + "".join(_section(render(kind)["spec"]) for kind in KINDS)


def _section(spec: Schema) -> str:
    names, version = spec["names"], spec["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    said = " ".join(schema["description"].split())
    head = f"\n## {names['kind']}\n\n{said} Short name `{names['shortNames'][0]}`; {_SCOPES[spec['scope']]}.\n"
    parts = schema["properties"]
    spec_rows = "".join(_row(*found) for found in _fields(parts["spec"], "spec"))
    status_rows = "".join(f"| `{path}` | {_type(field)} | {_meaning(field)} |\n" for path, field, _ in _fields(parts["status"], "status"))
    return (
        f"{head}\n| field | type | default | what it says |\n|---|---|---|---|\n{spec_rows}"
        f"\n| status | type | what it says |\n|---|---|---|\n{status_rows}"
    )


def _fields(node: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    """Every field below a node with its path and whether it is required, parents before their children."""
    for name, field in node.get("properties", {}).items():
        place = f"{path}.{name}"
        yield place, field, name in node.get("required", ())
        yield from _fields(*_below(field, place))


def _below(field: Schema, path: str) -> tuple[Schema, str]:
    """What has the fields of a list's items or of a map's values, and their path."""
    while True:
        if "items" in field:
            field, path = field["items"], f"{path}[]"
        elif isinstance(field.get("additionalProperties"), dict):
            field, path = field["additionalProperties"], f"{path}.*"
        else:
            return field, path


def _row(path: str, field: Schema, required: bool) -> str:
    default = "required" if required else ""
    if "default" in field and field.get("type") != "object":
        default = f"`{json.dumps(field['default'], ensure_ascii=False).strip(chr(34))}`"
    return f"| `{path}` | {_type(field)} | {default} | {_meaning(field)} |\n"


def _type(field: Schema) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "items" in field:
        return f"list of {_type(field['items'])}" + (f", {field['maxItems']} at most" if "maxItems" in field else "")
    if isinstance(field.get("additionalProperties"), dict):
        return f"map of {_type(field['additionalProperties'])}"
    if field.get("x-kubernetes-int-or-string"):
        return "integer or string"
    return next((name for rule, name in _DURATIONS.items() if _rules(field, rule)), field.get("type", "any") + _bounds(field))


def _bounds(field: Schema) -> str:
    least, most = (_digits(field.get(key)) for key in ("minimum", "maximum"))
    above = "above " if field.get("exclusiveMinimum") else ""
    below = "below " if field.get("exclusiveMaximum") else ""
    if least and most:
        return f", {above}{least} to {below}{most}"
    if least:
        return f", {above or 'at least '}{least}"
    return f", {below or 'at most '}{most}" if most else ""


def _digits(bound: float | None) -> str:
    """All of them, also of what is large; nothing where there is no bound."""
    if bound is None:
        return ""
    return str(int(bound)) if float(bound).is_integer() else str(bound)


def _rules(field: Schema, beginning: str = "") -> list[str]:
    return [rule["message"] for rule in field.get("x-kubernetes-validations", ()) if rule["message"].startswith(beginning)]


def _meaning(field: Schema) -> str:
    """What the field is for, and what must hold between its own fields; as one cell of a table."""
    rules = [rule for rule in _rules(field) if not rule.startswith(tuple(_DURATIONS))]
    said = " ".join([field.get("description", ""), *(f"Rule: {rule}." for rule in rules)])
    return " ".join(said.split()).replace("|", "\\|")

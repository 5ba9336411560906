"""CEL rules of the CRDs, evaluated where they stand: on nested objects, list items and scalars.

Patterns go through the same engine, for its regular expressions are the API server's dialect; Python's `$` would let a newline pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import cel

from forebay.api.schema_problems import Problem, join, show

_RESERVED = frozenset(
    "true false null in as break const continue else for function if import let loop"  # noqa: SIM905
    " package namespace return var void while".split()
)
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))


@cache
def _compiled(rule: str) -> Any:
    return cel.compile(rule)


def matches(text: str, pattern: str) -> bool:
    """Whether the pattern (RE2) is found in the text."""
    return bool(_compiled("text.matches(pattern)").execute({"text": text, "pattern": pattern}))


def check_rules(value: Any, schema: dict[str, Any], path: str = "") -> list[Problem]:
    """The rules that a valid value breaks, with their messages."""
    return list(_check(value, schema, path))


def _check(value: Any, schema: dict[str, Any], path: str) -> Iterator[Problem]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield from _evaluate(rule, value, schema, path)
    if isinstance(value, dict):
        for name, child in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if known:
                yield from _check(child, known, join(path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check(item, schema.get("items", {}), f"{path}[{index}]")


def _evaluate(rule: dict[str, str], value: Any, schema: dict[str, Any], path: str) -> Iterator[Problem]:
    try:
        holds = _compiled(rule["rule"]).execute({"self": _seen(value, schema)})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        yield Problem(path, f"Invalid value: rule evaluation error: {error}: {rule['rule']}")
        return
    if holds is not True:
        quoted = f"{show(value)}: " if isinstance(value, str | int | float) else ""
        yield Problem(path, f"Invalid value: {quoted}{rule['message']}")


def _seen(value: Any, schema: dict[str, Any]) -> Any:
    """A value as a rule sees it: fields that the schema names, with identifiers CEL can write, and numbers of the declared type."""
    if isinstance(value, dict):
        if "additionalProperties" in schema:
            return {name: _seen(child, schema["additionalProperties"]) for name, child in value.items()}
        properties: dict[str, Any] = schema.get("properties", {})
        return {_identifier(name): _seen(child, properties[name]) for name, child in value.items() if name in properties}
    if isinstance(value, list):
        return [_seen(item, schema.get("items", {})) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if schema.get("type") == "number" else int(value)
    return value


def _identifier(name: str) -> str:
    if name in _RESERVED:
        return f"__{name}__"
    for text, escaped in _ESCAPES:
        name = name.replace(text, escaped)
    return name

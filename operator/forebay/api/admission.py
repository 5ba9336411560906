"""What an API server does with one of our objects before it stores it: unknown fields, defaults, OpenAPI validation, CEL rules.

The CRDs are the single source: this interprets what `crd.render` writes, so that `forebay up` and a cluster take and refuse the same
files, in the same words. One contract suite (tests/adapters) holds both to it.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from forebay.api.crd import KINDS, render
from forebay.api.meta import API_VERSION
from forebay.api.metadata import check_metadata, unknown_fields
from forebay.api.schema_check import check
from forebay.api.schema_fill import fill
from forebay.api.schema_problems import Problem
from forebay.api.schema_rules import check_rules

_MODELS = {model.__name__: model for model in KINDS}


def is_ours(obj: dict[str, Any]) -> bool:
    """Whether `validate` knows the object's kind."""
    return obj.get("apiVersion") == API_VERSION and obj.get("kind") in _MODELS


@cache
def schema_for(kind: str) -> dict[str, Any]:
    """OpenAPI schema of one of our kinds, as its CRD has it. Not to be changed.

    Raises:
        KeyError: not one of our kinds.
    """
    schema: dict[str, Any] = render(_MODELS[kind])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@cache
def _status_schema(kind: str) -> dict[str, Any]:
    """The same for who writes the status alone. No rule spans both."""
    schema = schema_for(kind)
    return {**schema, "required": [], "properties": {name: part for name, part in schema["properties"].items() if name != "spec"}}


def validate_status(obj: dict[str, Any], strict_unknown: bool, *, drop_nulls: bool = True) -> tuple[dict[str, Any], list[Problem]]:
    """As `validate`, for an object of whose spec it is known that it was found right: most writes of an operator are to the status."""
    spec = {"spec": obj["spec"]} if "spec" in obj else {}
    filled, problems = _validated({k: v for k, v in obj.items() if k != "spec"}, _status_schema(obj["kind"]), strict_unknown, drop_nulls)
    return {**{k: v for k, v in filled.items() if k != "status"}, **spec, **filled}, problems


def validate(obj: dict[str, Any], strict_unknown: bool, *, drop_nulls: bool = True) -> tuple[dict[str, Any], list[Problem]]:
    """The object with defaults filled in, nulls and unknown fields dropped, and all that is wrong with it.

    Args:
        obj: an object of one of our kinds; it is not changed.
        strict_unknown: report unknown fields instead of dropping them silently.
        drop_nulls: a null where none is allowed counts as absent; server-side apply keeps and refuses it, unless there is a default.
    """
    return _validated(obj, schema_for(obj["kind"]), strict_unknown, drop_nulls)


def _validated(obj: dict[str, Any], schema: dict[str, Any], strict_unknown: bool, drop_nulls: bool) -> tuple[dict[str, Any], list[Problem]]:
    unknown: list[Problem] = []
    metadata = copy.deepcopy(obj.get("metadata") or {})
    filled = {**fill({**obj, "metadata": {}}, schema, unknown, drop_nulls), "metadata": metadata}
    unknown += unknown_fields(metadata)
    problems = check_metadata(metadata)
    if strict_unknown and unknown:
        return filled, sorted(unknown, key=lambda problem: problem.path) + problems
    problems += check(filled, schema)
    if not any(problem.blocking for problem in problems):
        problems += check_rules(filled, schema)
    return filled, problems


__all__ = ["Problem", "is_ours", "schema_for", "validate", "validate_status"]

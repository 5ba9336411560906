"""Object metadata as the API server takes it, in its words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forebay.api.schema_problems import Problem, show

_FIELDS = frozenset(
    "name generateName namespace selfLink uid resourceVersion generation creationTimestamp deletionTimestamp deletionGracePeriodSeconds"  # noqa: SIM905
    " labels annotations ownerReferences finalizers managedFields".split()
)
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = rf"({_QUALIFIED})?"
_MAX_ANNOTATIONS_BYTES = 256 * 1024


def unknown_fields(metadata: Any) -> list[Problem]:
    """Fields that no object's metadata has."""
    names = sorted(metadata.keys() - _FIELDS) if isinstance(metadata, dict) else []
    return [Problem(f"metadata.{name}", f'unknown field "metadata.{name}"', blocking=True) for name in names]


def check_metadata(metadata: Any) -> list[Problem]:
    """What is wrong with the metadata of an object that is to be stored."""
    return list(_check(metadata))


def _check(metadata: Any) -> Iterator[Problem]:
    if not isinstance(metadata, dict):
        yield Problem("metadata", f"Invalid value: must be an object with a name, not {show(metadata)}", blocking=True)
        return
    for name in ("name", "generateName", "namespace", "uid", "resourceVersion"):
        if not isinstance(metadata.get(name), str | None):
            yield Problem(f"metadata.{name}", f"Invalid value: must be text: put quotes around {show(metadata[name])}", blocking=True)
            return
    yield from _check_names(metadata)
    yield from _check_pairs(metadata, "labels")
    yield from _check_pairs(metadata, "annotations")


def _check_names(metadata: dict[str, Any]) -> Iterator[Problem]:
    name, namespace = metadata.get("name") or "", metadata.get("namespace")
    if not name and not metadata.get("generateName"):
        yield Problem("metadata.name", "Required value: name or generateName is required", blocking=True)
    if len(name) > 253:
        yield Problem("metadata.name", f"Invalid value: {show(name)}: must be no more than 253 characters")
    if name and not re.fullmatch(_SUBDOMAIN, name):
        yield Problem(
            "metadata.name",
            f"Invalid value: {show(name)}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.',"
            f" and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')",
        )
    if namespace and not (re.fullmatch(_LABEL, namespace) and len(namespace) <= 63):
        yield Problem(
            "metadata.namespace",
            f"Invalid value: {show(namespace)}: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-',"
            " of at most 63, and must start and end with an alphanumeric character",
        )


def _check_pairs(metadata: dict[str, Any], field: str) -> Iterator[Problem]:
    pairs, path = metadata.get(field) or {}, f"metadata.{field}"
    if not isinstance(pairs, dict) or not all(isinstance(value, str | None) for value in pairs.values()):
        wrong = next((name for name, value in pairs.items() if not isinstance(value, str | None)), "") if isinstance(pairs, dict) else ""
        yield Problem(f"{path}.{wrong}" if wrong else path, "Invalid value: must be text: put quotes around it", blocking=True)
        return
    for key, value in pairs.items():
        prefix, _, name = key.rpartition("/")
        if ("/" in key and not (re.fullmatch(_SUBDOMAIN, prefix.lower()) and len(prefix) <= 253)) or not re.fullmatch(_QUALIFIED, name):
            yield Problem(
                path,
                f"Invalid value: {show(key)}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end"
                f" with an alphanumeric character, after a DNS name and a slash where there is a prefix",
            )
        elif len(name) > 63:
            yield Problem(path, f"Invalid value: {show(key)}: name part must be no more than 63 bytes")
        if field == "labels" and len(value or "") > 63:
            yield Problem(path, f"Invalid value: {show(value)}: must be no more than 63 bytes")
        elif field == "labels" and not re.fullmatch(_VALUE, value or ""):
            yield Problem(
                path,
                f"Invalid value: {show(value)}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_'"
                " or '.', and must start and end with an alphanumeric character",
            )
    if field == "annotations" and sum(len(text.encode()) for pair in pairs.items() for text in pair if text) > _MAX_ANNOTATIONS_BYTES:
        yield Problem(path, "Too long: may not be more than 262144 bytes")

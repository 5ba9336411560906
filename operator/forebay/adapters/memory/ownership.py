"""Who owns which field of an object, and server-side apply on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from forebay.adapters.cluster import Conflict, Object
from forebay.adapters.memory.fields import Fields, Path, ShapeOf, at, fields_of, merge, prefixes, text_of, without
from forebay.adapters.memory.shapes import shape_of


@dataclass(frozen=True, slots=True)
class Manager:
    """A field manager. Applying and updating are owners apart, and so are subresources, as on an API server."""

    name: str
    operation: Literal["Apply", "Update"]
    subresource: str | None = None

    def describe(self, api_version: str) -> str:
        subresource = f' with subresource "{self.subresource}"' if self.subresource else ""
        using = f" using {api_version}" if self.operation == "Update" else ""
        return f'"{self.name}"{subresource}{using}'


Owners = Mapping[Manager, Fields]

_SERVER_SET = frozenset(
    "name namespace uid resourceVersion generation creationTimestamp deletionTimestamp deletionGracePeriodSeconds"  # noqa: SIM905
    " managedFields selfLink".split()
)


def shapes_for(obj: Object) -> ShapeOf:
    return partial(shape_of, obj["apiVersion"], obj["kind"])


def own_fields(obj: Object) -> Fields:
    """The fields of an object that can have an owner: not its identity, nor what the server sets."""
    metadata = {name: value for name, value in (obj.get("metadata") or {}).items() if name not in _SERVER_SET}
    rest = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    return fields_of({**rest, "metadata": metadata} if metadata else rest, shapes_for(obj))


def apply(live: Object, applied: Object, owners: Owners, manager: Manager, force: bool) -> tuple[Object, dict[Manager, Fields]]:
    """(the merged object, the new owners).

    Raises:
        Conflict: another manager owns a field that would change, and `force` is not set.
    """
    shapes = shapes_for(live)
    wanted, before = own_fields(applied), owners.get(manager, frozenset())
    others = {other: fields for other, fields in owners.items() if other != manager}
    conflicts = _conflicts(live, applied, wanted, others, shapes)
    if conflicts and not force:
        raise Conflict(_message(conflicts, live["apiVersion"]), 409)
    for other, paths in conflicts.items():
        others[other] -= paths
    kept = frozenset().union(wanted, *others.values())
    leading = prefixes(kept)
    gone = frozenset(path for path in before - kept if path not in leading)
    merged = without(merge(live, applied, shapes), gone, shapes)
    return merged, {owner: fields for owner, fields in {**others, manager: wanted}.items() if fields}


def update(old: Object | None, new: Object, owners: Owners, manager: Manager) -> dict[Manager, Fields]:
    """The owners after a plain write: who changed a field owns it, alone."""
    before, after = (own_fields(old) if old else frozenset()), own_fields(new)
    changed = (after - before) | (_differing(old, new, after, before, shapes_for(new)) if old else frozenset())
    lost = changed | (before - after)
    result = {owner: fields - lost for owner, fields in owners.items()}
    result[manager] = result.get(manager, frozenset()) | changed
    return {owner: fields for owner, fields in result.items() if fields}


def rescale(old: Object, new: Object, owners: Owners, manager: Manager) -> dict[Manager, Fields]:
    """The owners after a write to scale, which takes the number from whoever had it but claims none that nobody had."""
    changed = update(old, new, {}, manager).get(manager, frozenset())
    owned = frozenset().union(*owners.values()) & changed
    return update(old, new, owners, manager) if owned else dict(owners)


def _differing(old: Object, new: Object, fields: Fields, among: Fields, shapes: ShapeOf) -> Fields:
    """Those of the fields that are `among` these and whose own value differs; a list's item differs through the fields inside it."""
    asked = fields & among
    leading = prefixes(fields) if asked else set[Path]()
    return frozenset(path for path in asked if path not in leading and at(old, path, shapes) != at(new, path, shapes))


def _conflicts(live: Object, applied: Object, wanted: Fields, others: Mapping[Manager, Fields], shapes: ShapeOf) -> dict[Manager, Fields]:
    differing = _differing(live, applied, wanted, frozenset[Path]().union(*others.values()), shapes)
    return {other: shared for other, fields in others.items() if (shared := fields & differing)}


def _message(conflicts: Mapping[Manager, Fields], api_version: str) -> str:
    """The API server's words."""
    named = [(other.describe(api_version), text) for other, paths in conflicts.items() for text in sorted(map(text_of, paths))]
    if len(named) == 1:
        return f"Apply failed with 1 conflict: conflict with {named[0][0]}: {named[0][1]}"
    lines = [f"Apply failed with {len(named)} conflicts: conflicts with {named[0][0]}:"]
    for index, (other, text) in enumerate(named):
        if index and other != named[index - 1][0]:
            lines.append(f"conflicts with {other}:")
        lines.append(f"- {text}")
    return "\n".join(lines)


def without_nulls(value: Any) -> Any:
    """Null means absent in every field of the built-in kinds."""
    if isinstance(value, dict):
        return {name: without_nulls(child) for name, child in value.items() if child is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value

"""What every write goes through before it is stored: identity, isolation of status, generation, admission."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from typing import Any

from forebay.adapters.clock import Clock, timestamp
from forebay.adapters.cluster import Conflict, Invalid, Kind, NotFound, Object
from forebay.adapters.memory.kinds import FREE_NAMES, HAS_GENERATION, HAS_STATUS, STATUS_ON_CREATE, broken_rules, prepare, spec_of
from forebay.adapters.memory.ownership import without_nulls
from forebay.api.admission import Problem, is_ours, validate, validate_status
from forebay.api.metadata import check_metadata

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_KEPT_METADATA = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, lists are replaced whole."""
    if not isinstance(patch, dict):
        return patch
    base = target if isinstance(target, dict) else {}
    merged = {name: merge_patch(base.get(name), child) for name, child in patch.items() if child is not None}
    return {name: child for name, child in {**base, **merged}.items() if name not in patch or patch[name] is not None}


def new_object(kind: Kind, obj: Object, clock: Clock, *, applied: bool = False) -> Object:
    """The object as it is first stored.

    Raises:
        Invalid: it is refused.
    """
    metadata = {**(obj.get("metadata") or {})}
    if metadata.get("resourceVersion"):
        raise Invalid("resourceVersion should not be set on objects to be created", 400)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + "".join(secrets.choice(_NAME_LETTERS) for _ in range(5))
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"):
        metadata.pop(name, None)
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp(int(clock.now()))}
    if not kind.namespaced:
        metadata.pop("namespace", None)
    if kind in HAS_GENERATION:
        metadata["generation"] = 1
    new = {**obj, "metadata": metadata}
    if kind in HAS_STATUS and kind not in STATUS_ON_CREATE:
        new.pop("status", None)
    prepare(kind, new)
    return admitted(kind, None, new, applied)


def changed_object(kind: Kind, old: Object, new: Object, subresource: str | None, *, applied: bool = False) -> Object:
    """The object as it is stored after a write to itself or to its status.

    Raises:
        Invalid, NotFound, Conflict: it is refused.
    """
    if subresource == "status":
        if kind not in HAS_STATUS:
            raise NotFound("the server could not find the requested resource", 404)
        new = {**old, "status": new["status"]} if "status" in new else {name: part for name, part in old.items() if name != "status"}
    elif subresource is not None:
        raise NotFound(f"the server could not find the requested resource: {kind.plural}/{subresource}", 404)
    else:
        new = _changed_main(kind, old, new)
    return admitted(kind, old, new, applied, status_alone=subresource == "status")


def _changed_main(kind: Kind, old: Object, new: Object) -> Object:
    _same_identity(kind, old, new)
    metadata = {name: value for name, value in new["metadata"].items() if name not in _KEPT_METADATA and name != "managedFields"}
    metadata |= {name: old["metadata"][name] for name in _KEPT_METADATA if name in old["metadata"]}
    new = {**new, "metadata": metadata}
    if kind in HAS_STATUS:
        new.pop("status", None)
        new |= {"status": old["status"]} if "status" in old else {}
    added = set(metadata.get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
    if "deletionTimestamp" in metadata and added:
        raise refused(
            kind, new, [Problem("metadata.finalizers", f"Forbidden: no new finalizers while it is being deleted: {sorted(added)}")]
        )
    return new


def _same_identity(kind: Kind, old: Object, new: Object) -> None:
    before, after = old["metadata"], new.get("metadata") or {}
    if after.get("name") != before["name"]:
        raise Invalid(f"the name of the object ({after.get('name')}) does not match the name on the URL ({before['name']})", 400)
    if kind.namespaced and after.get("namespace", before["namespace"]) != before["namespace"]:
        raise Invalid("the namespace of the provided object does not match the namespace sent on the request", 400)


def check_preconditions(kind: Kind, old: Object, metadata: Any) -> None:
    """Holds a write to the resourceVersion and uid that it names, if it names any."""
    before = old["metadata"]
    if metadata.get("resourceVersion", before["resourceVersion"]) != before["resourceVersion"]:
        raise Conflict(
            f'Operation cannot be fulfilled on {resource(kind)} "{before["name"]}": the object has been modified;'
            " please apply your changes to the latest version and try again",
            409,
        )
    if metadata.get("uid", before["uid"]) != before["uid"]:
        raise refused(kind, old, [Problem("metadata.uid", f'Invalid value: "{metadata["uid"]}": field is immutable')])


def main_part(kind: Kind, obj: Object) -> Object:
    """What a write to the object itself can set of it."""
    return {name: value for name, value in obj.items() if name != "status" or kind not in HAS_STATUS}


def status_part(obj: Object) -> Object:
    """What a write to its status can set."""
    return {name: value for name, value in obj.items() if name in ("apiVersion", "kind", "status")}


def admitted(kind: Kind, old: Object | None, new: Object, applied: bool, *, status_alone: bool = False) -> Object:
    """The object with defaults, its generation raised where its spec changed; with `status_alone` nothing else of it is new.

    Raises:
        Invalid: all that is wrong with it.
    """
    problems: list[Problem | str] = []
    if is_ours(new):
        new, found = (validate_status if status_alone else validate)(new, strict_unknown=True, drop_nulls=not applied)
        problems += found
    else:
        new = without_nulls(new)
        problems += check_metadata(new["metadata"]) if kind not in FREE_NAMES else []
        problems += broken_rules(kind, old, new)
    if problems:
        raise refused(kind, new, problems)
    if old is not None and kind in HAS_GENERATION and spec_of(old) != spec_of(new):
        new = {**new, "metadata": {**new["metadata"], "generation": old["metadata"]["generation"] + 1}}
    return new


def refused(kind: Kind, obj: Object, problems: Iterable[Problem | str]) -> Invalid:
    """The API server's way of saying what is wrong."""
    texts = [str(problem) for problem in problems]
    unknown = [text.partition(": ")[2] for text in texts if ": unknown field " in text]
    version = kind.api_version.rpartition("/")[2]
    if unknown:
        what = f'{kind.name} in version "{version}" cannot be handled as a {kind.name}'
        return Invalid(f"{what}: strict decoding error: {', '.join(unknown)}", 400)
    name = (obj.get("metadata") or {}).get("name", "")
    title = f'{kind.name}{"." + kind.group if kind.group else ""} "{name}" is invalid'
    return Invalid(f"{title}: {texts[0] if len(texts) == 1 else '[' + ', '.join(texts) + ']'}", 422)


def resource(kind: Kind) -> str:
    """A kind as messages name it, `deployments.apps`."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural

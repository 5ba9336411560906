"""The URLs of the Kubernetes API: which kind a path means, and what discovery says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from forebay.adapters.cluster import ALL_KINDS, SECRETS, Kind

READ_VERBS = ["get", "list", "watch"]

SERVED = tuple(kind for kind in ALL_KINDS if kind != SECRETS)
"""Secrets stay inside: everybody on the machine may read what this server answers."""

_BY_PLACE = {(kind.api_version, kind.plural): kind for kind in SERVED}


@dataclass(frozen=True, slots=True)
class Target:
    """A collection, of one namespace or of all, or one object of it."""

    kind: Kind
    namespace: str = ""
    name: str = ""


def target_of(path: str) -> Target | None:
    """What a path means; None for one that this server does not have."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[:2] == ["api", "v1"]:
        version, rest = "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 2:
        version, rest = f"{parts[1]}/{parts[2]}", parts[3:]
    else:
        return None
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    kind = _BY_PLACE.get((version, rest[0])) if 1 <= len(rest) <= 2 else None
    if kind is None or (namespace and not kind.namespaced):
        return None
    name = rest[1] if len(rest) == 2 else ""
    return None if name and kind.namespaced and not namespace else Target(kind, namespace, name)


def discovery(path: str) -> dict[str, Any] | None:
    """Answers of the discovery paths, with which kubectl finds out what there is."""
    parts = path.strip("/").split("/")
    if parts == ["version"]:
        return {"major": "1", "minor": "37", "gitVersion": "v1.37.0+forebay"}
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if parts == ["apis"]:
        groups = sorted({kind.api_version for kind in SERVED if kind.group})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(version) for version in groups]}
    version = "/".join(parts[1:])
    kinds = [kind for kind in SERVED if kind.api_version == version]
    if not kinds or parts[0] != ("apis" if "/" in version else "api"):
        return None
    resources = [
        {"name": kind.plural, "singularName": kind.name.lower(), "namespaced": kind.namespaced, "kind": kind.name, "verbs": READ_VERBS}
        for kind in kinds
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _group(version: str) -> dict[str, Any]:
    group, _, short = version.partition("/")
    served = {"groupVersion": version, "version": short}
    return {"name": group, "versions": [served], "preferredVersion": served}

"""What a container is started with: its variables and its command line, as the kubelet makes them."""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.adapters.cluster import CONFIG_MAPS, SECRETS, Kind, Object

Entrypoint = Callable[[str], Sequence[str] | None]
"""The command an image starts when its container names none, or None for an image that is not known."""

Lookup = Callable[[Kind, str, str], Object | None]
"""A ConfigMap or a Secret by its kind, namespace and name."""

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


_INHERITED = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ")


class ConfigError(Exception):
    """A container cannot be started as its pod describes it. Another try helps only when something else has changed."""

    def __init__(self, message: str, reason: str = "CreateContainerConfigError") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod runs."""

    ip: str
    host_ip: str


def inherited() -> dict[str, str]:
    """What every process needs of this one's environment, and nothing else of it: a container does not see its host's variables.

    Programs are found first where this Python's are, so that the `forebay` command is there.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | {"PATH": path}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` replaced by its value, left alone where there is none; `$$` is a dollar.

    >>> expand("$(HOST):$(PORT) $$(HOST)", {"HOST": "a"})
    'a:$(PORT) $(HOST)'
    """

    def value(found: re.Match[str]) -> str:
        return "$" if found[1] is None else variables.get(found[1], found[0])

    return _REFERENCE.sub(value, text)


def field(pod: Object, path: str, place: Place) -> str:
    """A field of the downward API. ConfigError for a path that it does not have."""
    metadata = pod["metadata"]
    if found := _SUBSCRIPT.match(path):
        return str(metadata.get(found[1], {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.removeprefix("metadata."), {})
        return "\n".join(f'{key}="{entries[key]}"' for key in sorted(entries))
    fields = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace", "default"),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": place.ip,
        "status.podIPs": place.ip,
        "status.hostIP": place.host_ip,
        "status.hostIPs": place.host_ip,
    }
    if path not in fields:
        raise ConfigError(
            f"fieldPath {path} is not known; known are {', '.join(sorted(fields))}, metadata.labels['x'] and annotations['x']"
        )
    return str(fields[path])


def data_of(kind: Kind, obj: Object) -> dict[str, bytes]:
    """The entries of a ConfigMap or a Secret."""
    if kind == SECRETS:
        plain = {key: value.encode() for key, value in (obj.get("stringData") or {}).items()}
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()} | plain
    binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    return binary | {key: value.encode() for key, value in (obj.get("data") or {}).items()}


def entries(reference: Mapping[str, Any], kind: Kind, namespace: str, lookup: Lookup) -> dict[str, bytes] | None:
    """The entries of a referenced object, None where it is absent and may be. ConfigError where it may not."""
    name = reference.get("name") or reference.get("secretName") or ""
    found = lookup(kind, namespace, name)
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f"{kind.name} {namespace}/{name} is not there")
    return data_of(kind, found)


def variables(container: Mapping[str, Any], pod: Object, place: Place, lookup: Lookup) -> dict[str, str]:
    """A container's own variables: `envFrom`, then `env`, each of which may refer to those before it."""
    namespace = pod["metadata"].get("namespace", "default")
    result: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for name, kind in (("configMapRef", CONFIG_MAPS), ("secretRef", SECRETS)):
            if name in source:
                found = entries(source[name], kind, namespace, lookup) or {}
                result |= {source.get("prefix", "") + key: value.decode() for key, value in found.items()}
    for entry in container.get("env") or []:
        value = _value(entry, pod, place, lookup) if entry.get("valueFrom") else expand(str(entry.get("value") or ""), result)
        if value is not None:
            result[entry["name"]] = value
    return result


def _value(entry: Mapping[str, Any], pod: Object, place: Place, lookup: Lookup) -> str | None:
    source = entry["valueFrom"]
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"], place)
    for name, kind in (("configMapKeyRef", CONFIG_MAPS), ("secretKeyRef", SECRETS)):
        if name in source:
            reference = source[name]
            found = entries(reference, kind, pod["metadata"].get("namespace", "default"), lookup) or {}
            if reference["key"] in found:
                return found[reference["key"]].decode()
            if reference.get("optional"):
                return None
            raise ConfigError(f"{kind.name} {reference['name']} has no key {reference['key']}")
    raise ConfigError(f"variable {entry['name']}: valueFrom takes fieldRef, configMapKeyRef or secretKeyRef here, not {', '.join(source)}")


def command_line(container: Mapping[str, Any], env: Mapping[str, str], entrypoint: Entrypoint) -> list[str]:
    """What to execute. ConfigError where the image is not known and the container names no command."""
    command = container.get("command") or entrypoint(container.get("image", ""))
    if not command:
        raise ConfigError(
            f"image {container.get('image', '')!r} is not known here: pods run as processes, so give the container a command",
            reason="ErrImagePull",
        )
    return [expand(str(word), env) for word in [*command, *(container.get("args") or [])]]

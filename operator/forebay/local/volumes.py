"""What a pod's volumes hold, written as the kubelet writes it: a reader sees all of the old files or all of the new ones.

Files live in a folder of their own that the symbolic link `..data` points to; an update makes a new folder and swaps the link.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from forebay.adapters.cluster import CONFIG_MAPS, SECRETS, Object
from forebay.local.environment import ConfigError, Lookup, Place, entries, field

TokenSource = Callable[[Object, str, int], Awaitable[str]]
"""A service account's token for a pod, an audience ("" is the API server's own) and a life in seconds."""

TOKEN_LIFE_S = 3600
_DATA = "..data"
_SOURCES = {"configMap": CONFIG_MAPS, "secret": SECRETS}


async def contents(
    volume: Mapping[str, Any], pod: Object, place: Place, lookup: Lookup, tokens: TokenSource | None
) -> dict[str, bytes] | None:
    """Files of a volume by their path in it; None for one that the pod itself fills.

    Raises:
        ConfigError: something it needs is not there, or the kind of volume cannot be had here.
    """
    if "emptyDir" in volume or "hostPath" in volume:
        return None
    files: dict[str, bytes] = {}
    sources = volume["projected"].get("sources") or [] if "projected" in volume else [volume]
    for source in sources:
        files |= await _files(source, pod, place, lookup, tokens)
    for path in files:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or path.startswith(".."):
            raise ConfigError(f"volume {volume['name']}: path {path!r} leaves the volume")
    return files


async def _files(source: Mapping[str, Any], pod: Object, place: Place, lookup: Lookup, tokens: TokenSource | None) -> dict[str, bytes]:
    for name, kind in _SOURCES.items():
        if name in source:
            found = entries(source[name], kind, pod["metadata"].get("namespace", "default"), lookup)
            return {} if found is None else _chosen(found, source[name])
    if "downwardAPI" in source:
        return {
            item["path"]: field(pod, item["fieldRef"]["fieldPath"], place).encode() for item in source["downwardAPI"].get("items") or []
        }
    if "serviceAccountToken" in source:
        if tokens is None:
            raise ConfigError("there are no service account tokens here: set automountServiceAccountToken to false")
        wanted = source["serviceAccountToken"]
        return {wanted["path"]: (await tokens(pod, wanted.get("audience", ""), token_life_s(source))).encode()}
    raise ConfigError(
        f"volumes are configMap, secret, projected, downwardAPI, emptyDir or hostPath here, not {', '.join(set(source) - {'name'})}"
    )


def _chosen(found: dict[str, bytes], reference: Mapping[str, Any]) -> dict[str, bytes]:
    items = reference.get("items")
    if not items:
        return found
    missing = [item["key"] for item in items if item["key"] not in found]
    if missing and not reference.get("optional"):
        raise ConfigError(f"{reference.get('name') or reference.get('secretName')} has no key {missing[0]}")
    return {item["path"]: found[item["key"]] for item in items if item["key"] in found}


def token_life_s(source: Mapping[str, Any]) -> int:
    return int(source["serviceAccountToken"].get("expirationSeconds") or TOKEN_LIFE_S)


def location(volume: Mapping[str, Any], folder: Path) -> Path:
    """Where a volume is: below the pod's folder, or the machine's own path for hostPath."""
    return Path(volume["hostPath"]["path"]) if "hostPath" in volume else folder / volume["name"]


def write(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Makes the volume hold exactly these files; False where it did already."""
    folder.mkdir(parents=True, exist_ok=True)
    current = folder / _DATA
    if current.exists() and _read(current) == files:
        return False
    before = current.resolve() if current.exists() else None
    fresh = folder / f"..{secrets.token_hex(6)}"
    fresh.mkdir()
    for path, content in files.items():
        target = fresh / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    swap = folder / "..data_tmp"
    swap.symlink_to(fresh.name)
    os.replace(swap, current)
    _link(folder, {PurePosixPath(path).parts[0] for path in files})
    if before is not None:
        shutil.rmtree(before)
    return True


def _read(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def _link(folder: Path, names: set[str]) -> None:
    present = {path.name for path in folder.iterdir() if not path.name.startswith("..")}
    for name in names - present:
        (folder / name).symlink_to(f"{_DATA}/{name}")
    for name in present - names:
        (folder / name).unlink()

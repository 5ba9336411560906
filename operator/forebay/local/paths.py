"""Paths of mounted volumes, where processes share the machine's file system.

A container sees its volumes below absolute mount paths; a process cannot without a mount namespace, which needs rights that not every
machine gives. So wherever a mount path stands in a command, an argument, an environment value or a working directory, it is replaced
by the folder where the volume really is. A folder that only holds mounts (`/keys` of `/keys/acme` and `/keys/globex`) is replaced by one
of links to them, where it stands alone. A program that has such a path inside itself must take it as a flag or a variable instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

_LEAST_DEPTH = 2
"""Folders above mounts are replaced from this depth on: never /etc or /var."""


@dataclass(frozen=True)
class Mounts:
    """Where mount paths are, and the folders above them."""

    volumes: Mapping[str, Path] = field(default_factory=dict)
    above: Mapping[str, Path] = field(default_factory=dict)

    def link(self) -> None:
        """Makes the folders above, with a link for each mount in them."""
        for path, real in self.volumes.items():
            for above, folder in self.above.items():
                if PurePosixPath(path).is_relative_to(above) and not (link := folder / PurePosixPath(path).relative_to(above)).is_symlink():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(real)


def mounts_of(container: Mapping[str, Any], volumes: Mapping[str, Path], folder: Path) -> Mounts:
    """The mounts of a container; folders above them are below `folder`. KeyError names a volume that the pod does not declare."""
    real = {
        mount["mountPath"].rstrip("/"): volumes[mount["name"]] / mount.get("subPath", "").strip("/")
        for mount in container.get("volumeMounts") or []
    }
    parents = {str(parent) for path in real for parent in PurePosixPath(path).parents if len(parent.parts) > _LEAST_DEPTH}
    return Mounts(real, {parent: folder / parent.strip("/") for parent in parents - real.keys()})


def rewrite(text: str, mounts: Mounts) -> str:
    """The text with every mount path replaced; the longest wins, and only whole path components count.

    >>> config = Mounts({"/etc/forebay/config": Path("/tmp/p/config")}, {"/etc/forebay": Path("/tmp/p/above")})
    >>> rewrite("--config=/etc/forebay/config/sidecar.json --all=/etc/forebay", config)
    '--config=/tmp/p/config/sidecar.json --all=/tmp/p/above'
    >>> rewrite("/etc/forebay/other /etc/forebay/config-old http://h/etc/forebay/config", config)
    '/etc/forebay/other /etc/forebay/config-old http://h/etc/forebay/config'
    """
    found = [rf"{re.escape(path)}(?![\w.-])" for path in sorted(mounts.volumes, key=len, reverse=True)]
    found += [rf"{re.escape(path)}/?(?![\w./-])" for path in sorted(mounts.above, key=len, reverse=True)]
    if not found:
        return text
    both = {**mounts.above, **mounts.volumes}
    return re.sub(rf"(?<![\w./-])(?:{'|'.join(found)})", lambda match: str(both[match[0].rstrip("/")]), text)

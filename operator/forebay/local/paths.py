"""Paths of mounted volumes, where processes share the machine's file system.

A container sees its volumes below absolute mount paths; a process cannot without a mount namespace, which needs rights that not every
machine gives. So wherever a mount path stands in a command, an argument, an environment value or a working directory, it is replaced
by the folder where the volume really is. A program that has such a path inside itself must take it as a flag or a variable instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def mounts_of(container: Mapping[str, Any], volumes: Mapping[str, Path]) -> dict[str, Path]:
    """Mount path to real path. KeyError names a volume that the pod does not declare."""
    return {
        mount["mountPath"].rstrip("/"): volumes[mount["name"]] / mount.get("subPath", "").strip("/")
        for mount in container.get("volumeMounts") or []
    }


def rewrite(text: str, mounts: Mapping[str, Path]) -> str:
    """The text with every mount path replaced; the longest wins, and only whole path components count.

    >>> rewrite("--config=/etc/forebay/sidecar.json", {"/etc/forebay": Path("/tmp/p/config")})
    '--config=/tmp/p/config/sidecar.json'
    >>> rewrite("/etc/forebay-old http://h/etc/forebay", {"/etc/forebay": Path("/tmp/p/config")})
    '/etc/forebay-old http://h/etc/forebay'
    """
    if not mounts:
        return text
    longest_first = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])({longest_first})(?![\w.-])", lambda found: str(mounts[found[1]]), text)

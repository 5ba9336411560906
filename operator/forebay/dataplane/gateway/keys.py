"""API keys: which tenants' folders a bearer token is in.

Keys are files of mounted Secrets, so they change under a running gateway, by a swap of the `..data` link. A folder is read again when the
identity of a file in it has changed. Only digests stay in memory, keyed with a
random value of this process: a dump shows no key, and a caller who times the look-up learns nothing, for he cannot choose digests.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from collections.abc import Iterable
from pathlib import Path

MAX_KEY_BYTES = 4096
MAX_KEYS_PER_FOLDER = 1024

_log = logging.getLogger(__name__)

Identity = tuple[tuple[str, int, int, int], ...]


class Keys:
    """Keys below one folder. `folders_of` is the request path's; `refresh` reads files and blocks."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._secret = os.urandom(32)
        self._seen: dict[str, tuple[Identity, tuple[bytes, ...]]] = {}
        self._folders: dict[bytes, tuple[bytes, frozenset[str]]] = {}

    def folders_of(self, token: bytes) -> frozenset[str] | None:
        """Folders that hold this key; None where there is no such key."""
        if not token or len(token) > MAX_KEY_BYTES:
            return None
        digest = self._digest(token)
        found = self._folders.get(digest)
        return found[1] if found and hmac.compare_digest(found[0], digest) else None

    def refresh(self, folders: Iterable[str]) -> None:
        """Reads what changed in these folders, and forgets all others."""
        seen: dict[str, tuple[Identity, tuple[bytes, ...]]] = {}
        for folder in folders:
            identity = _identity(self._root / folder)
            before = self._seen.get(folder)
            seen[folder] = before if before and before[0] == identity else (identity, self._read(folder, identity))
        if seen != self._seen:
            self._seen = seen
            self._folders = _by_digest(seen)

    def _digest(self, token: bytes) -> bytes:
        return hashlib.blake2b(token, digest_size=32, key=self._secret).digest()

    def _read(self, folder: str, identity: Identity) -> tuple[bytes, ...]:
        digests = []
        for name, *_ in identity:
            try:
                key = (self._root / folder / name).read_bytes().rstrip(b"\r\n")
            except OSError:
                continue  # vanished meanwhile; its folder's identity changes with it
            if not key or len(key) > MAX_KEY_BYTES:
                _log.warning("API key ignored: it is empty or too long", extra={"folder": folder, "file": name})
                continue
            digests.append(self._digest(key))
        if not digests:
            _log.warning("tenant has no API key, so nobody can ask for it", extra={"folder": folder})
        return tuple(digests)


def _identity(folder: Path) -> Identity:
    """Name, inode, time and size of every file that may hold a key. Links are followed, so a swap of `..data` shows."""
    found: list[tuple[str, int, int, int]] = []
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ()
    for name in names:
        if name.startswith("."):
            continue
        try:
            stat = os.stat(folder / name)
        except OSError:
            continue
        if 0 < stat.st_size <= MAX_KEY_BYTES + 2 and len(found) < MAX_KEYS_PER_FOLDER:
            found.append((name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _by_digest(seen: dict[str, tuple[Identity, tuple[bytes, ...]]]) -> dict[bytes, tuple[bytes, frozenset[str]]]:
    folders: dict[bytes, set[str]] = {}
    for folder, (_, digests) in seen.items():
        for digest in digests:
            folders.setdefault(digest, set()).add(folder)
    return {digest: (digest, frozenset(where)) for digest, where in folders.items()}

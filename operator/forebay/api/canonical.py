"""One way to write a document as bytes, so that equal documents have equal hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

_write = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def canonical(document: Any) -> bytes:
    """JSON with sorted keys and no spaces, as UTF-8."""
    return _write(document).encode()


def short_hash(document: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical form."""
    return hashlib.sha256(canonical(document)).hexdigest()[:16]


def sealed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the hash of its other fields, by which a reader checks that it is whole."""
    return {**document, "hash": short_hash(document)}


def bounded_name(*parts: str, limit: int = 63) -> str:
    """The parts joined by `-`; where that is too long, cut and made unique by a hash."""
    name = "-".join(part for part in parts if part)
    return name if len(name) <= limit else f"{name[: limit - 9].rstrip('-.')}-{short_hash(name)[:8]}"

"""The exact response cache: the same question of the same tenant under the same policy is answered once.

The key holds everything that could change the answer or whom it belongs to, so an entry can never cross tenants and a changed policy
or model begins anew. Only whole answers with status 200 come in. Bounded in bytes, least recently used goes first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import orjson

from forebay.dataplane.gateway.config import Policy, Pool
from forebay.dataplane.gateway.doors import Ask, written

_OVERHEAD_BYTES = 512
"""Of an entry besides its body: key, node, headers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One whole answer; for a stream, every byte of it up to its end. Times in seconds of the loop's clock."""

    body: bytes
    content_type: bytes
    pool: Pool
    stored_at: float
    expires_at: float


def cacheable(mode: str, ask: Ask) -> bool:
    """Whether an answer to this request may be given again."""
    if mode == "Always":
        return True
    if mode != "Deterministic":
        return False
    temperature: Any = ask.parsed.get("temperature")
    return ask.door.task == "Embeddings" or (temperature == 0 and not isinstance(temperature, bool))


def key_of(ask: Ask, policy: Policy, tenant: str, model: str) -> bytes:
    """Digest of the request in canonical form, with whom it is for and the model that answers. Raises Refusal, as `written` does."""
    scope = (policy.name, policy.hash, tenant, model, ask.door.path, ask.stream)
    return hashlib.blake2b(written((scope, ask.parsed), orjson.OPT_SORT_KEYS), digest_size=20).digest()


class Cache:
    """Answers by key. An answer longer than an eighth of the whole is not kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.max_entry_bytes = max_bytes // 8
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.bytes = 0

    def get(self, key: bytes, now: float) -> Entry | None:
        """The entry, unless it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at <= now:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Entry) -> bool:
        """Keeps an answer; False where it is too long or expires at once."""
        size = len(entry.body) + _OVERHEAD_BYTES
        if size > self.max_entry_bytes or entry.expires_at <= entry.stored_at:
            return False
        self._drop(key)
        self._entries[key] = entry
        self.bytes += size
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
        return True

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= len(entry.body) + _OVERHEAD_BYTES

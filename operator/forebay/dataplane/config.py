"""Compiled configuration as gateway and sidecar load it: whole or not at all, the last good one kept, followed while it changes.

A mounted ConfigMap changes by a swapped symbolic link, so the file behind the path is another one afterwards; its identity is polled,
which needs no notification API and also works on every other kind of mount.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from forebay.api.canonical import short_hash
from forebay.runtime.errors import ForebayError

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
# A ConfigMap holds at most 1 MiB.
_MAX_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


class ConfigError(ForebayError):
    """A document that is refused; the message names the field and what would be right."""


class UnreadableError(ConfigError):
    """The file could not be read; that may pass without the file changing."""


@dataclass(frozen=True, slots=True)
class Document(Generic[T]):
    """A loaded document: its content hash, and what it says."""

    hash: str
    data: T


def load(path: Path, parse: Callable[[Mapping[str, Any]], T]) -> Document[T]:
    """Reads, checks and parses one document.

    Raises:
        UnreadableError: it cannot be read.
        ConfigError: it is not JSON, has another schema version or a wrong hash, or `parse` refuses it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror or error}") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: longer than {_MAX_BYTES} bytes")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a JSON object")
    if document.get("schemaVersion") != SCHEMA_VERSION:
        raise ConfigError(f"{path}: schemaVersion is {document.get('schemaVersion')!r}, this version reads {SCHEMA_VERSION}")
    declared = document.get("hash")
    try:
        found = short_hash({key: value for key, value in document.items() if key != "hash"})
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    if declared != found:
        raise ConfigError(f"{path}: hash is {declared!r}, its content has {found!r}: it was changed after it was compiled, or cut off")
    try:
        return Document(found, parse(document))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


class Watched(Generic[T]):
    """A document that is followed. `current` is the last good one, None until there was one; `refused` says why the newest is not it."""

    def __init__(self, path: Path, parse: Callable[[Mapping[str, Any]], T]) -> None:
        self.path = path
        self.current: Document[T] | None = None
        self.refused = ""
        self._parse = parse
        self._seen: tuple[int, int, int, int] | str | None = "never looked"

    def check(self) -> bool:
        """Looks once; True when another document is in force now. What is refused is logged once."""
        seen = self._identity()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            loaded = load(self.path, self._parse)
        except ConfigError as error:
            if isinstance(error, UnreadableError):
                self._seen = "look again"
            if self.refused != str(error):
                self.refused = str(error)
                kept = self.current.hash if self.current else None
                log.error("configuration refused", extra={"reason": self.refused, "kept": kept})
            return False
        self.refused = ""
        if self.current is not None and self.current.hash == loaded.hash:
            return False
        self.current = loaded
        log.info("configuration loaded", extra={"path": str(self.path), "hash": loaded.hash})
        return True

    async def follow(self, changed: Callable[[Document[T]], None], every_s: float = 2.0) -> None:
        """Looks for ever, and calls `changed` with every document that comes into force, the first one included."""
        while True:
            if self.check() and self.current is not None:
                changed(self.current)
            await asyncio.sleep(every_s)

    def _identity(self) -> tuple[int, int, int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


class At:
    """A place in a document: reads fields with their types, and says where one is wrong."""

    __slots__ = ("value", "where")

    def __init__(self, value: object, where: str = "") -> None:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where or 'the document'}: must be an object")
        self.value, self.where = value, where

    def _field(self, key: str, kind: type | tuple[type, ...], what: str) -> Any:
        value = self.value.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(f"{self.path(key)}: must be {what}")
        return value

    def path(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def text(self, key: str) -> str:
        value: str = self._field(key, str, "a text that is not empty")
        if not value:
            raise ConfigError(f"{self.path(key)}: must be a text that is not empty")
        return value

    def one_of(self, key: str, words: frozenset[str]) -> str:
        value = self.text(key)
        if value not in words:
            raise ConfigError(f"{self.path(key)}: {value!r} is none of {', '.join(sorted(words))}")
        return value

    def number(self, key: str, *, at_least: float | None = None, above: float | None = None, at_most: float | None = None) -> float:
        value = float(self._field(key, (int, float), "a number"))
        if (at_least is not None and not value >= at_least) or (above is not None and not value > above):
            raise ConfigError(f"{self.path(key)}: {value:g} is too small")
        if at_most is not None and not value <= at_most:
            raise ConfigError(f"{self.path(key)}: {value:g} is too large")
        return value

    def texts(self, key: str) -> list[str]:
        values: list[str] = self._field(key, list, "a list of texts")
        if not all(isinstance(value, str) and value for value in values):
            raise ConfigError(f"{self.path(key)}: must be a list of texts")
        return values

    def at(self, key: str) -> At:
        return At(self.value.get(key), self.path(key))

    def optional(self, key: str) -> At | None:
        return self.at(key) if key in self.value else None

    def items(self, key: str) -> Iterator[At]:
        for index, value in enumerate(self._field(key, list, "a list")):
            yield At(value, f"{self.path(key)}[{index}]")

    def entries(self, key: str) -> Iterator[tuple[str, At]]:
        for name, value in self._field(key, dict, "an object").items():
            yield name, At(value, f"{self.path(key)}[{name}]")

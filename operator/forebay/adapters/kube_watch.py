"""A watch that does not end: list, follow, and list again whenever the thread is lost, telling then what vanished meanwhile."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from forebay.adapters.cluster import Event, Object, Unavailable
from forebay.adapters.kube_errors import Gone, error_of

log = logging.getLogger(__name__)

_PAUSE_S = 0.1
"""Between two connections, so that a server that hangs up at once is not called in a tight loop."""

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0


@dataclass(frozen=True, slots=True)
class Page:
    """All objects, and the resourceVersion they were read at."""

    items: list[Object]
    version: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a watch gets its objects: all of them at once, and raw events from a resourceVersion on."""

    name: str
    page: Callable[[], Awaitable[Page]]
    follow: Callable[[str], AsyncIterator[Object]]


async def watch(source: Source) -> AsyncIterator[Event]:
    """ADDED for each object, SYNCED, then changes without end.

    The last object that was handed out is kept to report what vanishes; consumers must not change what they are given.

    Raises:
        NotFound, Forbidden: what stands in the way does not go by itself.
    """
    seen: dict[tuple[str, str], Object] = {}
    version, synced, failures = "", False, 0
    while True:
        try:
            if not version:
                page = await source.page()
                for event in _differences(seen, page.items):
                    yield event
                version = page.version
                if not synced:
                    synced = True
                    yield Event("SYNCED", {})
            async for raw in source.follow(version):
                failures = 0
                version, event_or_none = _read(raw, seen)
                if event_or_none:
                    yield event_or_none
            await asyncio.sleep(_PAUSE_S)
        except Gone:
            version = ""
            await asyncio.sleep(_PAUSE_S)
        except Unavailable as error:
            version = ""
            delay = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2**failures)
            failures = min(failures + 1, 10)
            log.warning("watch lost, listing again", extra={"resource": source.name, "error": str(error), "delaySeconds": round(delay, 1)})
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311


def _read(raw: Object, seen: dict[tuple[str, str], Object]) -> tuple[str, Event | None]:
    """(resourceVersion reached, event or None for a bookmark)."""
    kind, obj = raw.get("type"), raw.get("object") or {}
    if kind == "ERROR":
        raise error_of(obj)
    version = str(obj["metadata"]["resourceVersion"])
    if kind == "BOOKMARK":
        return version, None
    key = _key(obj)
    if kind == "DELETED":
        seen.pop(key, None)
        return version, Event("DELETED", obj)
    event = Event("MODIFIED" if key in seen else "ADDED", obj)
    seen[key] = obj
    return version, event


def _differences(seen: dict[tuple[str, str], Object], items: list[Object]) -> Iterator[Event]:
    """What a fresh list says that was not seen; what is gone comes first, so that a name used again is deleted before it is added."""
    now = {_key(obj): obj for obj in items}
    for key in list(seen):
        if key not in now or _meta(now[key], "uid") != _meta(seen[key], "uid"):
            yield Event("DELETED", seen.pop(key))
    for key, obj in now.items():
        before = seen.get(key)
        seen[key] = obj
        if before is None:
            yield Event("ADDED", obj)
        elif _meta(before, "resourceVersion") != _meta(obj, "resourceVersion"):
            yield Event("MODIFIED", obj)


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _meta(obj: Object, name: str) -> Any:
    return obj["metadata"].get(name)

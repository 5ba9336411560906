"""What happens on one machine, told line by line while it runs; and changes of the folder, taken over as they are saved."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from forebay.adapters.cluster import EVENTS, Cluster, ClusterError
from forebay.local.folder import FolderError, read_folder
from forebay.local.up import Local

Say = Callable[[str], None]

_EVENTS_KEPT = 1000
_LOOK_S = 1.0
_SUFFIXES = (".yaml", ".yml", ".json")


async def tell_events(cluster: Cluster, say: Say) -> None:
    """Says every Event, and forgets the oldest: nobody else would."""
    kept: deque[tuple[str, str]] = deque()
    async for event in cluster.watch(EVENTS):
        if event.type != "ADDED":
            continue
        told, regarding = event.object, event.object.get("regarding") or {}
        about = f"{regarding.get('kind', '')} {regarding.get('name', '')}".strip()
        say(f"{time.strftime('%H:%M:%S')}  {about}: {told.get('reason', '')}: {told.get('note', '')}")
        kept.append((told["metadata"]["namespace"], told["metadata"]["name"]))
        if len(kept) > _EVENTS_KEPT:
            await cluster.delete(EVENTS, *kept.popleft())


async def tell_gateways(local: Local, say: Say) -> None:
    """Says where each gateway listens, once it answers."""
    while not local.gateway_is_ready():
        await local.services.changed()
    for name, url in local.gateways().items():
        say(f"{time.strftime('%H:%M:%S')}  gateway {name} answers at {url}/v1")


async def follow_folder(path: Path, local: Local, say: Say) -> None:
    """Applies the folder again whenever a file in it changed; a folder with mistakes changes nothing."""
    seen = _signature(path)
    while True:
        await asyncio.sleep(_LOOK_S)
        if (now := _signature(path)) == seen:
            continue
        seen = now
        try:
            await local.apply(read_folder(path).objects)
            say(f"{time.strftime('%H:%M:%S')}  {path} was read again")
        except (FolderError, ClusterError) as error:
            say(f"{time.strftime('%H:%M:%S')}  {path} has mistakes, so everything stays as it is:\n{error}")


def _signature(path: Path) -> frozenset[tuple[str, int, int]]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.suffix in _SUFFIXES]
    found = set()
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        found.add((str(file), status.st_mtime_ns, status.st_size))
    return frozenset(found)

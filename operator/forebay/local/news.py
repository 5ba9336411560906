"""What happens on one machine, told line by line while it runs; and changes of the folder, taken over as they are saved."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from forebay.adapters.cluster import EVENTS, PODS, Cluster, ClusterError, Kind, Object
from forebay.local.folder import Folder, FolderError, read_folder
from forebay.local.up import Local

Say = Callable[[str], None]

_EVENTS_KEPT = 1000
_LOOK_S = 1.0
_SUFFIXES = (".yaml", ".yml", ".json")
_AGAINST = ("Accepted", "ResolvedRefs")


async def tell_events(cluster: Cluster, say: Say) -> None:
    """Says every Event, and forgets the oldest: nobody else would."""
    kept: deque[tuple[str, str]] = deque()
    async for event in cluster.watch(EVENTS):
        if event.type != "ADDED":
            continue
        told, regarding = event.object, event.object.get("regarding") or {}
        about = f"{regarding.get('kind', '')} {regarding.get('name', '')}".strip()
        say(f"{_at()}  {about}: {told.get('reason', '')}: {told.get('note', '')}")
        kept.append((told["metadata"]["namespace"], told["metadata"]["name"]))
        if len(kept) > _EVENTS_KEPT:
            await cluster.delete(EVENTS, *kept.popleft())


async def tell_conditions(cluster: Cluster, kind: Kind, say: Say) -> None:
    """Says whenever an object becomes ready or is so no more, and what stands against it; Events say the rest."""
    last: dict[tuple[str, str, str], str] = {}
    async for event in cluster.watch(kind):
        metadata = event.object.get("metadata", {})
        for condition in event.object.get("status", {}).get("conditions") or []:
            key = metadata.get("namespace", ""), metadata["name"], condition["type"]
            now = f"{condition['reason']}: {condition['message']}"
            news = condition["type"] == "Ready" or (condition["type"] in _AGAINST and (condition["status"] == "False" or key in last))
            if news and last.get(key) != now:
                last[key] = now
                say(f"{_at()}  {kind.name} {metadata['name']}: {now}")


async def tell_crashes(cluster: Cluster, say: Say) -> None:
    """Says whenever a process of a pod that is to stay has ended: a pool says it at its next look, a gateway never."""
    told: dict[str, dict[str, str]] = {}
    async for event in cluster.watch(PODS):
        metadata = event.object.get("metadata", {})
        if event.type == "DELETED":
            told.pop(metadata["uid"], None)
        if event.type not in ("ADDED", "MODIFIED") or "deletionTimestamp" in metadata:
            continue
        known = told.setdefault(metadata["uid"], {})
        for name, end in _ends(event.object).items():
            if known.get(name) != end["finishedAt"]:
                known[name] = end["finishedAt"]
                say(f"{_at()}  Pod {metadata['name']}: {name} ended with exit code {end['exitCode']}")


def _ends(pod: Object) -> dict[str, Object]:
    """How each container ended the last time; one that did its work and is not run again is left out."""
    status, found = pod.get("status", {}), {}
    for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        now, before = one["state"].get("terminated"), one["lastState"].get("terminated")
        if (end := now or before) and (before or end["exitCode"]):
            found[one["name"]] = end
    return found


async def tell_gateways(local: Local, say: Say) -> None:
    """Says where each gateway listens, once it answers."""
    told: set[str] = set()
    while True:
        for name, url in local.gateways().items():
            if name not in told and local.is_ready(name):
                told.add(name)
                say(f"{_at()}  gateway {name} answers at {url}/v1")
        await local.services.changed()


async def follow_folder(path: Path, first: Folder, local: Local, say: Say) -> None:
    """Applies the folder again whenever a file in it changed; a folder with mistakes changes nothing."""
    seen = _signature(path)
    while True:
        await asyncio.sleep(_LOOK_S)
        if (now := _signature(path)) == seen:
            continue
        seen = now
        try:
            folder = read_folder(path)
            await local.apply(folder.objects)
        except (FolderError, ClusterError) as error:
            say(f"{_at()}  {path} has mistakes, so everything stays as it is:\n{error}")
            continue
        say(f"{_at()}  {path} was read again" + ("" if folder.machine == first.machine else "; slots stay as they were at the start"))


def _at() -> str:
    return time.strftime("%H:%M:%S")


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

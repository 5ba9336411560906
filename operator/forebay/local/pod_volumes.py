"""The volumes of one pod in its private folder, kept as fresh as what they are made of."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forebay.adapters.cluster import ClusterError, Object
from forebay.local.environment import ConfigError, Lookup, Place
from forebay.local.pod_object import PodObject
from forebay.local.volumes import TokenSource, contents, location, write
from forebay.local.waiting import first

log = logging.getLogger(__name__)

_RENEW = 0.8
"""Share of a token's life after which it is replaced, as the kubelet does."""


class PodVolumes:
    """Writes a pod's volumes below `folder`.

    Args:
        delay_s: how long an update waits, so that several changes become one.
    """

    def __init__(self, volumes: list[Mapping[str, Any]], folder: Path, lookup: Lookup, tokens: TokenSource | None, delay_s: float) -> None:
        self._volumes, self._folder, self._lookup, self._delay_s = volumes, folder, lookup, delay_s
        self._source = tokens
        self._tokens: dict[tuple[str, int], tuple[float, str]] = {}
        self.locations = {volume["name"]: location(volume, folder) for volume in volumes}

    async def write(self, pod: Object, place: Place) -> None:
        """Writes what differs. ConfigError where something is missing, ClusterError where no token could be had."""
        for volume in self._volumes:
            files = await contents(volume, pod, place, self._lookup, self._token if self._source else None)
            if files is not None:
                write(self.locations[volume["name"]], files)
            elif "emptyDir" in volume:
                self.locations[volume["name"]].mkdir(parents=True, exist_ok=True)

    async def keep(self, pod: PodObject, place: Place, stale: asyncio.Event) -> None:
        """Writes again whenever `stale` is set or a token is due. What cannot be had now stays as it was."""
        while True:
            due_s = min((due for due, _ in self._tokens.values()), default=None)
            await first(stale.wait(), timeout_s=None if due_s is None else max(0.0, due_s - time.monotonic()))
            await asyncio.sleep(self._delay_s)
            stale.clear()
            try:
                await self.write(pod.latest, place)
            except (ConfigError, ClusterError) as error:
                log.info("a volume stays as it was", extra={"pod": pod.name, "problem": str(error)})

    def clear(self) -> None:
        """Removes everything that was written; what belongs to the machine stays."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _token(self, pod: Object, audience: str, life_s: int) -> str:
        due, token = self._tokens.get((audience, life_s), (0.0, ""))
        if time.monotonic() >= due and self._source is not None:
            token = await self._source(pod, audience, life_s)
            self._tokens[audience, life_s] = (time.monotonic() + life_s * _RENEW, token)
        return token

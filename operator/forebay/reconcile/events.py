"""Kubernetes Events for people: stable reasons, and the same one not again within two minutes."""

from __future__ import annotations

import logging
from collections import OrderedDict

from forebay.adapters import cluster as kinds
from forebay.adapters.clock import Clock, timestamp
from forebay.adapters.cluster import Cluster, ClusterError, Object
from forebay.planning.decision import Note

QUIET_S = 120.0
MAX_REMEMBERED = 10_000
MAX_NOTE = 1024

_log = logging.getLogger(__name__)


class Recorder:
    """Writes Events about objects; failing to is logged and nothing more."""

    def __init__(self, cluster: Cluster, clock: Clock, instance: str) -> None:
        self._cluster, self._clock, self._instance = cluster, clock, instance
        self._seen: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    async def record(self, obj: Object, note: Note) -> None:
        now = self._clock.monotonic()
        key = (obj["metadata"]["uid"], note.reason, note.message)
        if now - self._seen.get(key, -QUIET_S) < QUIET_S:
            return
        self._seen[key] = now
        self._seen.move_to_end(key)
        while len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        meta = obj["metadata"]
        event = {
            "apiVersion": kinds.EVENTS.api_version,
            "kind": kinds.EVENTS.name,
            "metadata": {"generateName": f"{meta['name']}-", "namespace": meta.get("namespace") or "default"},
            "eventTime": timestamp(self._clock.now(), micros=True),
            "reportingController": "forebay.dev/operator",
            "reportingInstance": self._instance[:128],
            "type": note.type,
            "reason": note.reason,
            "action": "Reconcile",
            "note": note.message[:MAX_NOTE],
            "regarding": {
                "apiVersion": obj["apiVersion"],
                "kind": obj["kind"],
                "name": meta["name"],
                "namespace": meta.get("namespace", ""),
                "uid": meta["uid"],
            },
        }
        try:
            await self._cluster.create(event)
        except ClusterError as error:
            _log.warning("an Event could not be written: %s", error, extra={"reason": note.reason})

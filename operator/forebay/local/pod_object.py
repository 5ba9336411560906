"""A pod's object as its kubelet handles it: the last version seen, its status, its removal."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from forebay.adapters.cluster import PODS, Cluster, ClusterError, Conflict, NotFound, Object
from forebay.local.pod_status import OWN_CONDITIONS

log = logging.getLogger(__name__)

RETRY_S, MOST_RETRY_S = 0.2, 30.0
_DEFAULT_GRACE_S = 30.0


class PodObject:
    """Status is written only where it differs from what was written last; conditions of other writers stay."""

    def __init__(self, pod: Object, cluster: Cluster) -> None:
        self.latest = pod
        self.name: str = pod["metadata"]["name"]
        self.namespace: str = pod["metadata"].get("namespace", "default")
        self.uid: str = pod["metadata"]["uid"]
        self._cluster = cluster
        self._written: dict[str, Any] = {}

    @property
    def conditions(self) -> list[dict[str, Any]]:
        """The conditions written last."""
        return list(self._written.get("conditions", []))

    @property
    def is_deleted(self) -> bool:
        return bool(self.latest["metadata"].get("deletionTimestamp"))

    @property
    def grace_s(self) -> float:
        """How long its end may take."""
        own = self.latest["metadata"].get("deletionGracePeriodSeconds", self.latest["spec"].get("terminationGracePeriodSeconds"))
        return _DEFAULT_GRACE_S if own is None else float(own)

    async def write(self, status: dict[str, Any]) -> None:
        """Writes this status; nothing where the pod is gone. ClusterError where the API refuses or cannot be asked."""
        while status != self._written:
            metadata = self.latest["metadata"]
            kept = [one for one in self.latest.get("status", {}).get("conditions") or [] if one["type"] not in OWN_CONDITIONS]
            body = {
                "metadata": {"resourceVersion": metadata.get("resourceVersion")},
                "status": {**status, "conditions": kept + status["conditions"]},
            }
            try:
                await self._cluster.patch(PODS, self.namespace, self.name, body, subresource="status")
                self._written = status
            except Conflict:
                current = await self._cluster.get(PODS, self.namespace, self.name)
                if current is None or current["metadata"]["uid"] != self.uid:
                    return
                self.latest = current
            except NotFound:
                return

    async def remove(self) -> None:
        """Tells the API that nothing of the pod is left; asks until it is told."""
        delay_s = RETRY_S
        while True:
            try:
                await self._cluster.delete(PODS, self.namespace, self.name, uid=self.uid, grace_s=0)
                return
            except (NotFound, Conflict):
                return
            except ClusterError as error:
                log.warning("cannot remove a pod that has ended", extra={"pod": self.name, "problem": str(error)})
                await asyncio.sleep(delay_s)
                delay_s = min(MOST_RETRY_S, delay_s * 2)

"""Why a replica does not answer, in the words of its containers' statuses, or of its Deployment where there is no pod."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forebay.adapters.cluster import Object

_COMING = ("", "ContainerCreating", "PodInitializing")
"""What a container waits for that is about to run; anything else is why it cannot."""
_PLAIN = ("", "Error", "Completed")
"""Why a container ended, where its exit code says as much."""
_LONGEST = 200
"""Characters of a message: a registry's may fill a page."""


def trouble(pod: Object) -> str:
    """Why the pod's containers do not run as they should: one sentence, empty where nothing stands against them.

    The first that is in trouble is named, init containers before the others: what comes after waits for it. A container that ended is
    named also while it is started again, so that the sentence stays the same through the turns of a crash loop.
    """
    return next((f"{status['name']} {why}" for status in _unready(pod.get("status", {})) if (why := _why(status))), "")


def refusal(deployment: Object) -> str:
    """Why the cluster does not let the Deployment make pods, as a quota or an admission policy says it; empty where it does."""
    listed = deployment.get("status", {}).get("conditions") or []
    failed = (c for c in listed if c.get("type") == "ReplicaFailure" and c.get("status") == "True")
    return next((_cut(c.get("message", "") or c.get("reason", "")) for c in failed), "")


def _unready(status: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        yield from (one for one in status.get(kind) or [] if not one.get("ready"))


def _why(status: dict[str, Any]) -> str:
    state = status.get("state") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    if ended and (ended.get("exitCode") or status.get("restartCount")):
        return _ending(ended)
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _COMING:
        return ""
    return f"waits: {reason}" + (f": {_cut(message)}" if message else "")


def _ending(ended: dict[str, Any]) -> str:
    reason = ended.get("reason", "")
    return f"ended with exit code {ended.get('exitCode')}" + ("" if reason in _PLAIN else f" ({reason})") + " and is started again"


def _cut(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

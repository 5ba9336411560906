"""Which pods a Deployment makes and ends next: a pure decision.

While a new template is rolled out there are never more than `desired + surge` pods, and no ready pod is ended that would leave fewer than
`desired - unavailable` ready ones.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forebay.adapters.cluster import Object

HASH_LABEL = "pod-template-hash"
COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a rollout may go: pods above the desired number, and ready pods below it."""

    surge: int
    unavailable: int


@dataclass(frozen=True, slots=True)
class Moves:
    """How many pods of the current template to make, and the names of those to end."""

    create: int
    delete: tuple[str, ...]


def template_hash(template: object) -> str:
    """Ten hexadecimal digits that tell one pod template from another."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def bounds_of(spec: dict[str, Any], desired: int) -> Bounds:
    """A Deployment's surge and unavailability; a quarter each where it says nothing. Surge is rounded up, unavailability down."""
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = math.ceil(_share(rolling.get("maxSurge", "25%"), desired))
    unavailable = math.floor(_share(rolling.get("maxUnavailable", "25%"), desired))
    return Bounds(surge, unavailable if surge or unavailable else 1)


def _share(value: int | str, of: int) -> float:
    return float(value.rstrip("%")) * of / 100 if isinstance(value, str) and value.endswith("%") else float(value)


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def is_over(pod: Object) -> bool:
    """Whether it ended by itself."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_ending(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def is_live(pod: Object) -> bool:
    return not is_ending(pod) and not is_over(pod)


def victims_first(pods: Sequence[Object]) -> list[Object]:
    """In the order in which pods are given up: not on a node yet, not ready, cheapest to delete, youngest."""

    def rank(pod: Object) -> tuple[bool, bool, int]:
        cost = int((pod["metadata"].get("annotations") or {}).get(COST, "0"))
        return bool(pod["spec"].get("nodeName")), is_ready(pod), cost

    youngest_first = sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]), reverse=True)
    return sorted(youngest_first, key=rank)


def rolling_update(desired: int, bounds: Bounds, current_hash: str, pods: Sequence[Object]) -> Moves:
    """The next moves of a rolling update, or of a change of scale."""
    live = [pod for pod in pods if is_live(pod)]
    new = [pod for pod in live if _hash(pod) == current_hash]
    old = [pod for pod in live if _hash(pod) != current_hash]
    surplus = victims_first(new)[: max(0, len(new) - desired)]
    spare = len(live) - len(surplus) - (desired - bounds.unavailable) - sum(not is_ready(pod) for pod in new if pod not in surplus)
    given_up = victims_first(old)[: max(0, spare)]
    create = max(0, min(desired - len(new), desired + bounds.surge - len(live)))
    return Moves(create, _names([*_dead(pods), *surplus, *given_up]))


def recreate(desired: int, current_hash: str, pods: Sequence[Object]) -> Moves:
    """All old pods end before the first new one is made."""
    old = [pod for pod in pods if _hash(pod) != current_hash and not is_over(pod)]
    new = [pod for pod in pods if is_live(pod) and _hash(pod) == current_hash]
    surplus = victims_first(new)[: max(0, len(new) - desired)]
    return Moves(0 if old else max(0, desired - len(new)), _names([*_dead(pods), *surplus, *(pod for pod in old if not is_ending(pod))]))


def _dead(pods: Sequence[Object]) -> list[Object]:
    return [pod for pod in pods if is_over(pod) and not is_ending(pod)]


def _hash(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def _names(pods: Sequence[Object]) -> tuple[str, ...]:
    return tuple(pod["metadata"]["name"] for pod in pods)

"""Whether a disruption budget holds a pod back. There is no controller that counts, so it is counted here."""

from __future__ import annotations

import math
from typing import Any

from forebay.adapters.cluster import POD_DISRUPTION_BUDGETS, PODS, Object
from forebay.adapters.memory.store import Store


def blocking_budget(store: Store, pod: Object) -> Object | None:
    """A budget that does not allow the pod's eviction now, if there is one."""
    if (pod.get("status") or {}).get("phase") in ("Pending", "Succeeded", "Failed") or "deletionTimestamp" in pod["metadata"]:
        return None
    namespace = pod["metadata"]["namespace"]
    pods = [other for key, other in store.items(PODS) if key[0] == namespace]
    budgets = [budget for key, budget in store.items(POD_DISRUPTION_BUDGETS) if key[0] == namespace and _selects(budget, pod)]
    return next((budget for budget in budgets if _allowed(budget, [other for other in pods if _selects(budget, other)]) < 1), None)


def _allowed(budget: Object, pods: list[Object]) -> int:
    spec = budget.get("spec") or {}
    healthy = sum(_is_ready(pod) for pod in pods)
    if "minAvailable" in spec:
        return healthy - _share(spec["minAvailable"], len(pods))
    return _share(spec.get("maxUnavailable", 0), len(pods)) - (len(pods) - healthy)


def _share(value: Any, total: int) -> int:
    return math.ceil(int(value.rstrip("%")) * total / 100) if isinstance(value, str) else int(value)


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _selects(budget: Object, pod: Object) -> bool:
    selector = (budget.get("spec") or {}).get("selector") or {}
    labels = pod["metadata"].get("labels") or {}
    wanted: dict[str, str] = selector.get("matchLabels") or {}
    return all(labels.get(name) == value for name, value in wanted.items()) and all(
        _matches(labels, expression) for expression in selector.get("matchExpressions") or []
    )


def _matches(labels: dict[str, str], expression: dict[str, Any]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[expression["operator"]]

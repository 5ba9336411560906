"""Whether a pod can run on a node: selectors, affinity, taints, extended resources and the number of pods. Pure.

Memory and cores are left out: the machine has what it has. Preferences and spreading are left out too; the first node that fits is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from forebay.adapters.cluster import Object

_HARD = ("NoSchedule", "NoExecute")
_NO_MATCH = "node(s) didn't match Pod's node affinity/selector"


def refusal(pod: Object, node: Object, used: Counter[str]) -> str | None:
    """Why the node cannot take the pod beside what is `used` of its resources; None where it can."""
    if node["spec"].get("unschedulable"):
        return "node(s) were unschedulable"
    if not _selected(pod, node):
        return _NO_MATCH
    tolerations = pod["spec"].get("tolerations") or []
    for taint in node["spec"].get("taints") or []:
        if taint["effect"] in _HARD and not any(_tolerates(toleration, taint) for toleration in tolerations):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    allocatable = node.get("status", {}).get("allocatable") or {}
    for resource, amount in requests(pod).items():
        if used[resource] + amount > int(allocatable.get(resource, 0)):
            return "Too many pods" if resource == "pods" else f"Insufficient {resource}"
    return None


def requests(pod: Object) -> Counter[str]:
    """Extended resources (those with a domain) that a pod takes, and one of `pods`."""
    spec = pod["spec"]
    init = spec.get("initContainers") or []
    sidecars = [container for container in init if container.get("restartPolicy") == "Always"]
    total: Counter[str] = Counter(pods=1)
    for container in (*spec["containers"], *sidecars):
        total += _asked(container)
    for container in init:
        total |= _asked(container)
    return total


def usage(pods: Iterable[Object]) -> Counter[str]:
    """What pods take together."""
    return sum((requests(pod) for pod in pods), Counter())


def place(pending: Sequence[Object], nodes: Sequence[Object], used: Mapping[str, Counter[str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Gives each pod the first node that fits, oldest node first; nodes with devices come last for a pod that asks for none.

    Returns: node by pod UID, and for those that fit nowhere the reason by pod UID, as the scheduler words it.
    """
    taken = {name: Counter(counts) for name, counts in used.items()}
    chosen: dict[str, str] = {}
    refused: dict[str, str] = {}
    for pod in pending:
        reasons: Counter[str] = Counter()
        for node in sorted(nodes, key=lambda node: _wasted(pod, node)):
            name = node["metadata"]["name"]
            reason = refusal(pod, node, taken.setdefault(name, Counter()))
            if reason is None:
                chosen[pod["metadata"]["uid"]] = name
                taken[name] += requests(pod)
                break
            reasons[reason] += 1
        else:
            listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            refused[pod["metadata"]["uid"]] = f"0/{len(nodes)} nodes are available: {listed or 'there is none'}."
    return chosen, refused


def _wasted(pod: Object, node: Object) -> bool:
    allocatable = node.get("status", {}).get("allocatable") or {}
    return any("/" in resource and resource not in requests(pod) for resource in allocatable)


def _asked(container: Mapping[str, Any]) -> Counter[str]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return Counter({name: int(amount) for name, amount in asked.items() if "/" in name})


def _selected(pod: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return not required or any(_matches_term(term, node["metadata"]["name"], labels) for term in required["nodeSelectorTerms"])


def _matches_term(term: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    by_label = all(matches(one, labels) for one in expressions)
    return bool(expressions or fields) and by_label and all(matches(one, {"metadata.name": name}) for one in fields)


def matches(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether labels meet `{key, operator, values}`."""
    value, values = labels.get(requirement["key"]), requirement.get("values") or []
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case "Lt":
            return value is not None and int(value) < int(values[0])
        case other:
            raise ValueError(f"{other} is no operator of a node selector")


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))

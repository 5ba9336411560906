"""Which node takes a pod."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.local.builders import a_node, a_pod, asks_gpus

from forebay.local.fit import matches, place, refusal, requests

SPOT = {"karpenter.sh/capacity-type": "spot", "gen": "5"}
NO_MATCH = "node(s) didn't match Pod's node affinity/selector"


def affinity(*terms: Any) -> dict[str, Any]:
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        (expression("gen", "In", "4", "5"), True),
        (expression("gen", "NotIn", "5"), False),
        (expression("none", "NotIn", "5"), True),
        (expression("gen", "Exists"), True),
        (expression("gen", "DoesNotExist"), False),
        (expression("gen", "Gt", "4"), True),
        (expression("gen", "Lt", "4"), False),
        (expression("none", "Gt", "4"), False),
    ],
)
def test_operators(requirement: Any, met: bool) -> None:
    assert matches(requirement, SPOT) is met


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"nodeSelector": {"karpenter.sh/capacity-type": "spot"}}, None),
        ({"nodeSelector": {"karpenter.sh/capacity-type": "on-demand"}}, NO_MATCH),
        (affinity({"matchExpressions": [expression("gen", "In", "4")]}, {"matchExpressions": [expression("gen", "Exists")]}), None),
        (affinity({"matchExpressions": [expression("gen", "Exists"), expression("x", "Exists")]}), NO_MATCH),
        (affinity({"matchFields": [expression("metadata.name", "In", "n")]}), None),
        (affinity({}), NO_MATCH),
        (asks_gpus(2), None),
        (asks_gpus(3), "Insufficient nvidia.com/gpu"),
        ({"containers": [{"name": "c", "resources": {"limits": {"nvidia.com/mig-3g.40gb": "1"}}}]}, "Insufficient nvidia.com/mig-3g.40gb"),
        ({"containers": [{"name": "c", "resources": {"requests": {"cpu": "900", "memory": "9Ti"}}}]}, None),
    ],
)
def test_selection_and_resources(spec: Any, reason: str | None) -> None:
    node = a_node(labels=SPOT, nvidia_com__gpu="4")
    assert refusal(a_pod(spec=spec), node, Counter({"nvidia.com/gpu": 2})) == reason


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        (None, False),
        ({"key": "karpenter.sh/disrupted", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "karpenter.sh/disrupted", "effect": "NoExecute", "operator": "Exists"}, False),
        ({"key": "karpenter.sh/disrupted", "value": "x"}, False),
    ],
)
def test_taints(toleration: Any, fits: bool) -> None:
    node = a_node(taints=[{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}])
    pod = a_pod(spec={"tolerations": [toleration]} if toleration else {})
    assert (refusal(pod, node, Counter()) is None) is fits


def test_a_full_node_and_one_that_is_cordoned() -> None:
    assert refusal(a_pod(), a_node(pods="1"), Counter(pods=1)) == "Too many pods"
    cordoned = a_node()
    cordoned["spec"]["unschedulable"] = True
    assert refusal(a_pod(), cordoned, Counter()) == "node(s) were unschedulable"


def test_sidecars_add_and_init_containers_overlap() -> None:
    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    spec = {"initContainers": [{"name": "s", "restartPolicy": "Always", **gpu}, {"name": "i", **gpu}], "containers": [{"name": "c", **gpu}]}
    assert requests(a_pod(spec=spec)) == Counter({"nvidia.com/gpu": 2, "pods": 1})


def test_pods_fill_the_oldest_node_and_leave_devices_to_those_that_ask() -> None:
    nodes = [a_node("gpu-1", nvidia_com__gpu="2"), a_node("gpu-2", nvidia_com__gpu="2"), a_node("plain")]
    pods = [a_pod(name, spec=asks_gpus(1)) for name in "abc"] + [a_pod("d"), a_pod("e", spec=asks_gpus(4))]
    chosen, refused = place(pods, nodes, {})
    by_name = {pod["metadata"]["name"]: chosen.get(pod["metadata"]["uid"]) for pod in pods}
    assert by_name == {"a": "gpu-1", "b": "gpu-1", "c": "gpu-2", "d": "plain", "e": None}
    assert list(refused.values()) == ["0/3 nodes are available: 3 Insufficient nvidia.com/gpu."]

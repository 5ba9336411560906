"""The parts of a pod template that Forebay builds on. The CRD takes any template, and the API server refuses a wrong one only later."""

from __future__ import annotations

from typing import Any

_TERMS: dict[str, Any] = {"nodeSelectorTerms": [{"matchExpressions": [{}]}]}
_SHAPE: dict[str, Any] = {
    "metadata": {"labels": {}, "annotations": {}},
    "spec": {
        "containers": [{"resources": {"limits": {}, "requests": {}}, "lifecycle": {}}],
        "initContainers": [{}],
        "volumes": [{}],
        "nodeSelector": {},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _TERMS}},
        "terminationGracePeriodSeconds": 0,
    },
}
_WORDS = {dict: "an object", list: "a list", int: "a whole number"}


def checked(template: dict[str, Any]) -> dict[str, Any]:
    """The template without nulls, which mean absent.

    Raises:
        ValueError: a part has the wrong type, there is no container, or the model server has a preStop hook.
    """
    template = _without_nulls(template)
    _check(template, _SHAPE, "")
    if not template.get("spec", {}).get("containers"):
        raise ValueError("spec.containers needs the model server's container")
    if "preStop" in template["spec"]["containers"][0].get("lifecycle", {}):
        raise ValueError(
            "spec.containers[0].lifecycle.preStop must be left out: a container has one such hook, and Forebay's lets requests under way"
            " finish before the model server is stopped. What must be done last can be done on SIGTERM, or in another container's hook"
        )
    return template


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(child) for name, child in value.items() if child is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _check(value: Any, shape: Any, path: str) -> None:
    if not isinstance(value, type(shape)) or isinstance(value, bool):
        raise ValueError(f"{path} must be {_WORDS[type(shape)]}, not {value!r:.60}")
    if isinstance(shape, dict):
        for name, inner in shape.items():
            if name in value:
                _check(value[name], inner, f"{path}.{name}".lstrip("."))
    elif isinstance(shape, list):
        for index, item in enumerate(value):
            _check(item, shape[0], f"{path}[{index}]")

"""What pools and classes may be called: other objects' names and labels are made of it."""

from __future__ import annotations

from typing import Any

import pytest

from forebay.api.admission import validate
from forebay.api.meta import API_VERSION


def problems(kind: str, name: str) -> list[str]:
    specs: dict[str, dict[str, Any]] = {
        "InferencePool": {"model": {"name": "m"}, "server": {"template": {"spec": {"containers": [{"name": "s"}]}}}, "classes": ["c"]},
        "BatchClass": {"tier": "Deferred"},
    }
    obj = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": specs[kind]}
    return [str(problem) for problem in validate(obj, strict_unknown=True)[1]]


@pytest.mark.parametrize("name", ["llama", "llama-3-1-8b", "a", "p" * 63])
def test_names_that_pools_may_have(name: str) -> None:
    assert problems("InferencePool", name) == []


@pytest.mark.parametrize("name", ["llama-3.1-8b", "7b-chat", "p" * 64], ids=["a dot", "a digit first", "too long"])
def test_names_that_no_service_or_label_can_carry(name: str) -> None:
    assert any("metadata.name" in problem for problem in problems("InferencePool", name))


def test_classes_may_begin_with_a_digit() -> None:
    assert problems("BatchClass", "1st") == []
    assert problems("BatchClass", "a.b") != []

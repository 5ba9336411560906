"""The Lua health checks of docs/argocd, in the Lua version that Argo CD embeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lupa.lua51 import LuaRuntime

FOLDER = Path(__file__).parents[2] / "docs" / "argocd"
KINDS = ("InferencePool", "RoutingPolicy", "BatchClass")
FINAL = {"InferencePool": "Ready", "RoutingPolicy": "Programmed", "BatchClass": "Accepted"}


def health(kind: str, status: dict[str, Any] | None, generation: int = 2) -> tuple[str, str]:
    obj: dict[str, Any] = {"metadata": {"name": "x", "generation": generation}}
    if status is not None:
        obj["status"] = status
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(obj, recursive=True)
    answer = lua.execute((FOLDER / f"forebay.dev_{kind}.lua").read_text())
    return answer["status"], answer["message"]


def observed(generation: int = 2, **conditions: str) -> dict[str, Any]:
    made = [{"type": name, "status": status, "reason": "R", "message": f"{name} is {status}"} for name, status in conditions.items()]
    return {"observedGeneration": generation, "conditions": made}


@pytest.mark.parametrize("kind", KINDS)
def test_object_that_nobody_has_looked_at_is_progressing(kind: str) -> None:
    assert health(kind, None)[0] == "Progressing"
    assert health(kind, {})[0] == "Progressing"


@pytest.mark.parametrize("kind", KINDS)
def test_health_of_an_older_generation_is_not_believed(kind: str) -> None:
    conditions: dict[str, Any] = {"Accepted": "True", FINAL[kind]: "True"}
    assert health(kind, observed(generation=1, **conditions))[0] == "Progressing"


@pytest.mark.parametrize("kind", KINDS)
def test_refused_object_is_degraded_and_says_why(kind: str) -> None:
    assert health(kind, observed(Ready="True", Programmed="True", Accepted="False")) == ("Degraded", "Accepted is False")


@pytest.mark.parametrize("kind", ("InferencePool", "RoutingPolicy"))
def test_reference_to_nothing_is_degraded_and_says_which(kind: str) -> None:
    assert health(kind, observed(Accepted="True", ResolvedRefs="False")) == ("Degraded", "ResolvedRefs is False")


@pytest.mark.parametrize("kind", KINDS)
def test_object_in_effect_is_healthy(kind: str) -> None:
    conditions: dict[str, Any] = {"Accepted": "True", FINAL[kind]: "True"}
    assert health(kind, observed(**conditions)) == ("Healthy", f"{FINAL[kind]} is True")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", ("False", "Unknown"))
def test_accepted_object_not_in_effect_is_progressing(kind: str, status: str) -> None:
    conditions: dict[str, Any] = {"Accepted": "True", FINAL[kind]: status} if kind != "BatchClass" else {"Accepted": "Unknown"}
    assert health(kind, observed(**conditions))[0] == "Progressing"


def test_paused_pool_is_suspended_ready_or_not() -> None:
    for ready in ("True", "False"):
        assert health("InferencePool", observed(Accepted="True", Paused="True", Ready=ready)) == ("Suspended", "Paused is True")
    assert health("InferencePool", observed(Accepted="True", Paused="False", Ready="True"))[0] == "Healthy"
    assert health("InferencePool", observed(Accepted="False", Paused="True"))[0] == "Degraded"

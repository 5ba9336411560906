"""The sidecar's configuration, and what is refused."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.dataplane.sidecar.sidecar_world import a_class, a_document

from forebay.dataplane.config import ConfigError
from forebay.dataplane.sidecar.config import Mode, Objective, parse

DOCS = Path(__file__).parents[3] / "docs" / "data-plane.md"


def test_the_documented_example_is_read() -> None:
    example = re.search(r"## Sidecar configuration.*?```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example is not None
    config = parse(json.loads(example.group(1)))
    assert (config.pool, config.task, config.engine, config.default_class) == ("default/llama-8b", "Chat", "VLLM", "interactive")
    interactive = config.classes["interactive"]
    assert config.max_concurrency == 64 and parse(a_document()).max_concurrency is None
    assert interactive.objectives == {"timeToFirstToken": Objective(0.95, 0.5)}
    assert (interactive.mode, interactive.max_batch_size, interactive.max_depth) == (Mode.ADAPTIVE, 256, 512)


WRONG: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "no classes": (("classes",), [], "classes: there must be 1 to 16"),
    "too many classes": (("classes",), [a_class(f"c{n}") for n in range(17)], "classes: there must be 1 to 16"),
    "a class twice": (("classes",), [a_class(), a_class()], r"classes\[1\].name: 'interactive' is there twice"),
    "unknown default": (("defaultClass",), "other", "defaultClass: 'other' is not in classes"),
    "unknown task": (("task",), "Paint", "task: 'Paint' is none of Chat, Embeddings"),
    "no batch": (("classes", 0, "batching", "maxBatchSize"), 0, r"maxBatchSize: 0 is too small"),
    "an engine that does nothing": (("maxConcurrency",), 0, r"maxConcurrency: 0 is too small"),
    "a mode": (("classes", 0, "batching", "mode"), "Auto", r"mode: 'Auto' is none of"),
    "a text for a number": (("classes", 0, "queue", "maxDepth"), "many", r"classes\[0\].queue.maxDepth: must be a number"),
    "a boolean for a number": (("classes", 0, "priority"), True, r"priority: must be a number"),
    "an objective of nothing": (("classes", 0, "objectives"), {"endToEnd": {}}, r"objectives.endToEnd.quantile: must be a number"),
    "an impossible quantile": (("classes", 0, "objectives"), {"endToEnd": {"quantile": 2, "targetSeconds": 1}}, "quantile: 2 is too large"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refused_and_the_field_is_named(name: str) -> None:
    path, value, why = WRONG[name]
    document: Any = copy.deepcopy(a_document())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ConfigError, match=why):
        parse(document)


def test_what_is_unknown_is_ignored() -> None:
    assert parse(a_document(later="field")).model == "m"

"""The sidecar's configuration: `sidecar.json` (docs/data-plane.md) as frozen values.

What is unknown is ignored, so that an older sidecar can read what a newer operator writes; what is wrong refuses the whole document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forebay.dataplane.config import At, ConfigError


class Mode(StrEnum):
    """How requests of a class reach the engine."""

    ADAPTIVE = "Adaptive"
    FIXED = "Fixed"
    DISABLED = "Disabled"


EMBEDDINGS = "Embeddings"
_TASKS = frozenset(("Chat", EMBEDDINGS))
_MODES = frozenset(mode.value for mode in Mode)
_MAX_CLASSES = 16

TTFT = "timeToFirstToken"
ITL = "interTokenLatency"
E2E = "endToEnd"
OBJECTIVES = (TTFT, ITL, E2E)


@dataclass(frozen=True, slots=True)
class Objective:
    """`quantile` of requests see at most `target_s` seconds."""

    quantile: float
    target_s: float


@dataclass(frozen=True, slots=True)
class ClassConfig:
    """What one class is owed. `objectives` holds those that are set, by their name in the document."""

    name: str
    priority: int
    objectives: Mapping[str, Objective]
    mode: Mode
    max_batch_size: int
    window_s: float
    max_batch_tokens: int
    max_depth: int
    max_wait_s: float


@dataclass(frozen=True, slots=True)
class SidecarConfig:
    """Classes by name, in the order of the document. `max_concurrency` is what the engine works on at once, None where nobody has said."""

    pool: str
    model: str
    task: str
    engine: str
    classes: Mapping[str, ClassConfig]
    default_class: str
    max_concurrency: int | None = None


def parse(document: Mapping[str, Any]) -> SidecarConfig:
    """The configuration in a document whose hash and schema version were checked already.

    Raises:
        ConfigError: a field is missing, of the wrong type or refers to nothing; the message names it.
    """
    top = At(document)
    classes: dict[str, ClassConfig] = {}
    for at in top.items("classes"):
        read = _class(at)
        if read.name in classes:
            raise ConfigError(f"{at.where}.name: {read.name!r} is there twice")
        classes[read.name] = read
    if not 1 <= len(classes) <= _MAX_CLASSES:
        raise ConfigError(f"classes: there must be 1 to {_MAX_CLASSES}, not {len(classes)}")
    default_class = top.text("defaultClass")
    if default_class not in classes:
        raise ConfigError(f"defaultClass: {default_class!r} is not in classes")
    pool = top.at("pool")
    return SidecarConfig(
        pool=f"{pool.text('namespace')}/{pool.text('name')}",
        model=top.text("model"),
        task=top.one_of("task", _TASKS),
        engine=top.text("engine"),
        classes=classes,
        default_class=default_class,
        max_concurrency=int(top.number("maxConcurrency", at_least=1)) if "maxConcurrency" in document else None,
    )


def _class(at: At) -> ClassConfig:
    batching, queue = at.at("batching"), at.at("queue")
    found = {name: at.at("objectives").optional(name) for name in OBJECTIVES}
    return ClassConfig(
        name=at.text("name"),
        priority=int(at.number("priority")),
        objectives={name: _objective(where) for name, where in found.items() if where is not None},
        mode=Mode(batching.one_of("mode", _MODES)),
        max_batch_size=int(batching.number("maxBatchSize", at_least=1)),
        window_s=batching.number("windowSeconds", at_least=0, at_most=60),
        max_batch_tokens=int(batching.number("maxBatchTokens", at_least=1)),
        max_depth=int(queue.number("maxDepth", at_least=0)),
        max_wait_s=queue.number("maxWaitSeconds", at_least=0),
    )


def _objective(at: At) -> Objective:
    return Objective(at.number("quantile", above=0, at_most=1), at.number("targetSeconds", above=0))

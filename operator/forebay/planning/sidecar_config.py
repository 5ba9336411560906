"""The batching sidecar's configuration, compiled from the pool and its classes. Contract: docs/data-plane.md."""

from __future__ import annotations

from typing import Any

from forebay.api.batch_class import BatchClassSpec, Objective
from forebay.api.canonical import sealed
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.snapshot import PoolIdentity

SCHEMA_VERSION = 1


def _objective(objective: Objective) -> dict[str, Any]:
    return {"quantile": objective.quantile, "targetSeconds": objective.target}


def _class(name: str, spec: BatchClassSpec) -> dict[str, Any]:
    objectives = spec.objectives
    listed = (
        (
            ("timeToFirstToken", objectives.time_to_first_token),
            ("interTokenLatency", objectives.inter_token_latency),
            ("endToEnd", objectives.end_to_end),
        )
        if objectives
        else ()
    )
    batching = spec.batching
    return {
        "name": name,
        "tier": spec.tier.value,
        "priority": spec.priority,
        "objectives": {key: _objective(value) for key, value in listed if value is not None},
        "batching": {
            "mode": batching.mode.value,
            "maxBatchSize": batching.max_batch_size,
            "windowSeconds": batching.window,
            "maxBatchTokens": batching.max_batch_tokens,
        },
        "queue": {"maxDepth": spec.queue.max_depth, "maxWaitSeconds": spec.queue.max_wait},
    }


def _concurrency(spec: InferencePoolSpec) -> dict[str, Any]:
    """What any of the pool's engines works on at once, for all of its sidecars have one document."""
    least = min((profile.max_concurrency for profile in spec.profiles), default=None)
    return {} if least is None else {"maxConcurrency": least}


def compile_sidecar(pool: PoolIdentity, spec: InferencePoolSpec, classes: dict[str, BatchClassSpec]) -> dict[str, Any] | None:
    """The sealed document, or None while no class of the pool exists. The first class that exists is the default."""
    known = [name for name in spec.classes if name in classes]
    if not known:
        return None
    return sealed(
        {
            "schemaVersion": SCHEMA_VERSION,
            "pool": {"namespace": pool.namespace, "name": pool.name},
            "model": spec.model.name,
            "task": spec.model.task.value,
            "engine": spec.server.engine.value,
            "classes": [_class(name, classes[name]) for name in known],
            "defaultClass": known[0],
            **_concurrency(spec),
        }
    )

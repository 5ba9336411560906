"""Reconciles one BatchClass: says how many pools serve it."""

from __future__ import annotations

from pydantic import ValidationError

from forebay.adapters import cluster as kinds
from forebay.api.batch_class import BatchClassSpec
from forebay.planning.classes import class_verdicts
from forebay.reconcile.keys import Key
from forebay.reconcile.pool import report_invalid
from forebay.reconcile.report import conditions, write_status
from forebay.reconcile.world import World


async def reconcile_class(world: World, key: Key) -> None:
    """One round; classes change only when something else does, so none is due later."""
    obj = world.view.get(kinds.BATCH_CLASSES, None, key.name)
    if obj is None:
        return
    try:
        BatchClassSpec.model_validate(obj["spec"])
    except ValidationError as error:
        await report_invalid(world, obj, error)
        return
    pools = sum(key.name in p["spec"].get("classes", []) for p in world.view.all(kinds.INFERENCE_POOLS))
    generation = obj["metadata"].get("generation", 0)
    status = {
        "observedGeneration": generation,
        "pools": pools,
        "conditions": conditions(class_verdicts(pools), obj, generation, world.clock.now()),
    }
    await write_status(world, obj, status)

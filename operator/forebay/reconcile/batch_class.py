"""Reconciles one BatchClass: says how many pools serve it."""

from __future__ import annotations

from forebay.adapters import cluster as kinds
from forebay.planning.classes import class_verdicts
from forebay.reconcile.keys import Key
from forebay.reconcile.report import conditions, write_status
from forebay.reconcile.world import World


async def reconcile_class(world: World, key: Key) -> None:
    """One round; classes change only when something else does, so none is due later."""
    obj = world.view.get(kinds.BATCH_CLASSES, None, key.name)
    if obj is None:
        return
    pools = sum(key.name in p["spec"].get("classes", []) for p in world.view.all(kinds.INFERENCE_POOLS))
    generation = obj["metadata"].get("generation", 0)
    status = {
        "observedGeneration": generation,
        "pools": pools,
        "conditions": conditions(class_verdicts(pools), obj, generation, world.clock.now()),
    }
    await write_status(world, obj, status)

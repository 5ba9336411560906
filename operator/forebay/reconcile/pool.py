"""Reconciles one InferencePool: observe → plan → apply → report."""

from __future__ import annotations

import asyncio

from pydantic import ValidationError

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object
from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.decision import Note, Plan, Verdict
from forebay.planning.planner import plan
from forebay.planning.shares import Ask
from forebay.planning.snapshot import Snapshot
from forebay.planning.variants import qualified
from forebay.reconcile.apply import apply, due, remember
from forebay.reconcile.keys import Key
from forebay.reconcile.observe import pool_snapshot
from forebay.reconcile.report import conditions, memory_writes, report_pool, write_status
from forebay.reconcile.view import Place
from forebay.reconcile.world import World, urgent

_SOON_S = 1.0
"""Time until a pool is looked at again that waits for another's first decision."""


async def reconcile_pool(world: World, key: Key) -> float | None:
    """One round; returns after how many seconds the next one is due, or None when the pool is gone."""
    obj = world.view.get(kinds.INFERENCE_POOLS, key.namespace, key.name)
    if obj is None or "deletionTimestamp" in obj["metadata"]:
        world.pools.pop((key.namespace, key.name), None)
        world.metrics.forget(key.namespace, key.name)
        world.history.forget(key.namespace, key.name)
        world.ledger.leave((key.namespace, key.name))
        return None
    try:
        spec = InferencePoolSpec.model_validate(obj["spec"])
    except ValidationError as error:
        await report_invalid(world, obj, error)
        return None
    snapshot = await pool_snapshot(world, key, obj, spec)
    shares = world.ledger.binds(key.namespace)
    if shares:
        snapshot, decision = _share_out(world, key, snapshot)
    else:
        # A long past takes a second of arithmetic, which is not to stop everybody else.
        decision = await asyncio.to_thread(plan, snapshot) if snapshot.history else plan(snapshot)
    record = world.pools[key.namespace, key.name]
    now = world.clock.monotonic()
    saving = memory_writes(record, snapshot, decision, now)
    actions = due(decision.actions, record.applied, world.view, now)
    # Remembered before it is done: whoever takes over in between goes on with it, instead of undoing it.
    outcome = await apply((*saving, *actions), world.cluster)
    remember(outcome, record.applied, now)
    await report_pool(world, key, obj, snapshot, decision, outcome)
    outcome.raise_error()
    if saving and saving[-1] in outcome.done:
        record.saved, record.saved_at = urgent(decision.memory), now
    return _SOON_S if shares and world.ledger.waits(key.namespace, _places(world)) else decision.requeue_after_s


def _places(world: World) -> set[Place]:
    """Every pool that there is, and each that is gone, or going, of which something is there."""
    every = {(o["metadata"]["namespace"], o["metadata"]["name"]): o["metadata"] for o in world.view.all(kinds.INFERENCE_POOLS)}
    stay = {place for place, meta in every.items() if "deletionTimestamp" not in meta}
    return stay | {place for place in (every.keys() | world.ledger.asks.keys()) - stay if _left(world, place)}


def _left(world: World, place: Place) -> bool:
    """Whether some replica of a pool, or some node of its own, is there."""
    own = qualified(*place)
    return bool(
        world.view.of_pool(kinds.PODS, *place) or world.view.of_pool(kinds.NODES, "", own) or world.view.of_pool(kinds.NODE_CLAIMS, "", own)
    )


def _share_out(world: World, key: Key, snapshot: Snapshot) -> tuple[Snapshot, Plan]:
    """The decision within the pool's shares, written down before any other is made: nothing is awaited in here.

    What a pool asks for is known only once it was planned. Where that is news and its share is too small for it, the share was one of what
    it asked for before, and it is planned once more.
    """
    place, pools, ledger = (key.namespace, key.name), _places(world), world.ledger
    for gone in ledger.asks.keys() - pools:
        ledger.forget(gone)
    for _ in range(2):
        before = ledger.asks.get(place)
        shared = snapshot.model_copy(update={"shares": ledger.shares(snapshot, pools, world.clock.monotonic())})
        decision = plan(shared)
        ledger.record(place, decision.ask)
        if before is not None and (_wants(before) == _wants(decision.ask) or not _bound(decision)):
            break
    return shared, decision


def _wants(ask: Ask | None) -> int:
    return ask.wanted.replicas if ask is not None else 0


def _bound(decision: Plan) -> bool:
    """Whether a share is less than what the pool wants."""
    return any(v.reason == Reason.SHARED_LIMIT for v in decision.verdicts)


async def report_invalid(world: World, obj: Object, error: ValidationError) -> None:
    """A spec that an API server with other CRDs let in: nothing is done, and the object says why."""
    first = error.errors()[0]
    where, what = ".".join(("spec", *map(str, first["loc"]))), first["msg"].removeprefix("Value error, ")
    message = f"{where}: {what}. Correct it, or install the CRDs of this version"
    verdicts = tuple(Verdict(type=t, status="False", reason=Reason.INVALID_SPEC, message=message) for t in (Type.ACCEPTED, Type.READY))
    generation = obj["metadata"].get("generation", 0)
    status = {**obj.get("status", {}), "observedGeneration": generation}
    status["conditions"] = conditions(verdicts, obj, generation, world.clock.now())
    await write_status(world, obj, status)
    await world.recorder.record(obj, Note(type="Warning", reason=Reason.INVALID_SPEC, message=message))

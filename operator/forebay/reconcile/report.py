"""Says what was decided: status by one writer, Events, the decision record, and the memory that outlives a restart."""

from __future__ import annotations

import datetime
import logging
from typing import Any

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import NotFound, Object
from forebay.api.canonical import short_hash
from forebay.planning.decision import Plan, Verdict
from forebay.planning.snapshot import Snapshot
from forebay.planning.workload import metadata
from forebay.reconcile.keys import Key
from forebay.reconcile.observe import MEMORY_KEY, memory_name
from forebay.reconcile.world import PoolRecord, World

STATUS_MANAGER = "forebay-status"
MEMORY_EVERY_S = 60.0
RECORD_EVERY_S = 300.0

_log = logging.getLogger(__name__)


def timestamp(epoch_s: float) -> str:
    return datetime.datetime.fromtimestamp(epoch_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(verdicts: tuple[Verdict, ...], before: Object, generation: int, now: float) -> list[dict[str, Any]]:
    """Verdicts as conditions; the transition time stays while the status does."""
    old = {c["type"]: c for c in before.get("status", {}).get("conditions", [])}
    result = []
    for verdict in verdicts:
        same = old.get(verdict.type, {}).get("status") == verdict.status
        since = old[verdict.type]["lastTransitionTime"] if same else timestamp(now)
        result.append(
            {
                "type": verdict.type.value,
                "status": verdict.status,
                "observedGeneration": generation,
                "lastTransitionTime": since,
                "reason": verdict.reason.value,
                "message": verdict.message,
            }
        )
    return result


async def write_status(world: World, obj: Object, status: dict[str, Any]) -> None:
    """Applies a whole status, if it differs from what is there."""
    if obj.get("status") == status:
        return
    meta = {k: v for k, v in obj["metadata"].items() if k in ("name", "namespace")}
    body = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": meta, "status": status}
    try:
        await world.cluster.apply(body, manager=STATUS_MANAGER, subresource="status", force=True)
    except NotFound:
        _log.info("%s %s was deleted meanwhile", obj["kind"], meta["name"])


async def report_pool(world: World, key: Key, obj: Object, snapshot: Snapshot, plan: Plan) -> None:
    """Record, memory, status and Events of one decision, in this order: what was decided is written down before it is shown."""
    record = world.pools[key.namespace, key.name]
    _record(world, key, record, snapshot, plan)
    await _save(world, record, snapshot, plan)
    status = plan.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    status["plan"] = {"id": record.decided, "summary": _summary(plan), "decidedAt": record.decided_at, "why": [w[:1024] for w in plan.why]}
    status["conditions"] = conditions(plan.verdicts, obj, snapshot.pool.generation, snapshot.now)
    await write_status(world, obj, status)
    for note in plan.notes:
        await world.recorder.record(obj, note)


def _summary(plan: Plan) -> str:
    desired = plan.status.desired
    prefix = "would have" if plan.dry else "has"
    return f"{prefix} {desired.on_demand} on-demand + {desired.spot} spot"


def _decision(plan: Plan) -> str:
    """What makes two decisions the same: the actions and verdicts, not the figures that led to them."""
    return short_hash(
        [
            plan.status.desired.model_dump(),
            [a.model_dump(mode="json") for a in plan.actions if a.verb != "apply" or a.ref.kind == "Deployment"],
            [(v.type, v.status, v.reason) for v in plan.verdicts],
        ]
    )


def _record(world: World, key: Key, record: PoolRecord, snapshot: Snapshot, plan: Plan) -> None:
    """One JSON line per decision, and one every few minutes while nothing changes."""
    decision = _decision(plan)
    if decision == record.decided and snapshot.now - record.recorded_at < RECORD_EVERY_S:
        return
    if decision != record.decided:
        record.decided, record.decided_at = decision, timestamp(snapshot.now)
    record.recorded_at = snapshot.now
    world.decisions.write(
        {
            "time": timestamp(snapshot.now),
            "pool": f"{key.namespace}/{key.name}",
            "id": decision,
            "snapshot": snapshot.model_dump(mode="json", by_alias=True),
            "plan": plan.model_dump(mode="json", by_alias=True),
        }
    )


async def _save(world: World, record: PoolRecord, snapshot: Snapshot, plan: Plan) -> None:
    """Keeps the memory in the pool's namespace: at once when a decision rests on it, else now and then. A dry run touches nothing."""
    record.memory = plan.memory
    if plan.dry:
        return
    urgent = any(
        getattr(plan.memory, name) != getattr(record.saved, name)
        for name in ("target", "spot_hold_until", "partitioning", "observed_since")
    )
    if not urgent and snapshot.now - record.saved_at < MEMORY_EVERY_S:
        return
    body = {
        "apiVersion": kinds.CONFIG_MAPS.api_version,
        "kind": kinds.CONFIG_MAPS.name,
        "metadata": metadata(snapshot.pool, memory_name(snapshot.pool.name)),
        "data": {MEMORY_KEY: plan.memory.model_dump_json(by_alias=True)},
    }
    await world.cluster.apply(body, manager=kinds.FIELD_MANAGER)
    record.saved, record.saved_at = plan.memory, snapshot.now

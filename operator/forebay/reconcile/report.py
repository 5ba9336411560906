"""Says what was decided: status by one writer, Events, the decision record, and the memory that outlives a restart."""

from __future__ import annotations

import logging
from typing import Any

from forebay.adapters import cluster as kinds
from forebay.adapters.clock import timestamp
from forebay.adapters.cluster import NotFound, Object
from forebay.api.canonical import short_hash
from forebay.api.conditions import Reason, Type
from forebay.planning import decision
from forebay.planning.decision import Action, Note, Plan, Verdict
from forebay.planning.snapshot import Snapshot
from forebay.planning.status import conflict_verdict
from forebay.planning.workload import metadata
from forebay.reconcile.apply import Outcome
from forebay.reconcile.keys import Key
from forebay.reconcile.observe import MEMORY_KEY, memory_name
from forebay.reconcile.world import PoolRecord, World, urgent

STATUS_MANAGER = "forebay-status"
MEMORY_EVERY_S = 60.0
RECORD_EVERY_S = 300.0

_log = logging.getLogger(__name__)


def conditions(verdicts: tuple[Verdict, ...], before: Object, generation: int, now: float) -> list[dict[str, Any]]:
    """Verdicts as conditions; the transition time stays while the status does."""
    old = {c["type"]: c for c in before.get("status", {}).get("conditions", [])}
    result = []
    for verdict in verdicts:
        same = old.get(verdict.type, {}).get("status") == verdict.status
        since = old[verdict.type]["lastTransitionTime"] if same else timestamp(int(now))
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


def verdicts_after(verdicts: tuple[Verdict, ...], outcome: Outcome, stand_or_fall: tuple[Type, ...]) -> tuple[Verdict, ...]:
    """The verdicts with what became of the writes. A write that was refused for good fails those conditions that rest on it."""
    refused = {t: Verdict(type=t, status="False", reason=Reason.APPLY_FAILED, message=outcome.refusal) for t in stand_or_fall}
    shown = (refused.get(v.type, v) for v in verdicts) if outcome.refusal else verdicts
    return (*shown, conflict_verdict(outcome.conflicts))


def refusal_notes(outcome: Outcome) -> tuple[Note, ...]:
    return (Note(type="Warning", reason=Reason.APPLY_FAILED, message=outcome.refusal),) if outcome.refusal else ()


async def report_pool(world: World, key: Key, obj: Object, snapshot: Snapshot, plan: Plan, outcome: Outcome) -> None:
    """Record, status and Events of one decision, in this order: what was decided is written down before it is shown."""
    record = world.pools[key.namespace, key.name]
    record.memory = plan.memory
    _record(world, key, record, snapshot, plan)
    status = plan.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    status["plan"] = {"id": record.decided, "summary": _summary(plan), "decidedAt": record.decided_at, "why": [w[:1024] for w in plan.why]}
    verdicts = verdicts_after(plan.verdicts, outcome, (Type.ACCEPTED, Type.READY))
    status["conditions"] = conditions(verdicts, obj, snapshot.pool.generation, snapshot.now)
    now = world.clock.monotonic()
    if now - record.shown_at >= world.settings.interval_s or not _only_figures(obj.get("status", {}), status):
        record.shown_at = now
        await write_status(world, obj, status)
    for note in (*plan.notes, *refusal_notes(outcome)):
        await world.recorder.record(obj, note)


def _only_figures(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether two statuses differ in nothing but what was measured, and the sentences that name it."""
    return _without_figures(before) == _without_figures(after)


def _without_figures(status: dict[str, Any]) -> dict[str, Any]:
    calm = {k: v for k, v in status.items() if k not in ("demand", "objective")}
    calm["plan"] = {k: v for k, v in status.get("plan", {}).items() if k != "why"}
    calm["conditions"] = [{k: v for k, v in c.items() if k != "message"} for c in status.get("conditions", [])]
    return calm


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
    decided = _decision(plan)
    now = world.clock.monotonic()
    if decided == record.decided and now - record.recorded_at < RECORD_EVERY_S:
        return
    if decided != record.decided:
        record.decided, record.decided_at = decided, timestamp(int(snapshot.now))
    record.recorded_at = now
    world.decisions.write(
        {
            "time": timestamp(int(snapshot.now)),
            "pool": f"{key.namespace}/{key.name}",
            "id": decided,
            "snapshot": snapshot.model_dump(mode="json", by_alias=True),
            "plan": plan.model_dump(mode="json", by_alias=True),
        }
    )


def memory_writes(record: PoolRecord, snapshot: Snapshot, plan: Plan, now: float) -> tuple[Action, ...]:
    """Keeps the memory in the pool's namespace: at once when a decision rests on it, else now and then. A dry run touches nothing."""
    if plan.dry or (urgent(plan.memory) == record.saved and now - record.saved_at < MEMORY_EVERY_S):
        return ()
    body = {
        "apiVersion": kinds.CONFIG_MAPS.api_version,
        "kind": kinds.CONFIG_MAPS.name,
        "metadata": metadata(snapshot.pool, memory_name(snapshot.pool.name)),
        "data": {MEMORY_KEY: plan.memory.model_dump_json(by_alias=True)},
    }
    return (decision.apply(body, "what the next decisions rest on"),)

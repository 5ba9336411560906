"""The Events of a decision."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from forebay.api.conditions import TOO_FEW, Reason, Type
from forebay.api.inference_pool import Mode
from forebay.planning.backfill import notes as history_notes
from forebay.planning.decision import Note, Verdict
from forebay.planning.facts import Facts
from forebay.planning.interruption import doomed
from forebay.planning.snapshot import SPOT, Snapshot
from forebay.planning.supply import named


def notes(facts: Facts, verdicts: Collection[Verdict]) -> tuple[Note, ...]:
    """What changed since the last decision, and what a person should look at."""
    snapshot, found = facts.snapshot, list[Note]()
    told = {verdict.type: verdict for verdict in verdicts}
    prefix = "Recommended" if snapshot.spec.mode == Mode.RECOMMEND else "Scaled"
    before, after = _before(snapshot), facts.placed.replicas
    if told[Type.RESOLVED_REFS].status == "False":
        found.append(_warning(told[Type.RESOLVED_REFS]))
    if after != before and not snapshot.spec.scaling.paused:
        direction = "Up" if after > before else "Down"
        by_load = snapshot.fresh and before and after and facts.held.replicas >= facts.sized.replicas
        why = _reason(facts.sized.why, facts.sized.replicas) if by_load else _reason(facts.held.why, facts.held.replicas)
        found.append(Note(reason=f"{prefix}{direction}", message=f"{before} → {after} replicas: {why}"))
    for reason, names in _interrupted(snapshot).items():
        found.append(Note(type="Warning", reason="Interrupted", message=f"{reason}: replaced are {named(names)}"))
    if snapshot.memory.spot_hold_until <= snapshot.now < facts.placed.spot_hold_until:
        pending = sum(p.capacity_type == SPOT and not p.node and not p.deleting for p in snapshot.pods)
        found.append(Note(type="Warning", reason="SpotUnavailable", message=f"{pending} spot replicas did not come: on-demand stands in"))
    for variant, known in snapshot.memory.unavailable.items():
        if known.since == snapshot.now:
            found.append(Note(type="Warning", reason=Reason.VARIANT_UNAVAILABLE, message=f"{variant}: {known.reason}"))
    if facts.sized.feasible.status == "False":
        found.append(_warning(facts.sized.feasible))
    if facts.placed.verdict.reason in TOO_FEW:
        found.append(_warning(facts.placed.verdict))
    found += history_notes(snapshot)
    if told[Type.FORECAST_CALIBRATED].status == "False":
        found.append(_warning(told[Type.FORECAST_CALIBRATED]))
    if facts.partitioned is not None and facts.partitioned.reason in (Reason.PARTITIONING_FAILED, Reason.PARTITIONING_STUCK):
        found.append(_warning(facts.partitioned))
    return tuple(found)


def _reason(why: Sequence[str], replicas: int) -> str:
    """The sentence that leads to the count: what names it, or speaks of replicas at all, or the first."""
    naming = (w for words in (f" {replicas} replicas", "replicas", "") for w in why if words in w)
    return next(naming, "")


def _before(snapshot: Snapshot) -> int:
    """The last count that was told. That a pool should sleep was, though in mode Recommend its replicas are still there."""
    memory = snapshot.memory
    told = memory.placed or (snapshot.spec.mode == Mode.RECOMMEND and memory.rest is not None)
    return memory.placed if told else sum(d.replicas for d in snapshot.deployments)


def _warning(verdict: Verdict) -> Note:
    return Note(type="Warning", reason=verdict.reason, message=verdict.message)


def _interrupted(snapshot: Snapshot) -> dict[str, list[str]]:
    """Replicas that are found to be going now, by reason. One that was unrouted already was found before."""
    routed = {p.name for p in snapshot.pods if p.routed and not p.deleting}
    found: dict[str, list[str]] = {}
    for name, why in sorted(doomed(snapshot).items()):
        if name in routed:
            found.setdefault(why, []).append(name)
    return found

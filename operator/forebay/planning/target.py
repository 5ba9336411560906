"""How many replicas a pool needs, on which profile, and what that decision rests on.

Up at once, down only after less has been enough for a whole window that covers a replica's measured start time, and never on stale
measurements: what was last decided is held then.
"""

from __future__ import annotations

from dataclasses import dataclass

from forebay.api.batch_class import BatchClassSpec, Objective
from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import Accelerator, Profile, Task
from forebay.api.meta import format_duration
from forebay.planning.decision import Verdict
from forebay.planning.demand import ClassLoad, lead_time_s
from forebay.planning.queueing import Load, Metric, Promise
from forebay.planning.sizing import Demanded, Infeasible, replicas_for
from forebay.planning.snapshot import Memory, Recommendation, Snapshot
from forebay.planning.variants import engine_profile, preferred_profile

MAX_RECOMMENDATIONS = 128


@dataclass(frozen=True, slots=True)
class Sized:
    """The replica count that the load asks for, before any bound but the pool's own, and its profile."""

    replicas: int
    profile: tuple[Accelerator, Profile] | None
    feasible: Verdict
    why: tuple[str, ...]


def promises(spec: BatchClassSpec) -> tuple[Promise, ...]:
    """A class's objectives as the queueing model takes them."""
    if spec.objectives is None:
        return ()
    listed: tuple[tuple[Metric, Objective | None], ...] = (
        ("timeToFirstToken", spec.objectives.time_to_first_token),
        ("interTokenLatency", spec.objectives.inter_token_latency),
        ("endToEnd", spec.objectives.end_to_end),
    )
    return tuple(Promise(metric=metric, quantile=o.quantile, target_s=o.target) for metric, o in listed if o is not None)


def demanded(snapshot: Snapshot, loads: list[ClassLoad]) -> tuple[Demanded, ...]:
    batches = snapshot.spec.model.task == Task.EMBEDDINGS
    return tuple(
        Demanded(
            load=item.load,
            promises=promises(snapshot.classes[item.name]),
            max_wait_s=snapshot.classes[item.name].queue.max_wait,
            batch_window_s=snapshot.classes[item.name].batching.window if batches else 0.0,
        )
        for item in loads
    )


def _verdict(ok: bool, reason: Reason, message: str) -> Verdict:
    return Verdict(type=Type.SLO_FEASIBLE, status="True" if ok else "False", reason=reason, message=message)


def size(snapshot: Snapshot, loads: list[ClassLoad]) -> Sized:
    """Replicas that hold every class's tail objective, on the first listed profile that can."""
    spec = snapshot.spec
    floor, ceiling = spec.scaling.min_replicas, spec.scaling.max_replicas
    choices = preferred_profile(spec)
    if not choices:
        message = "the pool has no profile, so it stays at minReplicas: add profiles, one per accelerator"
        return Sized(floor, None, Verdict(type=Type.SLO_FEASIBLE, status="Unknown", reason=Reason.NO_PROFILE, message=message), (message,))
    wanted = demanded(snapshot, loads)
    misses: list[tuple[Infeasible, Accelerator, Profile]] = []
    for accelerator, profile in choices:
        try:
            sizing = replicas_for(wanted, engine_profile(spec, profile), max_replicas=ceiling)
        except Infeasible as miss:
            misses.append((miss, accelerator, profile))
            continue
        replicas = min(max(sizing.replicas, floor), ceiling)
        name = f"{accelerator.name}/{profile.partition}"
        why = f"{name}: {sizing.replicas} replicas by {sizing.binding}, one holds {sizing.per_replica_rps:.3g} requests/s"
        message = f"every objective can be met on {name}"
        return Sized(replicas, (accelerator, profile), _verdict(True, Reason.FEASIBLE, message), (*(x.why for x in loads), why))
    return _infeasible(snapshot, loads, misses)


def _infeasible(snapshot: Snapshot, loads: list[ClassLoad], misses: list[tuple[Infeasible, Accelerator, Profile]]) -> Sized:
    """Nothing can meet the objectives: the pool is sized for throughput on its first profile, and says what would be reachable."""
    spec = snapshot.spec
    miss, accelerator, profile = min(misses, key=lambda m: m[0].best_target_s / m[0].target_s)
    best = format_duration(float(f"{miss.best_target_s:.3g}"))
    message = (
        f"{miss.metric} {format_duration(miss.target_s)} cannot be met:"
        f" one idle {accelerator.name}/{profile.partition} replica needs {best}."
        f" Raise the target to {best}, shorten requests, or add a faster accelerator."
    )
    plain = tuple(
        Demanded(load=d.load, promises=(), max_wait_s=d.max_wait_s, batch_window_s=d.batch_window_s) for d in demanded(snapshot, loads)
    )
    first = preferred_profile(spec)[0]
    sizing = replicas_for(plain, engine_profile(spec, first[1]), max_replicas=spec.scaling.max_replicas)
    replicas = min(max(sizing.replicas, spec.scaling.min_replicas), spec.scaling.max_replicas)
    why = (*(x.why for x in loads), message, f"sized for throughput instead: {replicas} replicas")
    return Sized(replicas, first, _verdict(False, Reason.OBJECTIVE_BELOW_SERVICE_TIME, message), why)


def unloaded(snapshot: Snapshot, shapes_known: list[ClassLoad]) -> list[ClassLoad]:
    """The same classes with no load: what feasibility is checked with while nothing is asked."""
    return [ClassLoad(x.name, Load(0.0, x.load.input_tokens, x.load.output_tokens), x.why) for x in shapes_known]


@dataclass(frozen=True, slots=True)
class Held:
    """The replica count to have now, and the memory that leads to it."""

    replicas: int
    memory: Memory
    why: tuple[str, ...]


def _recommended(memory: Memory, now: float, replicas: int, window_s: float) -> tuple[Recommendation, ...]:
    """Past recommendations that still bind: none is older than the window, none is outdone by a younger one."""
    kept = [r for r in memory.recommendations if now - r.at <= window_s and r.replicas > replicas]
    return (*kept, Recommendation(at=now, replicas=replicas))[-MAX_RECOMMENDATIONS:]


def hold(snapshot: Snapshot, wanted: int, current: int) -> Held:
    """Up at once; down to the most that was wanted in the window, once the window is full."""
    memory, now = snapshot.memory, snapshot.now
    floor, ceiling = snapshot.spec.scaling.min_replicas, snapshot.spec.scaling.max_replicas
    if not snapshot.fresh:
        kept = min(max(current, floor), ceiling)
        why = "nothing fresh was measured: the pool is held as it is" if current else "nothing was measured yet: minReplicas"
        return Held(kept, memory.model_copy(update={"observed_since": None, "recommendations": ()}), (why,))
    window_s = max(snapshot.spec.scaling.scale_down.stabilization, lead_time_s(memory) if memory.start_times_s else 0.0)
    since = memory.observed_since if memory.observed_since is not None else now
    recommendations = _recommended(memory, now, wanted, window_s)
    most = max(r.replicas for r in recommendations)
    full = now - since >= window_s
    replicas = wanted if wanted >= current else min(current, most) if full else current
    replicas = min(max(replicas, floor), ceiling)
    notes: tuple[str, ...] = ()
    if wanted < replicas:
        notes = (f"{replicas} held: fewer ({wanted}) must be enough for {format_duration(window_s)} before any is given back",)
    return Held(replicas, memory.model_copy(update={"observed_since": since, "recommendations": recommendations}), notes)

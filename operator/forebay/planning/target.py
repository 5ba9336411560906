"""How many replicas a pool's load asks for, on which profile, and what that rests on.

The first listed profile that can hold every objective is taken. A pool that had to move to a later one moves back only after the earlier
one would have done for a whole window: request shapes wander, and loaded models are dear to move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from forebay.api.batch_class import BatchClassSpec, Objective
from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import Accelerator, Profile, Task
from forebay.api.meta import format_duration
from forebay.planning.decision import Verdict
from forebay.planning.demand import ClassLoad
from forebay.planning.hold import window_s
from forebay.planning.queueing import Metric, Promise
from forebay.planning.sizing import Demanded, Infeasible, Sizing, replicas_for
from forebay.planning.snapshot import Snapshot
from forebay.planning.supply import gone
from forebay.planning.variants import engine_profile, preferred_profile

Choice = tuple[Accelerator, Profile]


@dataclass(frozen=True, slots=True)
class Sized:
    """The replica count that the load asks for, within the pool's own bounds, and its profile.

    `better_since` is when an earlier profile than this began to do, where one does.
    """

    replicas: int
    profile: Choice | None
    feasible: Verdict
    why: tuple[str, ...]
    better_since: float | None = None


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


def demanded(snapshot: Snapshot, loads: list[ClassLoad], *, promised: bool = True) -> tuple[Demanded, ...]:
    """The classes' loads with what is promised to them, or without."""
    batches = snapshot.spec.model.task == Task.EMBEDDINGS
    return tuple(
        Demanded(
            load=item.load,
            promises=promises(snapshot.classes[item.name]) if promised else (),
            max_wait_s=snapshot.classes[item.name].queue.max_wait,
            batch_window_s=snapshot.classes[item.name].batching.window if batches else 0.0,
            name=item.name,
        )
        for item in loads
    )


def unloaded(loads: list[ClassLoad]) -> list[ClassLoad]:
    """The same classes with no load: what feasibility is checked with while nothing is measured."""
    return [ClassLoad(x.name, replace(x.load, requests_per_s=0.0), x.why) for x in loads]


def choice_name(choice: Choice) -> str:
    return f"{choice[0].name}/{choice[1].partition}"


def size(snapshot: Snapshot, loads: list[ClassLoad]) -> Sized:
    """Replicas that hold every class's tail objective."""
    spec = snapshot.spec
    choices = preferred_profile(spec)
    if not choices:
        message = "the pool has no profile, so it stays at minReplicas: add profiles, one per accelerator"
        return Sized(max(1, spec.scaling.min_replicas), None, _verdict("Unknown", Reason.NO_PROFILE, message), (message,))
    wanted = demanded(snapshot, loads)
    used = next((c for c in choices if choice_name(c) == _in_use(snapshot)), None)
    misses: list[tuple[Infeasible, Choice]] = []
    without = gone(snapshot)
    used = None if used in without else used
    # What cannot be had comes last.
    choices.sort(key=without.__contains__)
    for best in choices:
        try:
            sizing = _sizing(snapshot, wanted, best)
        except Infeasible as miss:
            misses.append((miss, best))
            continue
        later = used is not None and choices.index(used) > choices.index(best)
        return _unless_too_soon(snapshot, loads, best, sizing, used if later else None)
    return _infeasible(snapshot, loads, misses, used)


def _in_use(snapshot: Snapshot) -> str:
    """The profile of the last decision; where that is not remembered, of most replicas."""
    most = max(snapshot.deployments, key=lambda d: d.replicas, default=None)
    return snapshot.memory.profile or (f"{most.accelerator}/{most.partition}" if most else "")


def _sizing(snapshot: Snapshot, wanted: tuple[Demanded, ...], choice: Choice) -> Sizing:
    spec, router, recent = snapshot.spec, snapshot.memory.router, snapshot.memory.recommendations
    efficiency, start = round(router.value, 1) if router else 1.0, recent[-1].replicas if recent else 0
    engine = engine_profile(spec, choice[1])
    return replicas_for(wanted, engine, efficiency=efficiency, max_replicas=spec.scaling.max_replicas, start=start)


def _unless_too_soon(snapshot: Snapshot, loads: list[ClassLoad], best: Choice, sizing: Sizing, used: Choice | None) -> Sized:
    """The best profile; or for a while still the one in use, where the pool has moved to a less preferred one that still does."""
    if used is None:
        return _sized(snapshot, loads, best, sizing)
    since = snapshot.memory.better_since if snapshot.fresh and snapshot.memory.better_since is not None else snapshot.now
    waits_s = window_s(snapshot)
    if snapshot.now - since >= waits_s:
        return _sized(snapshot, loads, best, sizing)
    try:
        own = _sizing(snapshot, demanded(snapshot, loads), used)
    except Infeasible:
        return _sized(snapshot, loads, best, sizing)
    note = f"{choice_name(best)} is preferred and must do for {format_duration(waits_s)} before the pool moves to it"
    return _sized(snapshot, loads, used, own, since, note)


def _sized(
    snapshot: Snapshot, loads: list[ClassLoad], choice: Choice, sizing: Sizing, better_since: float | None = None, note: str = ""
) -> Sized:
    name, scaling = choice_name(choice), snapshot.spec.scaling
    replicas = min(max(sizing.replicas, scaling.min_replicas), scaling.max_replicas)
    each = f"each is asked for {sizing.each_rps:.3g} of the {sizing.full_rps:.3g} requests/s that it can finish"
    why = f"{name}: {sizing.replicas} replicas by {sizing.binding}, {each}"
    if sizing.capped:
        message = f"{sizing.binding} needs more than maxReplicas {scaling.max_replicas} on {name}: raise scaling.maxReplicas"
        feasible = _verdict("False", Reason.MAX_REPLICAS, message)
    elif loads and not any(promises(snapshot.classes[x.name]) for x in loads):
        feasible = _verdict("True", Reason.NO_OBJECTIVE, f"no class promises a latency: sized for throughput on {name}")
    else:
        feasible = _verdict("True", Reason.FEASIBLE, f"every objective can be met on {name}")
    return Sized(replicas, choice, feasible, (*(x.why for x in loads), why, *([note] if note else [])), better_since)


def _infeasible(snapshot: Snapshot, loads: list[ClassLoad], misses: list[tuple[Infeasible, Choice]], used: Choice | None) -> Sized:
    """Nothing can meet the objectives: the pool is sized for throughput, where it is or on what comes nearest, and says what can be met."""
    spec = snapshot.spec
    miss, nearest = min(misses, key=lambda m: m[0].best_target_s / m[0].target_s)
    best, load = format_duration(miss.best_target_s), next(x.load for x in loads if x.name == miss.name)
    message = (
        f"class {miss.name}: {miss.metric} {format_duration(miss.target_s)} cannot be met: one idle {choice_name(nearest)} replica needs"
        f" {best} for {load.input_tokens:.0f} input and {load.output_tokens:.0f} output tokens."
        f" Raise the target to {best}, shorten requests, or add a faster accelerator."
    )
    choice = used or nearest
    sizing = _sizing(snapshot, demanded(snapshot, loads, promised=False), choice)
    replicas = min(max(sizing.replicas, spec.scaling.min_replicas), spec.scaling.max_replicas)
    why = (*(x.why for x in loads), message, f"sized for throughput instead: {replicas} replicas of {choice_name(choice)}")
    return Sized(replicas, choice, _verdict("False", Reason.OBJECTIVE_BELOW_SERVICE_TIME, message), why)


def _verdict(status: Literal["True", "False", "Unknown"], reason: Reason, message: str) -> Verdict:
    return Verdict(type=Type.SLO_FEASIBLE, status=status, reason=reason, message=message)

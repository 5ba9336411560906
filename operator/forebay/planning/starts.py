"""How long replicas take to start, learned for each variant and stage from what the cluster shows.

A start has stages: `node`, until the replica is given a node (a new one, where none has room); `image`, until the model server's process
runs, with images pulled and init containers done; `load`, until it is ready. Where the server has a startup probe, and that was seen to be
passed before the replica was ready, `weights` until then and `warmUp` after it are parts of `load`. A start is measured once, on the times
that the cluster itself wrote, but for the passing of a startup probe, which has no time of its own: that is when it was first seen.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from forebay.planning.memory import Memory, Stage
from forebay.planning.snapshot import PodView, Snapshot
from forebay.planning.variants import choice_name, preferred_profile, wanted_variants

MAX_START_TIMES = 20
MAX_START_S = 1800.0
"""A replica that was ready later than this after it was made has not started slowly: it was ready before, and became so again."""
MAX_STARTED_PODS = 1000
MAX_LOADED_PODS = 100
MAX_MARKS = 1 << 14
"""Names of replicas recur at every look, several times in each."""
MAX_VARIANTS = 32
DEFAULT_LEAD_S = 60.0
SLOWEST: Final = 0.9
"""Quantile of the start times that is planned with."""
STAGES: tuple[Stage, ...] = ("node", "image", "load", "weights", "warmUp", "ready")
"""In their order; `ready` is the whole."""

Times = tuple[float, ...]


def learn_starts(snapshot: Snapshot) -> dict[str, object]:
    """What this snapshot adds to the memory: the start times of replicas that became ready, and which have their weights loaded."""
    memory, seen = snapshot.memory, started(snapshot)
    known = tuple(mark(p.name) for p in snapshot.pods if p.name in seen)
    new = [p for p in snapshot.pods if p.ready and p.ready_at is not None and p.name not in seen][: MAX_STARTED_PODS - len(known)]
    starts, of_all = dict(memory.starts), memory.start_times_s
    for pod in new:
        times = stage_times(pod, memory.loaded_at.get(pod.name))
        if "ready" in times:
            starts[pod.variant] = _with(starts.pop(pod.variant, {}), times)
            of_all = (*of_all, times["ready"])[-MAX_START_TIMES:]
    return {
        "started_pods": (*known, *(mark(p.name) for p in new)),
        "start_times_s": of_all,
        "starts": dict(list(starts.items())[-MAX_VARIANTS:]),
        "loaded_at": _loaded_at(snapshot),
    }


@lru_cache(MAX_MARKS)
def mark(name: str) -> str:
    """Eight characters to know a replica again by: a thousand names would be nearly half of what a memory may be."""
    return blake2b(name.encode(), digest_size=4).hexdigest()


def started(snapshot: Snapshot) -> frozenset[str]:
    """The names of those replicas that were ready once. Memories of earlier versions hold names instead of marks."""
    marks = frozenset(snapshot.memory.started_pods)
    return frozenset(p.name for p in snapshot.pods if mark(p.name) in marks or p.name in marks)


def _loaded_at(snapshot: Snapshot) -> dict[str, float]:
    """When startup probes of replicas that are not ready were first seen to be passed."""
    before = snapshot.memory.loaded_at
    passed = sorted((p.name for p in snapshot.pods if p.loaded and not p.ready), key=lambda name: (before.get(name, snapshot.now), name))
    return {name: before.get(name, snapshot.now) for name in passed[:MAX_LOADED_PODS]}


def stage_times(pod: PodView, loaded_at: float | None) -> dict[Stage, float]:
    """Seconds of each stage of a replica that is ready, `ready` the whole; no stages where their times are not in order."""
    if pod.ready_at is None or not 0 <= pod.ready_at - pod.created_at <= MAX_START_S:
        return {}
    whole: dict[Stage, float] = {"ready": round(pod.ready_at - pod.created_at, 1)}
    if pod.scheduled_at is None or pod.running_at is None:
        return whole
    if not pod.created_at <= pod.scheduled_at <= pod.running_at <= pod.ready_at:
        return whole
    spans: dict[Stage, tuple[float, float]] = {
        "node": (pod.created_at, pod.scheduled_at),
        "image": (pod.scheduled_at, pod.running_at),
        "load": (pod.running_at, pod.ready_at),
    }
    if loaded_at is not None and pod.running_at <= loaded_at:
        # It is seen a moment after it happens.
        passed_at = min(loaded_at, pod.ready_at)
        spans |= {"weights": (pod.running_at, passed_at), "warmUp": (passed_at, pod.ready_at)}
    return {stage: round(until - since, 1) for stage, (since, until) in spans.items()} | whole


def _with(before: dict[Stage, Times], times: dict[Stage, float]) -> dict[Stage, Times]:
    more = {stage: (*before.get(stage, ()), seconds)[-MAX_START_TIMES:] for stage, seconds in times.items()}
    return {stage: known for stage in STAGES if (known := more.get(stage, before.get(stage)))}


def quantile(times: Times, share: float) -> float:
    """The smallest of the times that at least this share of them do not exceed, or the next one."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def lead_time_s(memory: Memory, variants: Collection[str] = ()) -> float:
    """How long a replica takes from being asked for to being ready: the slowest of nine in ten, of the slowest of these variants.

    A variant that was not seen to start is taken for the pool's others; until any was seen it is a guess.
    """
    known = [memory.starts.get(variant, {}).get("ready", memory.start_times_s) for variant in variants] or [memory.start_times_s]
    return max(quantile(times, SLOWEST) if times else DEFAULT_LEAD_S for times in known)


def lead_of(snapshot: Snapshot) -> float:
    """The same for a replica that is asked for now."""
    return lead_time_s(snapshot.memory, next_variants(snapshot))


def next_variants(snapshot: Snapshot) -> tuple[str, ...]:
    """The variants that a replica which is asked for now would be of: those of the kind of which most are in use."""
    choices, mix = preferred_profile(snapshot.spec), snapshot.memory.mix
    used = max(choices, key=lambda c: mix.get(choice_name(c), 0), default=None)
    return tuple(v.name for v in wanted_variants(snapshot.spec, used))

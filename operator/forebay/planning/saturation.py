"""What replicas were seen to finish while requests waited for them: a floor that holds where a profile promises too much.

While every place is taken and a queue stands before it for several windows of measurement, what replicas finish is all they can. Where
that is less than the profile says, the share is remembered, and from then on no replica is counted on for more. Latencies of the model are
left alone: a replica may also finish less because its sidecar keeps it from more, for an objective's sake.

A share that a bad hour left behind must not be kept for good, and replicas of a pool that is large enough are never saturated again. So
a share that is known follows what they finish of what the profile says for as many requests as they have, within half an hour or so.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from forebay.planning.demand import ClassLoad
from forebay.planning.memory import Saturation
from forebay.planning.queueing import EngineProfile, Work, mixed, service_rate, work_of
from forebay.planning.sizing import MOST_UTILISED
from forebay.planning.snapshot import Snapshot
from forebay.planning.target import Sized
from forebay.planning.variants import Choice, engine_profile, preferred_profile, profile_key

PLACES_TAKEN = 0.9
"""Share of the places that the profile gives its replicas: with fewer taken, it is not the replicas that are slow."""

WINDOWS = 4.0
"""Windows of measurement that saturation must have lasted for."""

RECOVERY_S = 1800.0
"""A share follows what is seen now within about so long."""

RECOVERED = 0.8
"""A share is given up from here on: what a healthy replica finishes is seen as 0.87 to 0.95 (in flight is measured at moments)."""

LEAST_DONE = 5.0
"""Requests that must have been finished within a window to say something of a speed."""

LEAST_SHARE = 0.02
"""A replica that finishes less than this of what its profile says is broken, and more like it would be too."""


def saturation(snapshot: Snapshot) -> Saturation | None:
    """Since when every place is taken and more requests wait than there are replicas, and the most that was finished since; or None.

    With every replica that comes or goes it begins anew. What is finished comes in waves, so the best window counts.
    """
    demand, before, places = snapshot.demand, snapshot.memory.saturation, [p.max_concurrency for p in snapshot.spec.profiles]
    if demand is None or not places:
        return None
    of_all, replicas = list(demand.classes.values()), demand.replicas_reporting
    running = sum(c.in_flight for c in of_all)
    if replicas < 1 or sum(c.queued for c in of_all) < replicas or running < PLACES_TAKEN * replicas * min(places):
        return None
    if before is None or before.replicas != replicas:
        return Saturation(since=demand.measured_at, replicas=replicas)
    if demand.measured_at - before.since < demand.window_s:
        return before
    finished = sum(c.completed_per_s for c in of_all) / replicas
    return before.model_copy(update={"finished_per_s": round(max(before.finished_per_s, finished), 6)})


def observed_share(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice | None) -> dict[str, float]:
    """The shares with what this measurement adds: of the profile's throughput, what replicas finish while they are saturated."""
    shares, demand, queue = snapshot.memory.throughput_shares, snapshot.demand, snapshot.memory.saturation
    if choice is None or demand is None or not snapshot.fresh:
        return shares
    if len({(d.accelerator, d.partition) for d in snapshot.deployments if d.ready}) > 1:
        # Whose doing it is cannot be told.
        return shares
    if queue is None:
        return _recovering(snapshot, loads, choice)
    if queue.finished_per_s <= 0.0 or demand.measured_at - queue.since < WINDOWS * demand.window_s:
        return shares
    share = queue.finished_per_s / max(_promised_rps(snapshot, loads, choice), 1e-9)
    others = {profile_key(c) for c in preferred_profile(snapshot.spec)}
    return {k: v for k, v in shares.items() if k in others} | {profile_key(choice): round(min(1.0, max(LEAST_SHARE, share)), 3)}


def _recovering(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice) -> dict[str, float]:
    """The shares, that of this kind a little nearer to what its replicas finish now."""
    shares, key = snapshot.memory.throughput_shares, profile_key(choice)
    pace = _pace(snapshot, loads, choice) if key in shares else None
    if pace is None:
        return shares
    weight = min(1.0, snapshot.settings.interval_s / RECOVERY_S)
    share = round(max(LEAST_SHARE, shares[key] + weight * (pace - shares[key])), 5)
    return shares | {key: share} if share < RECOVERED else {k: v for k, v in shares.items() if k != key}


def _pace(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice) -> float | None:
    """What replicas finish, over what the profile says for as many requests as each has; at most 1, and None where that says too little."""
    demand = snapshot.demand
    if demand is None or demand.replicas_reporting < 1 or not loads:
        return None
    done = sum(c.completed_per_s for c in demand.classes.values())
    if done * demand.window_s < LEAST_DONE:
        return None
    engine, work = _worked(snapshot, loads, choice)
    flying = sum(c.in_flight for c in demand.classes.values()) / demand.replicas_reporting
    promised = flying / max((work.decodes + 1.0) * engine.base_s + max(1.0, flying) * work.total_s, 1e-12)
    return min(1.0, done / demand.replicas_reporting / promised) if promised > 0.0 else None


def floored(snapshot: Snapshot, loads: list[ClassLoad], sized: Sized, shares: dict[str, float]) -> Sized:
    """The size, or more where replicas were seen to finish less than their profile says. Mixes were chosen with that in mind."""
    share = shares.get(profile_key(sized.profile), 1.0) if sized.profile is not None and len(sized.mix) == 1 else 1.0
    asked = sum(load.load.requests_per_s for load in loads)
    if sized.profile is None or share >= 1.0 or asked <= 0.0:
        return sized
    each_rps = share * _promised_rps(snapshot, loads, sized.profile)
    least = min(ceil(asked / (MOST_UTILISED * each_rps) - 1e-9), snapshot.spec.scaling.max_replicas)
    if least <= sized.replicas:
        return replace(sized, needed=max(sized.needed, least))
    why = f"saturated replicas finished {share:.0%} of what the profile says, {each_rps:.3g} requests/s each: {least} replicas by that"
    return replace(sized, mix=((sized.profile, least),), replicas=least, needed=least, why=(*sized.why, why))


def _promised_rps(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice) -> float:
    """Requests/s that a full replica finishes by its profile."""
    return service_rate(*_worked(snapshot, loads, choice)) if loads else 0.0


def _worked(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice) -> tuple[EngineProfile, Work]:
    """The profile as it was declared, and what a request of the pool is to it on average; there is a load."""
    engine = engine_profile(snapshot.spec, choice[1])
    return engine, mixed([(load.load.requests_per_s, work_of(load.load, engine)) for load in loads])

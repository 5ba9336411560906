"""When a pool may give capacity back.

Up at once, down only after less has been enough for a whole window that covers a replica's measured start time. What was last decided is
held while measurements are stale or partial, and for a window after the operator began to look.
"""

from __future__ import annotations

from dataclasses import dataclass

from forebay.api.meta import format_duration
from forebay.api.pool_scaling import AUTO, share_of
from forebay.planning.coverage import costs
from forebay.planning.memory import Memory, Recommendation, earlier
from forebay.planning.snapshot import Snapshot
from forebay.planning.starts import lead_of

MAX_RECOMMENDATIONS = 128
AUTO_FLOOR_S = 300.0
START_COST = 1.0
"""Without prices a start costs its own time, for which it is paid while nothing is answered.

Holding a replica until that is spent, and then giving it back, costs at most twice what one would pay who knew when it is needed again
(the ski-rental bound)."""
MOST_STARTS = 100.0
"""A start is taken to cost so many times its own time at most: who idles for free, or nearly, would never give anything back."""
_NOTHING_USD = 1e-9
STEP_S = 120.0
"""Within so long no more than `scaleDown.maxPerStep` is given back."""


@dataclass(frozen=True, slots=True)
class Held:
    """The replica count to have now, and the memory that leads to it."""

    replicas: int
    memory: Memory
    why: tuple[str, ...]


def window_s(snapshot: Snapshot) -> float:
    """How long less must have been enough."""
    return window(snapshot)[0]


def window(snapshot: Snapshot) -> tuple[float, str]:
    """How long less must have been enough, and what says so where prices do."""
    plain_s = unpriced_window_s(snapshot)
    if snapshot.spec.scaling.scale_down.stabilization != AUTO or not snapshot.memory.start_times_s:
        return plain_s, ""
    starts, lead_s = _start_cost(snapshot), lead_of(snapshot)
    priced_s = float(round(starts * lead_s))
    if priced_s <= plain_s:
        return plain_s, ""
    most = ", the most that is held for" if starts >= MOST_STARTS else ""
    return priced_s, f" ({starts:.3g} starts of {lead_s:.0f} s{most}, by missUsdPer1k and the price of a replica)"


def unpriced_window_s(snapshot: Snapshot) -> float:
    """The window whatever misses cost: what is set, or five minutes, and never less than the learned start time."""
    wished, lead_s = snapshot.spec.scaling.scale_down.stabilization, lead_of(snapshot) if snapshot.memory.start_times_s else 0.0
    return max(AUTO_FLOOR_S if wished == AUTO else wished, lead_s)


def _start_cost(snapshot: Snapshot) -> float:
    """What a start costs, in its own time of a replica: once for itself, and what is missed meanwhile where misses have a price."""
    known = [costs(snapshot, name, shape) for name, shape in snapshot.memory.shapes.items() if name in snapshot.classes]
    # What a replica too few costs in misses, for each second of one too many.
    ratios = [c.under / max(c.over, _NOTHING_USD) for c in known if c is not None]
    return min(MOST_STARTS, START_COST + max(ratios, default=0.0))


def unbroken(snapshot: Snapshot) -> Memory:
    """The memory, with every window begun anew where nobody looked for a while or the clock was set: what was between is not known."""
    memory, now = snapshot.memory, snapshot.now
    if now < memory.looked_at:
        memory = earlier(memory, memory.looked_at - now)
    looked: dict[str, object] = {"looked_at": now, "looking_since": memory.looking_since if memory.looking_since is not None else now}
    if memory.looked_at and not 0 <= now - memory.looked_at <= snapshot.settings.stale_after_s:
        looked |= {"looking_since": now, "observed_since": None, "recommendations": (), "surges": (), "better_since": None, "step": None}
    return memory.model_copy(update=looked)


def hold(snapshot: Snapshot, wanted: int, current: int, lasting: int | None = None) -> Held:
    """Up at once; down to the most that was wanted in the window, once the window is full.

    What was wanted beyond the `lasting` count, to drain a queue, is held only until a replica that was asked for then could answer: a
    queue is what was too little, and says nothing about what will come.
    """
    memory, now = snapshot.memory, snapshot.now
    if blind := _blind(snapshot):
        kept = _bounded(snapshot, current) if current or _served(snapshot) else 0
        why = f"{blind}: {'the pool is held as it is' if current else 'minReplicas' if kept else 'nothing is started'}"
        return Held(kept, memory.model_copy(update={"observed_since": None, "recommendations": (), "surges": ()}), (why,))
    notes: tuple[str, ...] = ()
    if snapshot.unmeasured and wanted < current:
        measured = f"{snapshot.ready - snapshot.unmeasured} of {snapshot.ready} replicas were measured"
        wanted, lasting, notes = current, None, (f"{measured}: nothing is given back",)
    (span_s, by), lead_s = window(snapshot), lead_of(snapshot)
    since = memory.observed_since if memory.observed_since is not None else now
    recommendations = _recommended(memory.recommendations, now, wanted if lasting is None else min(wanted, lasting), span_s)
    surges = _recommended(memory.surges, now, wanted, min(span_s, lead_s))
    load, most = (max(r.replicas for r in of) for of in (recommendations, (*recommendations, *surges)))
    full = now - since >= span_s
    step, least = step_down(snapshot, current)
    down = max(min(current, most), least) if full else current
    replicas = _bounded(snapshot, wanted if wanted >= current else down)
    if wanted < replicas:
        waits = f"{replicas} held: fewer ({wanted}) must be enough for {_whole(span_s)}{by} before any is given back"
        drains = f"{replicas} held: a queue asked for them less than a start ({_whole(lead_s)}) ago"
        notes = (waits if not full or load >= replicas else drains if most >= replicas else slowly(snapshot, replicas),)
    begun = step if replicas < current and not snapshot.spec.scaling.paused else memory.step
    update = {"observed_since": since, "recommendations": recommendations, "surges": surges, "step": begun}
    return Held(replicas, memory.model_copy(update=update), notes)


def _whole(seconds: float) -> str:
    """As people say it."""
    return format_duration(float(round(seconds)))


def step_down(snapshot: Snapshot, current: int) -> tuple[Recommendation, int]:
    """The step under way, or one that begins now, as after any rise; and the fewest replicas that it may leave."""
    begun, setting = snapshot.memory.step, snapshot.spec.scaling.scale_down.max_per_step
    if begun is None or not 0 <= snapshot.now - begun.at < STEP_S or current > begun.replicas:
        begun = Recommendation(at=snapshot.now, replicas=current)
    share = share_of(setting)
    most = int(setting) if share is None else max(1, int(share * begun.replicas + 1e-9))
    return begun, min(current, begun.replicas - most)


def slowly(snapshot: Snapshot, replicas: int) -> str:
    """Why so many are held that are to be given back."""
    return f"{replicas} held: {snapshot.spec.scaling.scale_down.max_per_step} is given back within {format_duration(STEP_S)}"


def _served(snapshot: Snapshot) -> bool:
    """Whether any class of the pool exists."""
    return any(name in snapshot.classes for name in snapshot.spec.classes)


def _blind(snapshot: Snapshot) -> str:
    """Why nothing can be said about the pool's load, or nothing."""
    if not _served(snapshot):
        return "none of the pool's classes exists"
    return "" if snapshot.fresh else "nothing fresh was measured"


def _bounded(snapshot: Snapshot, replicas: int) -> int:
    scaling = snapshot.spec.scaling
    return min(max(replicas, scaling.min_replicas), scaling.max_replicas)


def _recommended(before: tuple[Recommendation, ...], now: float, replicas: int, window: float) -> tuple[Recommendation, ...]:
    """Past recommendations that still bind: none is as old as the window, none is outdone by a younger one.

    Where they are too many the newest is taken for as much as the one before it: too much is held for a while, never too little.
    """
    kept = [r for r in before if now - r.at < window and r.replicas > replicas]
    if len(kept) >= MAX_RECOMMENDATIONS:
        replicas = kept.pop().replicas
    return (*kept, Recommendation(at=now, replicas=replicas))

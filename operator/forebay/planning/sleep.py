"""When a pool gives up its last replica, and what wakes it again: `minReplicas: 0`.

Whether to keep an idle replica is the ski-rental problem. An idle second costs a second of a replica; a start costs as many as it takes,
for a replica that starts is paid like one that serves, so prices cancel out. Who sleeps only once the idle time has cost as much as a
start never pays more than twice what one who knew the future would have paid. Earlier pauses say more than that: where half of those that
lasted as long as this one ended within another start, sleeping would not have paid, and the pool stays awake for up to twice as long
(Purohit, Svitkina and Kumar 2018, with λ = 1/2). What a start costs is the learned start time, and what is missed meanwhile
(`start_cost.py`).

No sidecar is left to ask while a pool sleeps. The gateways that route to it hold its requests and count them: what they say is its demand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forebay.api.batch_class import BatchClassSpec
from forebay.api.conditions import Reason, Type
from forebay.api.meta import format_duration
from forebay.planning.decision import Verdict
from forebay.planning.demand import ClassLoad
from forebay.planning.hold import Held, slowly, step_down, unpriced_window_s
from forebay.planning.measured import AtGateways, ClassDemand, Demand
from forebay.planning.memory import Memory, Rest
from forebay.planning.snapshot import Snapshot
from forebay.planning.start_cost import StartCost, start_cost, waited
from forebay.planning.starts import lead_of

MAX_PAUSES = 20
MIN_PAUSES = 4
"""With fewer earlier pauses nothing is said of the next one."""

_STEPS_S = tuple(float(f"{10 ** (step / 12):.2g}") for step in range(-12, 43))
"""From a tenth of a second to most of an hour, twelve to a decade."""

MOST_STARTS = 2.0
"""An idle replica is kept for at most so many times what a start costs, whatever earlier pauses say."""

HOPELESS_S, HOPELESS_STARTS = 3600.0, 10.0
"""What has not become ready in this time, or in so many times that of a learned start where that is longer, is not waited for alone."""


def with_gateways(snapshot: Snapshot) -> Snapshot:
    """The snapshot with what gateways hold among what waits. While no replica is ready theirs is all the demand there is.

    One gateway that holds something is enough to know of it; that nothing is held is known when all of them were heard.
    """
    doors, demand = snapshot.gateways, snapshot.demand
    if doors is None:
        return snapshot
    if snapshot.ready:
        if demand is None or not doors.held:
            return snapshot
        classes = {**demand.classes, **{name: _queued(demand.classes.get(name), count) for name, count in doors.held.items()}}
        return snapshot.model_copy(update={"demand": demand.model_copy(update={"classes": classes})})
    if not doors.held and not _all_heard(doors):
        return snapshot
    classes = {name: _queued(None, count) for name, count in doors.held.items()}
    told = Demand(measured_at=snapshot.now, window_s=snapshot.settings.interval_s, source="gateways", replicas_reporting=0, classes=classes)
    return snapshot.model_copy(update={"demand": told})


def hold(start_s: float, classes: Mapping[str, BatchClassSpec]) -> dict[str, Any]:
    """How a gateway holds requests for a pool: as long as its class lets a request wait, and a replica's start besides.

    The start time is rounded up to a step, so that not every start that is a little longer is a new configuration.
    """
    start_s = next(step for step in _STEPS_S if step >= start_s or step == _STEPS_S[-1])
    return {
        "startSeconds": start_s,
        "classes": {
            name: {"maxWaitSeconds": start_s + spec.queue.max_wait, "maxRequests": max(1, spec.queue.max_depth)}
            for name, spec in classes.items()
        },
    }


def _queued(measured: ClassDemand | None, count: int) -> ClassDemand:
    found = measured or ClassDemand()
    return found.model_copy(update={"queued": found.queued + count})


def _alive(snapshot: Snapshot) -> bool:
    return any(not p.deleting for p in snapshot.pods)


def _all_heard(doors: AtGateways) -> bool:
    return doors.asked > 0 and doors.answered >= doors.asked


def rest(snapshot: Snapshot, held: Held, current: int, loads: Sequence[ClassLoad], standby: int = 0) -> Held:
    """The held count, or none where the pool sleeps. `current` replicas were decided last; the snapshot is one `with_gateways`.

    So many of the held are `standby`: they are kept for whoever may come while the pool is awake, and do not keep it awake.
    """
    if snapshot.spec.scaling.min_replicas > 0:
        return Held(held.replicas, held.memory.model_copy(update={"rest": None}), held.why)
    held = Held(held.replicas, held.memory.model_copy(update={"rest": _rested(snapshot)}), held.why)
    if not snapshot.classes:
        return held
    replicas, why = _awake(snapshot, held, current, loads, standby) if current else _asleep(snapshot, held, loads)
    if current and not replicas:
        return _falls_asleep(snapshot, held, current, why)
    return Held(replicas, held.memory, (*held.why, *([why] if why else [])))


def _falls_asleep(snapshot: Snapshot, held: Held, current: int, why: str) -> Held:
    """None, or as many as may not be given back yet."""
    step, left = step_down(snapshot, current)
    if left == current:
        return Held(left, held.memory, (*held.why, why, slowly(snapshot, left)))
    memory = held.memory if snapshot.spec.scaling.paused else held.memory.model_copy(update={"step": step})
    return Held(left, memory, (*held.why, f"{why}, {current} → {left} replicas", *([slowly(snapshot, left)] if left else [])))


def _asleep(snapshot: Snapshot, held: Held, loads: Sequence[ClassLoad]) -> tuple[int, str]:
    doors = snapshot.gateways or AtGateways()
    if why := _asked(doors) or _in_use(snapshot) or _expected(loads, _cost(snapshot, held.memory).seconds):
        replicas = max(1, held.replicas)
        return replicas, f"{why}: the pool wakes, 0 → {replicas} replicas"
    return 0, f"asleep: {asleep(doors)}"


def _awake(snapshot: Snapshot, held: Held, current: int, loads: Sequence[ClassLoad], standby: int) -> tuple[int, str]:
    """At least one replica, until it has been idle for long enough and gateways are there to wake the pool again."""
    replicas, doors, memory = max(1, held.replicas), snapshot.gateways or AtGateways(), held.memory
    if not snapshot.ready:
        if why := _hopeless(snapshot, memory, loads):
            return 0, why
        started = max(replicas, min(current, snapshot.spec.scaling.max_replicas))
        return started, f"none of {started} replicas was ready yet: nothing is given back before"
    if replicas > 1 + standby or _asked(doors) or memory.rest is None or memory.rest.idle_since is None:
        return replicas, ""
    stay = "the last replica stays" if replicas == 1 else f"the last {replicas} replicas stay"
    if not _all_heard(doors):
        return replicas, f"{_silence(doors)}: nobody could wake the pool, so {stay}"
    cost = _cost(snapshot, memory)
    if why := _expected(loads, cost.seconds):
        return replicas, f"{why}: {stay}"
    idle_s = snapshot.now - max(memory.rest.idle_since, memory.observed_since or 0.0)
    tired, why = _tired(idle_s, unpriced_window_s(snapshot), cost, memory.rest.pauses_s)
    return 0 if tired else replicas, why


def _hopeless(snapshot: Snapshot, memory: Memory, loads: Sequence[ClassLoad]) -> str:
    """Why replicas are given up that do not become ready and that nobody asks for any more; or nothing."""
    doors, since = snapshot.gateways or AtGateways(), memory.rest.unready_since if memory.rest else None
    if since is None or _asked(doors) or not _all_heard(doors) or _expected(loads, _cost(snapshot, memory).seconds):
        return ""
    most_s = max(HOPELESS_S, HOPELESS_STARTS * lead_of(snapshot))
    if snapshot.now - max(since, memory.looking_since or snapshot.now) < most_s:
        return ""
    return (
        f"none of its replicas was ready within {format_duration(most_s)} and nobody asks (look at their events and logs): the pool sleeps"
    )


def _cost(snapshot: Snapshot, memory: Memory) -> StartCost:
    return start_cost(snapshot, memory.rest or Rest())


def _tired(idle_s: float, window: float, cost: StartCost, pauses_s: Sequence[float]) -> tuple[bool, str]:
    """Whether being idle has cost enough, and why. All in seconds."""
    cost_s = cost.seconds
    least_s = max(window, cost_s)
    idle = f"nobody has asked for {idle_s:.0f} s"
    paid = f"an idle replica is kept for {least_s:.0f} s (the window {window:.0f} s, a start costs {cost})"
    if idle_s < least_s:
        return False, f"{idle}: {paid}"
    if idle_s < max(window, MOST_STARTS * cost_s) and not _pays(idle_s, cost_s, pauses_s):
        lost = f"half of the earlier pauses that lasted as long ended within another {cost_s:.0f} s, so a start would cost more"
        return False, f"{idle}: {lost}"
    return True, f"{idle}, and {paid}: the pool sleeps"


def _pays(idle_s: float, cost_s: float, pauses_s: Sequence[float]) -> bool:
    """Whether of the pauses that lasted as long the median goes on for longer than a start takes."""
    left = sorted(pause - idle_s for pause in pauses_s if pause > idle_s)
    return len(pauses_s) < MIN_PAUSES or not left or left[(len(left) - 1) // 2] > cost_s


def _asked(doors: AtGateways) -> str:
    """What gateways want of the pool, or nothing."""
    count = sum(doors.held.values())
    if count:
        return f"gateways hold {count} {'request' if count == 1 else 'requests'}"
    return "requests are answered by another pool of their rule in its turn" if doors.passed_over else ""


def _in_use(snapshot: Snapshot) -> str:
    """That somebody asks replicas which are there still, or nothing: they may be on their way out, or mode Recommend touches none."""
    return "its replicas are asked" if snapshot.ready and _quiet(snapshot) is False else ""


def _expected(loads: Sequence[ClassLoad], cost_s: float) -> str:
    """What a trusted forecast expects, if that is a request within the time that a start costs; or nothing."""
    rate = sum(x.expected.p50_requests_per_s for x in loads if x.expected is not None and x.expected.trusted)
    return f"the forecast expects {rate:.3g} requests/s" if rate * cost_s >= 1.0 else ""


def _rested(snapshot: Snapshot) -> Rest:
    """What is known of idleness, and since when replicas are asked for of which none is ready, whether or not any could be made."""
    before = snapshot.memory.rest or Rest()
    waits = (_alive(snapshot) or snapshot.memory.target > 0) and not snapshot.ready
    since = (snapshot.now if before.unready_since is None else before.unready_since) if waits else None
    return waited(snapshot, _idled(snapshot, before)).model_copy(update={"unready_since": since})


def _idled(snapshot: Snapshot, before: Rest) -> Rest:
    """Since when nobody asks, and the pauses that are known, with one that is over now."""
    quiet, now = _quiet(snapshot), snapshot.now
    since = before.idle_since
    if quiet is None:
        # Of a pool that sleeps it is known that nobody has been answered meanwhile.
        return before if not _alive(snapshot) else before.model_copy(update={"idle_since": None})
    if quiet:
        return before if since is not None else before.model_copy(update={"idle_since": now})
    return before.model_copy(update={"idle_since": None, "pauses_s": (*before.pauses_s, *_pause(snapshot, since))[-MAX_PAUSES:]})


def _pause(snapshot: Snapshot, since: float | None) -> tuple[float, ...]:
    """Seconds that nobody has asked for since then, where that is long enough to have been slept through.

    Nothing where nobody looked for a while, or the clock was set, when it began or since: what was between is not known.
    """
    watched_since = snapshot.memory.looking_since
    if since is None or watched_since is None or watched_since >= since:
        return ()
    lasted_s = snapshot.now - since
    return (round(lasted_s, 1),) if lasted_s >= unpriced_window_s(snapshot) else ()


def _quiet(snapshot: Snapshot) -> bool | None:
    """Whether nobody asks anything of the pool; None where that is not known."""
    demand = snapshot.demand
    if demand is None or not snapshot.fresh:
        return None
    busy = any(c.requests_per_s > 0 or c.queued > 0 or c.in_flight > 0 for c in demand.classes.values())
    if busy or (snapshot.gateways is not None and snapshot.gateways.passed_over):
        return False
    if _alive(snapshot) and (not snapshot.ready or snapshot.unmeasured):
        return None
    return True


def _silence(doors: AtGateways) -> str:
    if not doors.asked:
        return "no replica of the gateway that routes here runs" if doors.routed else "no gateway routes here"
    return f"{doors.asked - doors.answered} of {doors.asked} gateway replicas do not answer"


def asleep(doors: AtGateways) -> str:
    """What wakes a pool without replicas, or why nothing does."""
    if not doors.asked:
        remedy = "See the gateway's pods" if doors.routed else "Add a RoutingPolicy"
        return f"{_silence(doors)}, so no request can wake it. {remedy}, or set scaling.minReplicas to 1"
    if not _all_heard(doors):
        return f"{_silence(doors)}, whose requests would not wake it"
    return f"a request at any of {doors.asked} gateway replicas wakes it"


def asleep_verdict(snapshot: Snapshot) -> Verdict:
    """A pool that sleeps is as it should be: nothing to wait for."""
    return Verdict(type=Type.READY, status="True", reason=Reason.ASLEEP, message=asleep(snapshot.gateways or AtGateways()))


def heard_verdict(snapshot: Snapshot) -> Verdict | None:
    """Whether demand is known where only gateways know it; None where there are replicas to ask."""
    doors = snapshot.gateways
    if doors is None or _alive(snapshot):
        return None
    if _all_heard(doors) or doors.held:
        held = sum(doors.held.values())
        message = f"no replica is there; {doors.answered} of {doors.asked} gateway replicas answer and hold {held} requests"
        return Verdict(type=Type.METRICS_FRESH, status="True", reason=Reason.FRESH, message=message)
    reason = Reason.GATEWAYS_SILENT if doors.asked or doors.routed else Reason.NO_GATEWAY
    return Verdict(
        type=Type.METRICS_FRESH, status="Unknown", reason=reason, message=f"no replica is there, and {_silence(doors)}: nothing is started"
    )

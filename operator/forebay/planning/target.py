"""How many replicas a pool's load asks for, of which kinds, and what that rests on.

A kind that can never keep one of the promises has no part in it. Of one kind it is the smallest count that holds; of several the cheapest
mix (mixing.py), or without prices the one that keeps to the order of the list.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from forebay.api.batch_class import BatchClassSpec, BatchingMode, Objective
from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import Task
from forebay.api.meta import format_duration
from forebay.planning.advice import MOST, Way, fewest_alone, let_in_too_few, raise_target, too_few, way
from forebay.planning.decision import Verdict
from forebay.planning.demand import ClassLoad
from forebay.planning.mix import Fleet, Kind, kind
from forebay.planning.mixing import Mixed, Mixing, needed
from forebay.planning.prices import PriceList
from forebay.planning.profiles import speed
from forebay.planning.queueing import Metric, Promise
from forebay.planning.series import IN_FLIGHT, PROMPTING
from forebay.planning.sharing import Router
from forebay.planning.sizing import Demanded, Infeasible, Sizing, replicas_for
from forebay.planning.snapshot import Snapshot
from forebay.planning.sparing import spares
from forebay.planning.split import Lot
from forebay.planning.supply import unavailable_variants
from forebay.planning.variants import Choice, choice_name, preferred_profile, profile_key, wanted_variants

Mix = tuple[tuple[Choice, int], ...]
"""Replicas of each kind, in the order of the list."""


@dataclass(frozen=True, slots=True)
class Sized:
    """The replicas that the load asks for, within the pool's own bounds; without a profile there is a count and no mix.

    `there` is what was decided before, as far as it can be had. `better_since` is when another mix began to be cheaper, where one is;
    `moves` says that the pool moves to it now. `needed` is what the load asks for, whatever minReplicas is, and `standby` what is to be
    ready beyond that.
    """

    mix: Mix
    replicas: int
    feasible: Verdict
    why: tuple[str, ...]
    there: Mix = ()
    better_since: float | None = None
    moves: bool = False
    needed: int = 0
    standby: int = 0

    @property
    def profile(self) -> Choice | None:
        """The first of its kinds."""
        return self.mix[0][0] if self.mix else None


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
    return tuple(
        Demanded(
            load=item.load,
            promises=promises(snapshot.classes[item.name]) if promised else (),
            max_wait_s=snapshot.classes[item.name].queue.max_wait,
            batch_window_s=_window_s(snapshot, item.name),
            name=item.name,
            priority=snapshot.classes[item.name].priority,
        )
        for item in loads
    )


def _window_s(snapshot: Snapshot, name: str) -> float:
    """How long the sidecar lets a request of the class wait for company: where it forms batches, and does for this class."""
    batching = snapshot.classes[name].batching
    forms = snapshot.spec.model.task == Task.EMBEDDINGS and batching.mode != BatchingMode.DISABLED
    return batching.window if forms else 0.0


def unloaded(loads: list[ClassLoad]) -> list[ClassLoad]:
    """The same classes with no load: what feasibility is checked with while nothing is measured."""
    return [ClassLoad(x.name, replace(x.load, requests_per_s=0.0), x.why) for x in loads]


def size(snapshot: Snapshot, loads: list[ClassLoad]) -> Sized:
    """Replicas that hold every class's tail objective. Of variants that are unavailable no more are asked for."""
    spec = snapshot.spec
    choices = preferred_profile(spec)
    if not choices:
        message = "the pool has no profile, so it stays at minReplicas: add profiles, one per accelerator"
        return Sized((), max(1, spec.scaling.min_replicas), _verdict("Unknown", Reason.NO_PROFILE, message), (message,))
    wanted = demanded(snapshot, loads)
    if not wanted:
        first = _sized(snapshot, loads, choices[0], _sizing(snapshot, wanted, choices[0]))
        before = decided(snapshot)
        return replace(first, mix=tuple((c, n) for c in choices if (n := before.get(choice_name(c), 0))) or first.mix)
    misses: list[tuple[Infeasible, Choice]] = []
    able: list[tuple[Choice, Kind]] = []
    for choice in choices:
        try:
            able.append((choice, counted_kind(snapshot, wanted, choice)))
        except Infeasible as miss:
            misses.append((miss, choice))
    if not able:
        return _infeasible(snapshot, loads, misses)
    able = _payable(snapshot, able)
    if len(able) == 1:
        choice = able[0][0]
        return _sized(snapshot, loads, choice, _sizing(snapshot, wanted, choice))
    return _mixed(snapshot, loads, wanted, able)


def _payable(snapshot: Snapshot, able: list[tuple[Choice, Kind]]) -> list[tuple[Choice, Kind]]:
    """Only kinds that are there, where a limit in dollars cannot be checked: of others none would be let in (placement.py)."""
    if snapshot.spec.capacity.nodes.limits.usd_per_hour is None or PriceList(snapshot, tuple(c for c, _ in able), True).in_dollars:
        return able
    there = {f"{d.accelerator}/{d.partition}" for d in snapshot.deployments if d.replicas}
    return [(choice, kind) for choice, kind in able if choice_name(choice) in there] or able


def counted_kind(snapshot: Snapshot, wanted: tuple[Demanded, ...], choice: Choice) -> Kind:
    """A kind as the queueing model takes it, no replica of it counted on for more than saturated ones were seen to finish.

    Raises Infeasible where one of them alone cannot keep a promise.
    """
    share = snapshot.memory.throughput_shares.get(profile_key(choice), 1.0)
    return kind(choice_name(choice), wanted, speed(snapshot, choice).engine, share, router_of(snapshot))


def decided(snapshot: Snapshot) -> dict[str, int]:
    """Replicas of each kind as they were decided last; where that is not remembered, as the Deployments have them."""
    found: dict[str, int] = {}
    for d in snapshot.deployments:
        name = f"{d.accelerator}/{d.partition}"
        found[name] = found.get(name, 0) + d.replicas
    return snapshot.memory.mix or found


def _mixed(
    snapshot: Snapshot,
    loads: list[ClassLoad],
    wanted: tuple[Demanded, ...],
    able: list[tuple[Choice, Kind]],
) -> Sized:
    """The cheapest of several kinds."""
    choices, total = tuple(c for c, _ in able), snapshot.spec.scaling.max_replicas
    before, unavailable = decided(snapshot), unavailable_variants(snapshot)
    most = tuple(_arrived(snapshot, c) if _is_unavailable(snapshot, c, unavailable) else total for c in choices)
    there = tuple(min(before.get(choice_name(c), 0), m) for c, m in zip(choices, most, strict=True))
    fleet = Fleet(wanted, tuple(k for _, k in able), router_of(snapshot))
    found = Mixing(snapshot, choices, fleet, there, most).decide()
    mix = tuple((c, n) for c, n in zip(choices, found.counts, strict=True) if n)
    kept = tuple((c, n) for c, n in zip(choices, there, strict=True) if n)
    why = (*(x.why for x in loads), *found.why, *(said for choice, _ in mix for said in _tuned(snapshot, choice)))
    asked = needed(fleet, found.counts, snapshot.spec.scaling.min_replicas)
    verdict = _mix_verdict(snapshot, loads, mix, found, fleet)
    return Sized(mix, sum(found.counts), verdict, why, kept, found.better_since, found.moves, asked)


def _is_unavailable(snapshot: Snapshot, choice: Choice, unavailable: Collection[str]) -> bool:
    return all(v.name in unavailable for v in wanted_variants(snapshot.spec, choice))


def _arrived(snapshot: Snapshot, choice: Choice) -> int:
    """Replicas of a kind that have their node."""
    names = {v.name for v in wanted_variants(snapshot.spec, choice)}
    return sum(p.variant in names and not p.deleting and bool(p.node or p.ready) for p in snapshot.pods)


def _mix_verdict(snapshot: Snapshot, loads: list[ClassLoad], mix: Mix, found: Mixed, fleet: Fleet) -> Verdict:
    if found.capped:
        enough, place = fewest_alone(fleet)
        most, name = snapshot.spec.scaling.max_replicas, fleet.kinds[place].name
        used = " and ".join(choice_name(c) for c, _ in mix)
        message = let_in_too_few(found.binding, enough, name, most, used) if enough <= most else too_few(found.binding, enough, most, name)
        return _verdict("False", Reason.MAX_REPLICAS, message)
    return _holds(snapshot, loads, " and ".join(choice_name(c) for c, _ in mix))


def settled(snapshot: Snapshot, sized: Sized, replicas: int) -> tuple[Lot, ...]:
    """As many replicas as are held: what is wanted, and beyond it what there is already; while nothing is measured, what there is."""
    spec = snapshot.spec
    if sized.profile is None:
        return (Lot(wanted_variants(spec, None), replicas),)
    counts: dict[str, int] = {}
    for choice, count in (*(sized.mix if snapshot.fresh else ()), *sized.there, *sized.mix):
        name = choice_name(choice)
        more = min(max(0, count - counts.get(name, 0)), replicas - sum(counts.values()))
        counts[name] = counts.get(name, 0) + more
    counts[choice_name(sized.profile)] = counts.get(choice_name(sized.profile), 0) + replicas - sum(counts.values())
    kinds = [c for c in preferred_profile(spec) if counts.get(choice_name(c), 0)] or [sized.profile]
    return tuple(Lot(wanted_variants(spec, c), counts.get(choice_name(c), 0)) for c in kinds)


def router_of(snapshot: Snapshot) -> Router:
    """How well the router was seen to share requests out, in steps of a tenth."""
    memory = snapshot.memory
    return Router(round(memory.router.value, 1) if memory.router else 1.0, spares(memory.sparing))


def routed_why(snapshot: Snapshot) -> tuple[str, ...]:
    """How requests are shared out, where that is not as is assumed of a router of which nothing is known."""
    router = router_of(snapshot)
    told = [f"requests are shared out with an efficiency of {router.efficiency:g} ({IN_FLIGHT})"] if router.efficiency < 1.0 else []
    if router.spares > 0.0:
        told.append(f"{router.spares:.0%} of prompts that another replica could spare a request are not met ({PROMPTING})")
    return tuple(told)


def _sizing(snapshot: Snapshot, wanted: tuple[Demanded, ...], choice: Choice, most: int = 0) -> Sizing:
    """Replicas of one kind, at most so many, or maxReplicas."""
    recent, engine = snapshot.memory.recommendations, speed(snapshot, choice).engine
    start, most = recent[-1].replicas if recent else 0, most or snapshot.spec.scaling.max_replicas
    return replicas_for(wanted, engine, router=router_of(snapshot), max_replicas=most, start=start)


def _sized(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice, sizing: Sizing) -> Sized:
    name, scaling = choice_name(choice), snapshot.spec.scaling
    replicas = min(max(sizing.replicas, scaling.min_replicas), scaling.max_replicas)
    each = f"each is asked for {sizing.each_rps:.3g} of the {sizing.full_rps:.3g} requests/s that it can finish"
    why = f"{name}: {sizing.replicas} replicas by {sizing.binding}, {each}"
    if sizing.capped:
        wide = _sizing(snapshot, demanded(snapshot, loads), choice, MOST)
        enough = MOST + 1 if wide.capped else wide.replicas
        feasible = _verdict("False", Reason.MAX_REPLICAS, too_few(sizing.binding, enough, scaling.max_replicas, name))
    else:
        feasible = _holds(snapshot, loads, name)
    floor = (f"minReplicas: {replicas} replicas",) if replicas > sizing.replicas else ()
    said = (why, *_tuned(snapshot, choice), *floor)
    return Sized(((choice, replicas),), replicas, feasible, (*(x.why for x in loads), *said), needed=sizing.replicas)


def _tuned(snapshot: Snapshot, choice: Choice) -> tuple[str, ...]:
    """What is said of a kind's speed, where it is not the one that was declared."""
    said = speed(snapshot, choice).why
    return (said,) if said else ()


def _holds(snapshot: Snapshot, loads: list[ClassLoad], names: str) -> Verdict:
    if loads and not any(promises(snapshot.classes[x.name]) for x in loads):
        return _verdict("True", Reason.NO_OBJECTIVE, f"no class promises a latency: sized for throughput on {names}")
    return _verdict("True", Reason.FEASIBLE, f"every objective can be met on {names}")


def _infeasible(snapshot: Snapshot, loads: list[ClassLoad], misses: list[tuple[Infeasible, Choice]]) -> Sized:
    """Nothing can meet the objectives: the pool is sized for throughput, where it is or on what comes nearest, and says what can be met."""
    spec = snapshot.spec
    miss, nearest = min(misses, key=lambda m: m[0].best_target_s / m[0].target_s)
    best, load = miss.best, next(x.load for x in loads if x.name == miss.name)
    loaded = sum(x.load.requests_per_s for x in loads) > 0.0
    message = (
        f"class {miss.name}: {miss.metric} {format_duration(miss.target_s)} cannot be met: one idle {choice_name(nearest)} replica needs"
        f" {best} for {load.input_tokens:.0f} input and {load.output_tokens:.0f} output tokens."
        f" {raise_target(miss, _way(snapshot, loads, nearest) if loaded else None, spec.scaling.max_replicas)}"
    )
    before = decided(snapshot)
    used = max((c for _, c in misses), key=lambda c: before.get(choice_name(c), 0))
    choice = used if before.get(choice_name(used)) else nearest
    sizing = _sizing(snapshot, demanded(snapshot, loads, promised=False), choice)
    replicas = min(max(sizing.replicas, spec.scaling.min_replicas), spec.scaling.max_replicas)
    why = (*(x.why for x in loads), message, f"sized for throughput instead: {replicas} replicas of {choice_name(choice)}")
    verdict = _verdict("False", Reason.OBJECTIVE_BELOW_SERVICE_TIME, message)
    return Sized(((choice, replicas),), replicas, verdict, why, needed=sizing.replicas)


def _way(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice) -> Way:
    """What replicas of a kind that misses a promise can hold of this load."""
    most, wanted = snapshot.spec.scaling.max_replicas, demanded(snapshot, loads)
    return way(wanted, lambda classes: counted_kind(snapshot, classes, choice), router_of(snapshot), most)


def _verdict(status: Literal["True", "False", "Unknown"], reason: Reason, message: str) -> Verdict:
    return Verdict(type=Type.SLO_FEASIBLE, status=status, reason=reason, message=message)

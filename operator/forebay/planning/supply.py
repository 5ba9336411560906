"""Whether replicas that were asked for will come, and what is done about those that will not.

One that has waited no longer than replicas of its variant take is counted on as a whole: the same lack is never ordered twice. One that is
on a node and overdue counts by the probability that it is ready before a replica that is asked for now would be; the rest is ordered once
more. One that has found no node for much longer than a whole start takes is not coming: its variant is unavailable for a while, twice as
long each time, and another variant is tried. All waiting is counted from when the planner began to look without a break.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from forebay.api.inference_pool import Accelerator, Profile
from forebay.planning.limits import replicas_per_node
from forebay.planning.memory import Memory, Unavailable
from forebay.planning.snapshot import PodView, Snapshot
from forebay.planning.starts import SLOWEST, lead_of, lead_time_s, quantile, started
from forebay.planning.variants import preferred_profile, wanted_variants

PRIOR_WEIGHT = 1.0
"""The prior counts as so many starts."""
LATE = 1.5
LATE_S = 30.0
"""A replica is overdue once it waits for so many times the slowest of nine in ten starts, and so many seconds longer at least."""
PATIENCE = 2.0
MIN_PATIENCE_S = 180.0
"""A replica may be without a node for so many times a whole start, and at least as long as a cloud takes to boot a node."""
FIRST_AWAY_S = 600.0
MAX_AWAY_S = 3600.0


def ready_within(times: Collection[float], waited_s: float, within_s: float) -> float:
    """Probability that a replica which has waited for so long is ready within so many seconds more, given how long others took.

    The share of those that took longer than it has waited, and no longer than then, with a prior whose median is their lead time L, and
    whose tail is so heavy that hope fades slowly: of S(t) = L / (L + t) comes `within / (L + waited + within)`.
    """
    lead_s = quantile(tuple(times), SLOWEST) if times else lead_time_s(Memory())
    longer = [t for t in times if t > waited_s]
    came = sum(t <= waited_s + within_s for t in longer)
    prior = within_s / (lead_s + waited_s + within_s) if within_s > 0 else 0.0
    return (came + PRIOR_WEIGHT * prior) / (len(longer) + PRIOR_WEIGHT)


def waited_s(snapshot: Snapshot, pod: PodView) -> float:
    """How long a replica was seen to wait."""
    since = snapshot.memory.looking_since
    return max(0.0, snapshot.now - max(pod.created_at, since if since is not None else snapshot.now))


@dataclass(frozen=True, slots=True)
class Replacements:
    """Replicas to have beside those that are overdue, and why."""

    replicas: int
    why: tuple[str, ...] = ()


def replacements(snapshot: Snapshot, names: Collection[str], wanted: int, room: int) -> Replacements:
    """What is ordered once more for replicas of these variants that have a node and are overdue.

    At most what is lacking now, and for what there is `room`: where the replacements do not come either, nothing is ordered for them.
    """
    if any(d.rolling for d in snapshot.deployments if d.variant in names):
        return Replacements(0)
    within_s, late, missing = lead_of(snapshot), [], 0.0
    mine = [p for p in snapshot.pods if p.variant in names and not p.deleting]
    for pod in _starting(snapshot):
        times = snapshot.memory.starts.get(pod.variant, {}).get("ready", ())
        if pod.variant not in names or not pod.node or not times:
            continue
        waited = waited_s(snapshot, pod)
        usual_s = quantile(times, SLOWEST)
        if waited > max(LATE * usual_s, usual_s + LATE_S):
            late.append(pod.name)
            missing += 1.0 - ready_within(times, waited, within_s)
    count = max(0, min(round(missing), wanted - sum(p.ready for p in mine)))
    if not count:
        return Replacements(0)
    expected = len(late) - missing
    hoped = f"{expected:.2g} of {len(late)} are expected within {within_s:.0f} s"
    more = min(count, room)
    full = f"; maxReplicas leaves no room for {'the others' if more else 'another'}" if more < count else ""
    why = f"{named(late)} should be ready by now: {hoped}, {more or 'none'} asked for beside{full}"
    return Replacements(more, (why,))


def _starting(snapshot: Snapshot) -> list[PodView]:
    """Replicas that were never ready, those that wait longest first."""
    known = started(snapshot)
    pods = (p for p in snapshot.pods if not (p.ready or p.deleting or p.name in known))
    return sorted(pods, key=lambda p: (p.created_at, p.name))


def patience_s(snapshot: Snapshot, variant: str) -> float:
    """How long a replica of the variant may be without a node before it counts as not coming."""
    return max(MIN_PATIENCE_S, PATIENCE * lead_time_s(snapshot.memory, (variant,)))


def stuck(snapshot: Snapshot) -> dict[str, list[str]]:
    """Replicas without a node that are not coming, by variant. Nodes that the cloud has granted are for those that wait longest."""
    waiting: dict[str, list[PodView]] = {}
    for pod in _starting(snapshot):
        if not pod.node:
            waiting.setdefault(pod.variant, []).append(pod)
    found = {}
    for variant, pods in sorted(waiting.items()):
        without = pods[_granted(snapshot, variant) :]
        late = [p.name for p in without if waited_s(snapshot, p) > patience_s(snapshot, variant)]
        if late:
            found[variant] = late
    return found


def _granted(snapshot: Snapshot, name: str) -> int:
    """Replicas of a variant that nodes can take which are granted and have not joined yet."""
    known = (v for choice in preferred_profile(snapshot.spec) for v in wanted_variants(snapshot.spec, choice))
    variant = next((v for v in known if v.name == name), None)
    if variant is None:
        return 0
    nodes = sum(c.coming and c.capacity_type == variant.capacity_type for c in snapshot.node_claims)
    return nodes * replicas_per_node(snapshot.spec, variant)


def marked(snapshot: Snapshot) -> dict[str, Unavailable]:
    """The memory of variants that did not come, with what this snapshot shows. Marking twice changes nothing."""
    now, late, found = snapshot.now, stuck(snapshot), {}
    for variant, known in snapshot.memory.unavailable.items():
        came = any(p.variant == variant and p.node and p.scheduled_at is not None and p.scheduled_at > known.since for p in snapshot.pods)
        if not came and now <= known.until + MAX_AWAY_S:
            found[variant] = known
    for variant, names in late.items():
        before = found.get(variant)
        if before is None or before.until <= now:
            times = before.times + 1 if before else 1
            away_s = min(MAX_AWAY_S, FIRST_AWAY_S * 2.0 ** (times - 1))
            reason = f"{named(names)} found no node within {patience_s(snapshot, variant):.0f} s"
            found[variant] = Unavailable(since=now, until=now + away_s, times=times, reason=reason)
    return found


def unavailable_variants(snapshot: Snapshot) -> dict[str, str]:
    """Variants whose nodes did not come and that are not to be asked for now, with the reason."""
    return {variant: known.reason for variant, known in marked(snapshot).items() if known.until > snapshot.now}


def gone(snapshot: Snapshot) -> list[tuple[Accelerator, Profile]]:
    """Profiles of which no variant can be had, while there is another one that can."""
    away = unavailable_variants(snapshot)
    choices = preferred_profile(snapshot.spec)
    without = [c for c in choices if all(v.name in away for v in wanted_variants(snapshot.spec, c))]
    return without if len(without) < len(choices) else []


def supply_why(snapshot: Snapshot) -> tuple[str, ...]:
    """A sentence for each variant that is not asked for."""
    away = {v: known for v, known in snapshot.memory.unavailable.items() if known.until > snapshot.now}
    return tuple(
        f"{variant} is unavailable: {known.reason}; it is tried again in {known.until - snapshot.now:.0f} s"
        for variant, known in away.items()
    )


def named(names: list[str], most: int = 3) -> str:
    """The first few of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

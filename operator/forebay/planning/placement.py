"""Which replicas stand on spot and which on on-demand nodes, within limits that are never exceeded.

Spot that is about to go is replaced at once beside what still runs. Replicas that are no longer wanted go one by one as the wanted become
ready (make before break), unless the limits leave no room for both; so do those of one kind of which fewer are wanted because others come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from forebay.api.conditions import Reason, Type
from forebay.api.inference_pool import NodeLimits
from forebay.planning.advice import limits_for
from forebay.planning.decision import Verdict
from forebay.planning.interruption import doomed
from forebay.planning.limits import NOTHING, Bill, bill
from forebay.planning.room import blocked
from forebay.planning.snapshot import ON_DEMAND, SPOT, DeploymentView, Share, Snapshot
from forebay.planning.split import Lot, Split, Splits, Supply, first_of, patience_s, split, spot_held_until, spot_share, summed, supply
from forebay.planning.supply import named, stuck
from forebay.planning.variants import Variant, existing_variant
from forebay.planning.workload import MAX_SURGE


@dataclass(frozen=True, slots=True)
class Placed:
    """A split that respects the limits.

    `counts` are replicas by variant, those included that stay until others are ready. `old` holds the replicas to keep of Deployments that
    are no longer wanted, `surge` how many more of a variant a new template may bring up beside the old ones, `bill` what all of it takes.
    """

    split: Split
    counts: dict[str, int]
    replicas: int
    spot_hold_until: float
    bill: Bill
    verdict: Verdict
    old: dict[str, int] = field(default_factory=dict)
    surge: dict[str, int] = field(default_factory=dict)
    why: tuple[str, ...] = ()

    def of(self, variant: Variant) -> int:
        return self.counts.get(variant.name, 0)


@dataclass(frozen=True, slots=True)
class _Leftover:
    """Replicas of a Deployment that are more than is wanted of it."""

    deployment: DeploymentView
    replicas: int
    variant: Variant


@dataclass(frozen=True, slots=True)
class _Room:
    """What a decision may use: the wanted lots, and what is there beyond them."""

    snapshot: Snapshot
    lots: tuple[Lot, ...]
    there: tuple[Supply, ...]
    leftovers: tuple[_Leftover, ...]

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(v for lot in self.lots for v in lot.variants)

    def counts(self, of: Splits, old: int) -> dict[str, int]:
        """Replicas by variant, with what stays of it beyond what is wanted."""
        wanted = {v.name: s.of(v.capacity_type) for lot, s in zip(self.lots, of, strict=True) for v in lot.variants}
        kept = self.kept(old)
        for left in self.leftovers:
            if left.deployment.variant in wanted:
                wanted[left.deployment.variant] += kept[left.deployment.name]
        return wanted

    def bill(self, of: Splits, old: int = 0) -> Bill:
        spec, counts, kept = self.snapshot.spec, self.counts(of, old), self.kept(old)
        total = sum((bill(spec, v, counts[v.name]) for v in self.variants), NOTHING)
        gone = (left for left in self.leftovers if left.deployment.variant not in counts)
        return sum((bill(spec, left.variant, kept[left.deployment.name]) for left in gone), total)

    def kept(self, old: int) -> dict[str, int]:
        """So many replicas of the leftovers, one Deployment after the other."""
        result = {}
        for left in self.leftovers:
            result[left.deployment.name] = min(left.replicas, old)
            old -= result[left.deployment.name]
        return result

    def fits(self, of: Splits, old: int) -> bool:
        limits = self.snapshot.spec.capacity.nodes.limits
        return limits.unset or self.bill(of, old).within(limits)

    def has_gpus(self, of: Splits, old: int) -> bool:
        """The same where only GPUs can be counted; what cannot be counted at all is let be."""
        limit, gpus = self.snapshot.spec.capacity.nodes.limits.gpus, self.bill(of, old).gpus
        return limit is None or gpus is None or gpus <= limit

    def split(self, replicas: int) -> Splits:
        return split(self.snapshot, self.there, first_of(self.lots, replicas))

    def lighter(self, replicas: int) -> list[Splits]:
        """The split of so many replicas, and the same without replacements beside what is doomed."""
        full, lots = self.split(replicas), first_of(self.lots, replicas)
        plain = tuple(_plain(s, lot.replicas) for s, lot in zip(full, lots, strict=True))
        return [full] if plain == full else [full, plain]


def _plain(full: Split, replicas: int) -> Split:
    spot = max(0, full.spot - max(0, full.total - replicas))
    return Split(replicas - spot, spot) if full.total > replicas else full


def place(snapshot: Snapshot, lots: tuple[Lot, ...], rolling: frozenset[str] = frozenset()) -> Placed:
    """The split of these lots, or of as many replicas as the limits allow. `rolling` names variants whose template is being replaced."""
    there, replicas = tuple(supply(snapshot, lot.variants) for lot in lots), sum(lot.replicas for lot in lots)
    whole = _Room(snapshot, lots, there, _leftovers(snapshot, lots, there))
    coming = _coming(whole, replicas)
    room = replace(whole, leftovers=_leftovers(snapshot, coming, there))
    old = _to_keep(room, coming)
    nothing: Splits = tuple(Split() for _ in lots)
    limits, each = snapshot.spec.capacity.nodes.limits, tuple(Split(1, int(len(lot.variants) > 1)) for lot in lots)
    if not limits.unset and room.bill(each).unknown(limits):
        while old and not room.has_gpus(nothing, old):
            old -= 1
        count, result, verdict = _frozen(room, replicas, old)
    else:
        asked = whole.bill(whole.lighter(replicas)[-1], _to_keep(whole, lots))
        old = _beside(room, coming, old)
        count, result, verdict = _within(room, replicas, old, asked)
    wanted = {v.name for v in room.variants}
    kept = {name: n for name, n in room.kept(old).items() if next(d.variant for d in snapshot.deployments if d.name == name) not in wanted}
    surge, hold = _surge(room, result, old, rolling), spot_held_until(snapshot, there)
    why = _why(snapshot, there, count, summed(result))
    return Placed(summed(result), room.counts(result, old), count, hold, room.bill(result, old), verdict, kept, surge, why)


def bills(snapshot: Snapshot, lots: tuple[Lot, ...], counts: Sequence[int]) -> list[Bill]:
    """What so many replicas of these lots would take, the first ones first, for each of the counts."""
    room = _Room(snapshot, lots, tuple(supply(snapshot, lot.variants) for lot in lots), ())
    return [room.bill(room.split(count)) for count in counts]


def _leftovers(snapshot: Snapshot, lots: tuple[Lot, ...], there: tuple[Supply, ...]) -> tuple[_Leftover, ...]:
    """Replicas of variants that are no longer wanted; and of those of which fewer are wanted, while another kind is not ready yet."""
    variants = {v.name: v for lot in lots for v in lot.variants}
    full = split(snapshot, there, lots)
    wanted = {v.name: s.of(v.capacity_type) for lot, s in zip(lots, full, strict=True) for v in lot.variants}
    unready = [max(0, lot.replicas - own.ready) for lot, own in zip(lots, there, strict=True)]
    waits = {v.name: sum(unready) > own for lot, own in zip(lots, unready, strict=True) for v in lot.variants}
    late, first, found = stuck(snapshot), lots[0].variants[0], []
    for d in snapshot.deployments:
        # Those that are not coming are released at once: nothing is lost with them.
        coming = max(0, d.replicas - len(late.get(d.variant, ())))
        if d.variant not in variants:
            found.append(_Leftover(d, coming, existing_variant(snapshot.spec, d, first)))
        elif waits[d.variant] and coming > wanted[d.variant]:
            found.append(_Leftover(d, coming - wanted[d.variant], variants[d.variant]))
    return tuple(found)


def _coming(room: _Room, replicas: int) -> tuple[Lot, ...]:
    """The lots as far as the limits let them in: what they never let in is not waited for. All of them where that is none."""
    limits = room.snapshot.spec.capacity.nodes.limits
    if limits.unset or room.bill(room.split(replicas)).unknown(limits):
        return room.lots
    allowed, _ = _most(room, replicas, 0)
    return first_of(room.lots, allowed) if allowed else room.lots


def _to_keep(room: _Room, coming: tuple[Lot, ...]) -> int:
    """Replicas that are no longer wanted and stay: one for each wanted one that is not ready, or as large a share of them, for kinds differ
    in what one holds. One fewer at a time where the wanted wait for their room.
    """
    there, names = sum(left.replicas for left in room.leftovers), {v.name for v in room.variants}
    replicas = sum(lot.replicas for lot in coming)
    unready = sum(max(0, lot.replicas - own.ready) for lot, own in zip(coming, room.there, strict=True))
    old = min(there, max(unready, math.ceil(there * unready / replicas))) if replicas else 0
    moving = any(p.deleting or (p.variant in names and p.node and not p.ready) for p in room.snapshot.pods)
    return min(old, there - 1) if old and not moving and blocked(room.snapshot, room.variants, names) else old


def _beside(room: _Room, coming: tuple[Lot, ...], old: int) -> int:
    """Replicas that are no longer wanted and may stay: as many as leave room for one more of those that are coming than answer."""
    if room.snapshot.spec.capacity.nodes.limits.unset:
        return old
    ready = sum(min(lot.replicas, own.ready) for lot, own in zip(coming, room.there, strict=True))
    more = room.lighter(min(ready + 1, sum(lot.replicas for lot in coming)))[-1]
    first = more if room.fits(more, 0) else tuple(Split() for _ in room.lots)
    while old and not room.fits(first, old):
        old -= 1
    return old


def _frozen(room: _Room, replicas: int, old: int) -> tuple[int, Splits, Verdict]:
    """What cannot be held against a limit does not grow: neither the count nor what is there of it."""
    accelerator, names = room.variants[0].accelerator, {v.name for v in room.variants}
    existing = sum(d.replicas for d in room.snapshot.deployments if d.variant in names)
    name = accelerator.name if accelerator else "an accelerator: list it"
    message = f"nodes.limits cannot be checked: set usdPerHour of {name}. Until then the pool does not grow"
    verdict = _budget("Unknown", Reason.PRICE_UNKNOWN, message)
    for count in range(min(replicas, existing), 0, -1):
        for result in room.lighter(count):
            if summed(result).total <= existing and room.has_gpus(result, old):
                return count, result, verdict
    return 0, tuple(Split() for _ in room.lots), verdict


def _within(room: _Room, replicas: int, old: int, asked: Bill) -> tuple[int, Splits, Verdict]:
    """As many as the limits allow: rather without replacements beside what is doomed than with fewer replicas.

    `asked` is what all that are wanted would take, beside what stays until they are ready.
    """
    limits = room.snapshot.spec.capacity.nodes.limits
    if limits.unset:
        return replicas, room.split(replicas), _budget("True", Reason.WITHIN_LIMITS, "no limits are set")
    count, result = _most(room, replicas, old)
    if count < replicas and (shared := "; ".join(share.why for share in room.snapshot.shares if share.why)):
        message = f"{replicas} replicas are wanted; its share ({limits}) allows {count}. {shared}"
        return count, result, _budget("True", Reason.SHARED_LIMIT, message)
    if count < replicas:
        message = f"{replicas} replicas are wanted; limits ({limits}) allow {count}."
        enough = limits_for(asked, limits)
        message += f" Raise nodes.limits{f' to {enough}' if enough else ''}, or accept missed objectives"
    elif result != room.split(count):
        message = f"limits ({limits}) leave no room beside replicas that are about to go: they are replaced once they are gone"
    else:
        return count, result, _budget("True", Reason.WITHIN_LIMITS, f"within {limits}{_left_by(room.snapshot.shares, limits)}")
    return count, result, _budget("True", Reason.LIMITED, message)


def _left_by(shares: tuple[Share, ...], limits: NodeLimits) -> str:
    """Which shared limits the pool's own were narrowed to: no file says these figures."""
    bounds = (limits.gpus, limits.usd_per_hour)
    binding = [s.limit for s in shares if any(b is not None and b == own for b, own in zip((s.gpus, s.usd_per_hour), bounds, strict=True))]
    return f", as much as others leave of shared limit {' and '.join(binding)}" if binding else ""


def _most(room: _Room, replicas: int, old: int) -> tuple[int, Splits]:
    """The largest count that fits, and its split. More replicas never take less, so half of what is left is ruled out at a time."""

    def fitting(count: int) -> Splits | None:
        return next((s for s in room.lighter(count) if room.fits(s, old)), None)

    best, high = 0, replicas + 1
    found: Splits = tuple(Split() for _ in room.lots)
    count = replicas
    while best < count < high:
        if (result := fitting(count)) is not None:
            best, found = count, result
        else:
            high = count
        count = (best + high) // 2
    return best, found


def _budget(status: Literal["True", "Unknown"], reason: Reason, message: str) -> Verdict:
    return Verdict(type=Type.BUDGET_RESPECTED, status=status, reason=reason, message=message)


def _surge(room: _Room, of: Splits, old: int, rolling: frozenset[str]) -> dict[str, int]:
    """Replicas that new templates may bring up beside the old ones; none where the limits leave no room."""
    counts = room.counts(of, 0)
    surge = {v.name: math.ceil(MAX_SURGE * counts[v.name]) for v in room.variants if v.name in rolling}
    if not surge:
        return {}
    more = tuple(
        s + Split(*(sum(surge.get(v.name, 0) for v in lot.variants if v.capacity_type == ct) for ct in (ON_DEMAND, SPOT)))
        for lot, s in zip(room.lots, of, strict=True)
    )
    return surge if room.fits(more, old) else {}


def _why(snapshot: Snapshot, there: Sequence[Supply], replicas: int, result: Split) -> tuple[str, ...]:
    why, capacity = [], snapshot.spec.capacity
    if capacity.spot.enabled:
        share, bound = spot_share(snapshot)
        base = min(capacity.on_demand.base_replicas, replicas)
        why.append(f"spot share {share:g} by {bound}, base {base}: {result.on_demand} on-demand + {result.spot} spot")
        if overdue := sum(own.spot_overdue for own in there):
            why.append(f"{overdue} spot replicas did not come within {patience_s(snapshot):.0f} s: on-demand stands in")
        if (held := spot_held_until(snapshot, there) - snapshot.now) > 0:
            why.append(f"spot is tried again in {held:.0f} s")
    reasons: dict[str, list[str]] = {}
    for name, reason in sorted(doomed(snapshot).items()):
        reasons.setdefault(reason, []).append(name)
    return (*why, *(f"replaced now: {named(names)}: {reason}" for reason, names in reasons.items()))

"""Which of a pool's replicas stand on spot: kind by kind, within one share of all of them.

Spot goes first to the kinds that save most by it. Spot that does not come is made up by on-demand until it is tried again; on-demand that
stands in for spot goes only when spot is ready.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from forebay.api.pool_capacity import Capacity
from forebay.planning.interruption import doomed
from forebay.planning.limits import replicas_per_node
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType, Snapshot
from forebay.planning.starts import lead_of, started
from forebay.planning.supply import waited_s
from forebay.planning.variants import Variant, choice_name

MIN_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Lot:
    """Replicas of one kind: its variants, one per capacity type, and how many there are to be of them together."""

    variants: tuple[Variant, ...]
    replicas: int

    @property
    def name(self) -> str:
        """Of the kind; empty where there is no profile."""
        first = self.variants[0]
        return choice_name((first.accelerator, first.profile)) if first.accelerator and first.profile else ""


def first_of(lots: Sequence[Lot], replicas: int) -> tuple[Lot, ...]:
    """So many replicas: all of the first lots, and what is left of the next."""
    found = []
    for lot in lots:
        found.append(Lot(lot.variants, min(lot.replicas, replicas)))
        replicas -= found[-1].replicas
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Split:
    """Replicas per capacity type, with what is doomed already made up for."""

    on_demand: int = 0
    spot: int = 0

    def __add__(self, other: Split) -> Split:
        return Split(self.on_demand + other.on_demand, self.spot + other.spot)

    @property
    def total(self) -> int:
        return self.on_demand + self.spot

    def of(self, capacity_type: CapacityType) -> int:
        return self.spot if capacity_type == SPOT else self.on_demand


Splits = tuple[Split, ...]
"""One for each lot."""


def summed(splits: Splits) -> Split:
    return sum(splits, Split())


@dataclass(frozen=True, slots=True)
class Supply:
    """What there is of one kind, counted once. Replicas that are doomed or being deleted count only as such."""

    doomed: dict[CapacityType, int]
    spot_arrived: int
    spot_ready: int
    spot_overdue: int
    on_demand: int
    ready: int


def patience_s(snapshot: Snapshot) -> float:
    """How long a spot replica may be without a node before on-demand stands in."""
    return max(MIN_PATIENCE_S, 2 * lead_of(snapshot)) if snapshot.memory.start_times_s else 2 * MIN_PATIENCE_S


def supply(snapshot: Snapshot, variants: tuple[Variant, ...]) -> Supply:
    """Counts pods and Deployments of these variants."""
    names, lost, known = {v.name for v in variants}, doomed(snapshot), started(snapshot)
    pods = [p for p in snapshot.pods if p.variant in names and not p.deleting]
    alive = [p for p in pods if p.name not in lost]
    spot = [p for p in alive if p.capacity_type == SPOT]
    waiting = [p for p in spot if not (p.node or p.ready or p.name in known)]
    coming = _coming(snapshot, variants)
    return Supply(
        doomed={ct: sum(p.capacity_type == ct and p.name in lost for p in pods) for ct in (ON_DEMAND, SPOT)},
        spot_arrived=len(spot) - max(0, len(waiting) - coming),
        spot_ready=sum(p.ready for p in spot),
        spot_overdue=max(0, sum(waited_s(snapshot, p) > patience_s(snapshot) for p in waiting) - coming),
        on_demand=sum(d.replicas for d in snapshot.deployments if d.variant in names and d.capacity_type == ON_DEMAND),
        ready=sum(p.ready for p in alive),
    )


def _coming(snapshot: Snapshot, variants: tuple[Variant, ...]) -> int:
    """Spot replicas whose nodes the cloud has granted, though they have not joined yet."""
    of = next((v for v in variants if v.capacity_type == SPOT), None)
    if of is None:
        return 0
    pools = {of.node_pool_name(snapshot.pool)} if of.accelerator else set()
    nodes = sum(c.coming and c.capacity_type == SPOT and (c.node_pool in pools or not pools) for c in snapshot.node_claims)
    return nodes * replicas_per_node(snapshot.spec, of)


def spot_share(snapshot: Snapshot) -> tuple[float, str]:
    """The stricter of the pool's and its classes' bounds, and which one it is."""
    shares = [(snapshot.spec.capacity.spot.max_share, "the pool's spot.maxShare")]
    shares += [(c.capacity.max_spot_share, f"class {name}'s maxSpotShare") for name, c in sorted(snapshot.classes.items())]
    return min(shares, key=lambda s: s[0])


def most_spot(snapshot: Snapshot, replicas: int) -> int:
    """How many of so many replicas may stand on spot."""
    return most_spot_of(snapshot.spec.capacity, spot_share(snapshot)[0], replicas)


def most_spot_of(capacity: Capacity, share: float, replicas: int) -> int:
    """The same where the share is known."""
    if not capacity.spot.enabled:
        return 0
    base = min(capacity.on_demand.base_replicas, replicas)
    return min(math.floor(replicas * share + 1e-9), replicas - base)


def on_spot(lots: Sequence[tuple[tuple[Variant, ...], int]], most: int) -> list[int]:
    """How many of each lot stand on spot, of so many together: first of those that save most by it, then of those listed first."""
    found = [0] * len(lots)
    for place in savers([variants for variants, _ in lots]):
        found[place] = min(lots[place][1], most)
        most -= found[place]
    return found


def savers(lots: Sequence[tuple[Variant, ...]]) -> list[int]:
    """Places of the lots, first of those that save most by spot, then of those listed first."""
    return sorted(range(len(lots)), key=lambda i: (-_saving(lots[i]), i))


def _saving(variants: tuple[Variant, ...]) -> float:
    """Dollars per hour that a node on spot saves; 0 where a price is unknown."""
    prices = {v.capacity_type: v.usd_per_node_hour for v in variants}
    on_demand, spot = prices.get(ON_DEMAND), prices.get(SPOT)
    return 0.0 if on_demand is None or spot is None else on_demand - spot


def spot_held_until(snapshot: Snapshot, there: Sequence[Supply]) -> float:
    """Until when no more spot is asked for; a moment that has passed where it may be."""
    spot = snapshot.spec.capacity.spot
    if not spot.enabled:
        return 0.0
    # A returnAfter that was shortened counts at once.
    latest = snapshot.now + spot.return_after
    return latest if any(s.spot_overdue for s in there) else min(snapshot.memory.spot_hold_until, latest)


def split(snapshot: Snapshot, there: Sequence[Supply], lots: Sequence[Lot]) -> Splits:
    """Divides the replicas of each lot between capacity types."""
    counts = [(lot.variants, lot.replicas) for lot in lots]
    most = most_spot(snapshot, sum(lot.replicas for lot in lots))
    if spot_held_until(snapshot, there) > snapshot.now:
        counts = [(lot.variants, min(lot.replicas, own.spot_arrived)) for lot, own in zip(lots, there, strict=True)]
    return tuple(_split(lot.replicas, spot, own) for lot, spot, own in zip(lots, on_spot(counts, most), there, strict=True))


def _split(replicas: int, spot: int, there: Supply) -> Split:
    on_demand = max(replicas - spot, min(there.on_demand, replicas - min(there.spot_ready, spot)))
    # No more than there should be is replaced: where new replicas land on doomed nodes too, this ends it.
    return Split(on_demand + min(there.doomed[ON_DEMAND], replicas), spot + min(there.doomed[SPOT], replicas))

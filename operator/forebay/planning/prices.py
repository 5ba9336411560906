"""What a mix costs: dollars per hour with its share on spot and whole nodes as they are paid; or, without prices, the list's order."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from forebay.api.inference_pool import Backend
from forebay.planning.limits import NOTHING, Bill, bill, units_per_node
from forebay.planning.mix import Counts
from forebay.planning.snapshot import ON_DEMAND, SPOT, CapacityType, Snapshot
from forebay.planning.split import most_spot_of, savers, spot_share
from forebay.planning.variants import Choice, Variant, wanted_variants

_LATER = 1e4
"""Without prices one replica of a kind counts as so many of the kind that is listed before it."""


@dataclass(frozen=True)
class PriceList:
    """Prices of mixes of these kinds, within the pool's limits or not. A search asks for the same hundreds of times."""

    snapshot: Snapshot
    choices: tuple[Choice, ...]
    limited: bool = True
    _known: dict[Counts, float] = field(default_factory=dict)
    _bills: dict[tuple[int, int, int], Bill] = field(default_factory=dict)

    @cached_property
    def variants(self) -> list[tuple[Variant, ...]]:
        return [wanted_variants(self.snapshot.spec, choice) for choice in self.choices]

    @cached_property
    def in_dollars(self) -> bool:
        """Whether every price that can count is known."""
        spot = self._most_spot(self.snapshot.spec.scaling.max_replicas) > 0
        return all(v.usd_per_node_hour is not None for lot in self.variants for v in lot if spot or v.capacity_type != SPOT)

    @cached_property
    def each(self) -> tuple[float, ...]:
        """What a replica of each kind costs at least: no mix is cheaper than the sum.

        A share of all must stand on demand, and costs at least the smallest difference to spot more: each bears its part of that.
        """
        if not self.in_dollars:
            return tuple(_LATER**place for place in range(len(self.choices)))
        shares = [{v.capacity_type: self._share(v) for v in lot if v.usd_per_node_hour is not None} for lot in self.variants]
        least = [min(lot.values()) for lot in shares]
        more = min(lot.get(ON_DEMAND, low) - low for lot, low in zip(shares, least, strict=True))
        return tuple(low + (1.0 - self._spot_share) * more for low in least)

    def least(self, total: int) -> float:
        """What so many replicas or more cost at least, of whatever kinds: a node of each capacity type in use, or their shares."""
        if not self.in_dollars or total <= 0:
            return 0.0
        spot = self._most_spot(total)
        return self._least_on(SPOT, spot) + self._least_on(ON_DEMAND, total - spot)

    def _least_on(self, capacity_type: CapacityType, replicas: int) -> float:
        if replicas <= 0:
            return 0.0
        there = [v for lot in self.variants for v in lot if v.capacity_type == capacity_type]
        per_replica = min(self._share(v) for v in there)
        whole = self.snapshot.spec.capacity.nodes.backend == Backend.KARPENTER
        return max(replicas * per_replica, min(v.usd_per_node_hour or 0.0 for v in there) if whole else 0.0)

    def _share(self, variant: Variant) -> float:
        """A replica's share of its node."""
        units = units_per_node(self.snapshot.spec, variant) if variant.gpus else 1
        return (variant.usd_per_node_hour or 0.0) * max(variant.gpus, 1) / units

    def of(self, counts: Counts) -> float:
        """inf where the limits forbid it."""
        if counts not in self._known:
            self._known[counts] = self._of(counts)
        return self._known[counts]

    @cached_property
    def _savers(self) -> list[int]:
        """Kinds in the order in which they get spot."""
        return savers(self.variants)

    @cached_property
    def _spot_share(self) -> float:
        return spot_share(self.snapshot)[0]

    def _most_spot(self, replicas: int) -> int:
        return most_spot_of(self.snapshot.spec.capacity, self._spot_share, replicas)

    def _bill(self, place: int, number: int, replicas: int) -> Bill:
        key = place, number, replicas
        if key not in self._bills:
            self._bills[key] = bill(self.snapshot.spec, self.variants[place][number], replicas)
        return self._bills[key]

    def _of(self, counts: Counts) -> float:
        taken, most = [], self._most_spot(sum(counts))
        for place in self._savers:
            if replicas := counts[place]:
                on = min(replicas, most)
                most -= on
                for number, variant in enumerate(self.variants[place]):
                    if n := on if variant.capacity_type == SPOT else replicas - on:
                        taken.append(self._bill(place, number, n))
        limits = self.snapshot.spec.capacity.nodes.limits
        if self.limited and not limits.unset:
            whole = sum(taken, NOTHING)
            if not whole.unknown(limits) and not whole.within(limits):
                return inf
        dollars = [b.usd_per_hour for b in taken]
        if self.in_dollars and None not in dollars:
            return round(sum((d for d in dollars if d is not None), 0.0), 6)
        return sum(n * _LATER**place for place, n in enumerate(counts))

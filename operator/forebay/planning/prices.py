"""What a mix costs: dollars per hour with its share on spot and whole nodes as they are paid; or, without prices, the list's order."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from forebay.planning.limits import NOTHING, bill, units_per_node
from forebay.planning.mix import Counts
from forebay.planning.snapshot import SPOT, Snapshot
from forebay.planning.split import most_spot, on_spot
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

    @cached_property
    def variants(self) -> list[tuple[Variant, ...]]:
        return [wanted_variants(self.snapshot.spec, choice) for choice in self.choices]

    @cached_property
    def in_dollars(self) -> bool:
        """Whether every price that can count is known."""
        spot = most_spot(self.snapshot, self.snapshot.spec.scaling.max_replicas) > 0
        return all(v.usd_per_node_hour is not None for lot in self.variants for v in lot if spot or v.capacity_type != SPOT)

    @cached_property
    def each(self) -> tuple[float, ...]:
        """The least that one replica of each kind ever adds."""
        if not self.in_dollars:
            return tuple(_LATER**place for place in range(len(self.choices)))
        return tuple(min(self._share(v) for v in lot if v.usd_per_node_hour is not None) for lot in self.variants)

    def _share(self, variant: Variant) -> float:
        """A replica's share of its node."""
        units = units_per_node(self.snapshot.spec, variant) if variant.gpus else 1
        return (variant.usd_per_node_hour or 0.0) * max(variant.gpus, 1) / units

    def of(self, counts: Counts) -> float:
        """inf where the limits forbid it."""
        if counts not in self._known:
            self._known[counts] = self._of(counts)
        return self._known[counts]

    def _of(self, counts: Counts) -> float:
        spec, lots = self.snapshot.spec, list(zip(self.variants, counts, strict=True))
        spot = on_spot(lots, most_spot(self.snapshot, sum(counts)))
        taken = NOTHING
        for (variants, replicas), on in zip(lots, spot, strict=True):
            for v in variants:
                taken += bill(spec, v, on if v.capacity_type == SPOT else replicas - on)
        limits = spec.capacity.nodes.limits
        if self.limited and not taken.unknown(limits) and not taken.within(limits):
            return inf
        if self.in_dollars and taken.usd_per_hour is not None:
            return taken.usd_per_hour
        return sum(n * _LATER**place for place, n in enumerate(counts))

"""What befalls a fleet from outside: spot nodes that are taken away or cannot be had, and starts that never end.

Everything is drawn by a seed, and nothing is decided here: what is done about it is the operator's own business.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from math import inf

from forebay.simulation.replica import Replica
from forebay.simulation.run import STUCK, Run
from forebay.simulation.spot import SpotMarket
from forebay.simulation.spot_events import Change


@dataclass(frozen=True, slots=True)
class Fortune:
    """`spot_changes` is what a record says of spot nodes. Each lives for `spot_mean_life_s` on average, exponentially; inf is for ever.

    With `spot_zones` nodes are spread over so many zones, and all of a zone go together, as often as one alone would. It is announced
    `spot_notice_s` before a node goes. Of the starts `stuck_share` never end: every other one of these gets no node.
    """

    spot_changes: tuple[Change, ...] = ()
    spot_mean_life_s: float = inf
    spot_notice_s: float = 120.0
    spot_zones: int = 0
    stuck_share: float = 0.0

    @property
    def of_spot(self) -> bool:
        """Whether anything is said of spot nodes."""
        return bool(self.spot_changes) or self.spot_mean_life_s < inf


NOTHING = Fortune()


class _Stuck:
    """Starts that never end, on any kind of node."""

    def __init__(self, share: float, seed: int, run: Run) -> None:
        self._share, self._chance, self._run = share, random.Random(f"stuck {seed}"), run
        self._count = 0

    def fate(self, replica: Replica) -> None:
        if replica.ready_at <= replica.created_at or self._chance.random() >= self._share:
            return
        self._count += 1
        replica.ready_at = inf
        if self._count % 2:
            replica.node_at = replica.billed_at = inf
        self._run.note(STUCK, replica)


def befall(run: Run, fortune: Fortune, spot_variants: Collection[str], seed: int) -> None:
    """Lets it happen to the run, whose spot replicas are those of these variants."""
    stuck = _Stuck(fortune.stuck_share, seed, run)
    if not fortune.of_spot:
        run.fleet.fate = stuck.fate
        return
    market = SpotMarket(run, spot_variants, fortune.spot_notice_s, seed)

    def fate(replica: Replica) -> None:
        stuck.fate(replica)
        market.fate(replica)

    run.fleet.fate = fate
    market.follow(fortune.spot_changes)
    if fortune.spot_mean_life_s < inf:
        market.live(fortune.spot_mean_life_s, fortune.spot_zones)
    for replica in run.fleet.all:
        market.fate(replica)

"""What it costs to start a pool that sleeps again: the start itself, and the requests that wait for it where a miss has a price.

How many wait is learned. Gateways say what they hold for a pool while it wakes, and the most of each wake is remembered by class: where
somebody asks now and then it is one request, where traffic comes back at its full rate it is all that arrives while a replica starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from forebay.planning.coverage import next_replica
from forebay.planning.limits import replicas_per_node
from forebay.planning.memory import Rest
from forebay.planning.snapshot import Snapshot
from forebay.planning.starts import lead_of

MAX_WAKES = 20


@dataclass(frozen=True, slots=True)
class StartCost:
    """Seconds of an idle replica that a start costs, and of what they are made."""

    seconds: float
    why: str = ""

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s of a replica{self.why}"


def start_cost(snapshot: Snapshot, rest: Rest) -> StartCost:
    """Its own time, and the price of those who miss by waiting for it: as many as waited on average in earlier wakes, one at least."""
    start_s, replica = lead_of(snapshot), next_replica(snapshot)
    prices = {name: c.objectives.miss_usd_per_1k for name, c in snapshot.classes.items() if c.objectives and c.objectives.miss_usd_per_1k}
    if not prices or replica is None or not replica.usd_per_node_hour:
        return StartCost(start_s)
    usd_per_s = replica.usd_per_node_hour / max(1, replicas_per_node(snapshot.spec, replica)) / 3600.0
    usd = max(prices.values()) / 1000.0
    if rest.wakes:
        waited = {name: fmean(wake.get(name, 0) for wake in rest.wakes) for name in prices}
        usd = max(usd, sum(price * waited[name] / 1000.0 for name, price in prices.items()))
        by = f"the {sum(waited.values()):.3g} requests that waited in earlier wakes"
    else:
        by = "one request that waits"
    return StartCost(start_s + usd / usd_per_s, f", {start_s:.0f} s its own time, the rest by missUsdPer1k for {by}")


def waited(snapshot: Snapshot, rest: Rest) -> Rest:
    """The rest with what gateways hold for a pool while it wakes, and, once a replica is ready, with one more wake that is known.

    What is held for a pool that did not sleep says nothing of what sleeping costs.
    """
    held = snapshot.gateways.held if snapshot.gateways else {}
    if snapshot.ready:
        wakes = (*rest.wakes, rest.waiting)[-MAX_WAKES:] if rest.waiting else rest.wakes
        return rest.model_copy(update={"wakes": wakes, "waiting": {}})
    sleeps = snapshot.memory.target == 0 and all(p.deleting for p in snapshot.pods)
    before = {} if sleeps else rest.waiting
    if not sleeps and not before:
        return rest
    most = {name: max(before.get(name, 0), held.get(name, 0)) for name in sorted({*before, *held})}
    return rest.model_copy(update={"waiting": most})

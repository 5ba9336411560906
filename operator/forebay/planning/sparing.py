"""How rarely the router sends a request where a prompt waits or is computed, while another replica has none: from the sidecars' counts.

A router that pays no heed to prompts meets one as often as one is open, for arrivals see time averages. A gateway that sends each request
where the least prompts are open meets one only while all replicas have some. Several gateways, of which each knows its own, lie between, as
do answers that are not streamed: nobody sees when their prompts have been computed.
"""

from __future__ import annotations

from math import floor

from forebay.planning.demand import ClassLoad
from forebay.planning.memory import Sparing
from forebay.planning.profiles import speed
from forebay.planning.queueing import occupancy
from forebay.planning.router import unsettled
from forebay.planning.sharing import Router
from forebay.planning.snapshot import Snapshot
from forebay.planning.variants import Choice
from forebay.planning.work import dispersion_of, mixed_on

HORIZON_S = 3600.0
"""What was counted longer ago than this is forgotten."""

PRIOR = 10.0
"""Meetings that chance would have had, but for which nothing is believed of sparing."""

STEP = 0.05
"""What is believed goes in such steps, downwards, so that a size does not change by noise."""


def spared(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice | None, efficiency: float) -> Sparing | None:
    """The counts with what this measurement adds: meetings that could be avoided, and how many of them were."""
    known, demand = snapshot.memory.sparing, snapshot.demand
    told = demand.prompting if demand is not None else None
    if demand is None or told is None or not loads or choice is None or not snapshot.fresh or told.seconds <= 0.0:
        return known
    arrived = sum(c.requests_per_s for c in demand.classes.values()) * demand.window_s
    if told.arrivals <= 0.0 or arrived <= 0.0 or demand.replicas_reporting < 2 or unsettled(snapshot):
        return known
    before = known or Sparing()
    # A pool is looked at more often than it is measured, and windows overlap. After a clock that was set back counting begins anew.
    new_s = min(demand.window_s, demand.measured_at - before.at)
    if new_s <= 0.0:
        return before.model_copy(update={"at": demand.measured_at})
    open_share = min(1.0, told.open_seconds / told.seconds)
    avoidable = told.arrivals * max(0.0, open_share - _crowded(snapshot, loads, choice, efficiency))
    # Whose answer comes in one piece is not spared: nobody sees its prompt.
    avoided = (told.arrivals * open_share - told.met) * min(1.0, told.arrivals / arrived)
    new, kept = new_s / demand.window_s, max(0.0, 1.0 - new_s / HORIZON_S)
    return Sparing(
        avoidable=round(kept * before.avoidable + new * avoidable, 4),
        avoided=round(kept * before.avoided + (new * avoided if avoidable > 0.0 else 0.0), 4),
        at=demand.measured_at,
    )


def spares(known: Sparing | None) -> float:
    """The share of meetings that the router avoids, 0 to 1; 0 where little was counted."""
    share = known.avoided / (known.avoidable + PRIOR) if known is not None else 0.0
    return round(STEP * floor(min(1.0, max(0.0, share)) / STEP + 1e-9), 2)


def _crowded(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice, efficiency: float) -> float:
    """How often a request finds a prompt on every replica, whatever the router does; 1 where the replicas cannot keep up."""
    assert snapshot.demand is not None
    rate, replicas = sum(c.requests_per_s for c in snapshot.demand.classes.values()), snapshot.demand.replicas_reporting
    asked, engine = [load.load for load in loads], speed(snapshot, choice).engine
    router = Router(efficiency, spares=1.0)
    state = occupancy(mixed_on(asked, engine), engine, rate, replicas, router, dispersion=dispersion_of(asked))
    return state.crowded if state is not None else 1.0

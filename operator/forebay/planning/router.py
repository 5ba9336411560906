"""How evenly the router shares requests out, from what replicas have in flight: several gateways, or one that is blind, do it worse."""

from __future__ import annotations

from forebay.planning.burstiness import PRIOR_S, averaged, evenness
from forebay.planning.demand import ClassLoad
from forebay.planning.memory import Spread
from forebay.planning.profiles import speed
from forebay.planning.snapshot import Snapshot
from forebay.planning.variants import Choice
from forebay.planning.work import mixed_on

SETTLED_S = 120.0
"""A replica that became ready more recently has fewer requests than its share, whatever the router does."""


def routed(snapshot: Snapshot, loads: list[ClassLoad], choice: Choice | None) -> Spread | None:
    """The router's efficiency, 0 to 1, with what this measurement adds. None until there was one."""
    known, demand = snapshot.memory.router, snapshot.demand
    if (
        not loads
        or choice is None
        or demand is None
        or not snapshot.fresh
        or demand.in_flight_variance is None
        or demand.replicas_reporting < 2
    ):
        return known
    if unsettled(snapshot):
        return known
    mean = sum(c.in_flight + c.queued for c in demand.classes.values()) / demand.replicas_reporting
    work = mixed_on([load.load for load in loads], speed(snapshot, choice).engine)
    growth = sum(c.requests_per_s for c in demand.classes.values()) / demand.replicas_reporting * work.total_s
    sample = evenness(demand.in_flight_variance, mean, min(growth, 0.9))
    return averaged(known or Spread(value=1.0, seconds=PRIOR_S), sample, snapshot.settings.interval_s, least=0.0, most=1.0)


def unsettled(snapshot: Snapshot) -> bool:
    """Whether a replica has become ready too recently for the router to be judged by what it has."""
    ready = [p for p in snapshot.pods if p.ready and not p.deleting]
    return any(p.ready_at is not None and snapshot.now - p.ready_at < SETTLED_S for p in ready)

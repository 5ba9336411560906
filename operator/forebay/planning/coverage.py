"""Which quantile of demand to provide for: the one at which a replica too few costs as much as one too many.

The newsvendor's quantile is under / (under + over). A replica too few makes as many requests miss as it would have answered, each at the
price of its class; one too many costs what a replica costs (K. J. Arrow, T. Harris, J. Marschak, Optimal inventory policy, 1951).
"""

from __future__ import annotations

from dataclasses import dataclass

from forebay.planning.limits import replicas_per_node
from forebay.planning.memory import Shape
from forebay.planning.profiles import speed
from forebay.planning.queueing import service_rate, work_of
from forebay.planning.sizing import MOST_UTILISED
from forebay.planning.snapshot import ON_DEMAND, SPOT, Snapshot
from forebay.planning.variants import Variant, choice_name, preferred_profile
from forebay.planning.work import Load

UNPRICED = 0.9
LEAST, MOST = 0.5, 0.99


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of the time that demand is to stay under the bound that is provided for, and where that comes from."""

    share: float
    why: str = ""


def coverage(snapshot: Snapshot, name: str, shape: Shape) -> Coverage:
    """What the user fixed, else by cost, else UNPRICED."""
    fixed = snapshot.spec.scaling.forecast.coverage
    if fixed is not None:
        return Coverage(fixed)
    return by_cost(snapshot, name, shape) or Coverage(UNPRICED)


@dataclass(frozen=True, slots=True)
class Costs:
    """Dollars an hour: what a replica too few costs in misses, and what one too many costs."""

    under: float
    over: float


def costs(snapshot: Snapshot, name: str, shape: Shape) -> Costs | None:
    """Of a full replica, as fast as they were seen; None without a price."""
    objectives = snapshot.classes[name].objectives
    miss_usd = None if objectives is None or objectives.miss_usd_per_1k is None else objectives.miss_usd_per_1k / 1000.0
    replica = None if miss_usd is None else next_replica(snapshot)
    if miss_usd is None or replica is None or not (replica.accelerator and replica.profile) or replica.usd_per_node_hour is None:
        return None
    over = replica.usd_per_node_hour / max(1, replicas_per_node(snapshot.spec, replica))
    engine = speed(snapshot, (replica.accelerator, replica.profile)).engine
    each_rps = MOST_UTILISED * service_rate(engine, work_of(Load(0.0, shape.input_tokens, shape.output_tokens), engine))
    return Costs(miss_usd * each_rps * 3600.0, over)


def by_cost(snapshot: Snapshot, name: str, shape: Shape) -> Coverage | None:
    """What misses and replicas cost come to, whatever the user fixed; None without a price."""
    known = costs(snapshot, name, shape)
    if known is None:
        return None
    under, over = known.under, known.over
    share = min(MOST, max(LEAST, under / (under + over))) if under + over > 0.0 else UNPRICED
    why = f"a replica too few would cost ${under:.3g} an hour in misses, one too many ${over:.3g}"
    return Coverage(round(share, 3), why)


def next_replica(snapshot: Snapshot) -> Variant | None:
    """The kind that one more replica would be: of the profile of which most are in use, on spot where that is enabled and has a price."""
    choices = preferred_profile(snapshot.spec)
    if not choices:
        return None
    mix = snapshot.memory.mix
    used = max(choices, key=lambda c: mix.get(choice_name(c), 0))
    spot = snapshot.spec.capacity.spot.enabled and used[0].usd_per_hour.spot is not None
    return Variant(SPOT if spot else ON_DEMAND, *used)

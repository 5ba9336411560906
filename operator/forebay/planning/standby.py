"""Replicas that are ready beyond what the load needs: `scaling.warmStandby`.

Auto keeps what demand may rise by while a replica starts: the difference between the sizes for the forecast's highest bound and for what is
provisioned for anyway, which already covers the bound of `forecast.coverage`, the trend and the backlog. So nothing is counted twice; and
where a forecast is not believed, nothing is kept.
"""

from __future__ import annotations

from dataclasses import replace

from forebay.api.pool_scaling import AUTO
from forebay.planning.burstiness import at_rate
from forebay.planning.coverage import Coverage
from forebay.planning.demand import ClassLoad
from forebay.planning.memory import Shape
from forebay.planning.outlook import early_s, outlook
from forebay.planning.snapshot import Snapshot
from forebay.planning.starts import lead_of
from forebay.planning.target import Sized, size

HIGHEST = 0.99
"""The highest coverage that forecasts have a bound for."""


def with_standby(snapshot: Snapshot, loads: list[ClassLoad], sized: Sized) -> Sized:
    """The size with what is to be kept ready beside it, within maxReplicas."""
    scaling = snapshot.spec.scaling
    wished = scaling.warm_standby
    if sized.profile is None or not wished:
        return sized
    more, why = _rise(snapshot, loads, sized) if wished == AUTO else (wished, f"{wished} more than needed are to be ready")
    standby = max(0, min(more, scaling.max_replicas - sized.needed))
    replicas = max(sized.replicas, sized.needed + standby)
    bound = f", {standby} of them within maxReplicas" if standby < more else ""
    return replace(sized, replicas=replicas, standby=standby, why=(*sized.why, f"warmStandby: {why}{bound}: {replicas} replicas"))


def _rise(snapshot: Snapshot, loads: list[ClassLoad], sized: Sized) -> tuple[int, str]:
    """Replicas that are needed beyond the size if demand rises as far as it may, and the sentence that says so."""
    ahead_s = lead_of(snapshot) + snapshot.settings.interval_s
    higher = [_higher(snapshot, item, ahead_s) for item in loads]
    risen = size(snapshot, higher)
    asked, most = (sum(x.load.requests_per_s for x in of) for of in (loads, higher))
    more = max(0, risen.needed - sized.needed) if risen.profile == sized.profile else 0
    return (
        more,
        f"Auto keeps {more}, for {most:.3g} requests/s in {ahead_s:.0f} s with coverage {HIGHEST:g} where {asked:.3g} are provisioned for",
    )


def _higher(snapshot: Snapshot, item: ClassLoad, ahead_s: float) -> ClassLoad:
    """A class's load at the forecast's highest bound; unchanged where no forecast is believed."""
    if item.expected is None or not item.expected.trusted:
        return item
    shape = Shape(input_tokens=item.load.input_tokens, output_tokens=item.load.output_tokens)
    mode = snapshot.spec.scaling.forecast.mode
    now = snapshot.now + early_s(snapshot.pool)
    bound = outlook(snapshot.memory.forecasts.get(item.name), shape, mode, Coverage(HIGHEST), now, ahead_s)
    rate = max(item.load.requests_per_s, bound.requests_per_s if bound else 0.0)
    clumping = at_rate(snapshot.memory.dispersion.get(item.name), rate)
    return replace(item, load=replace(item.load, requests_per_s=rate, dispersion=clumping))

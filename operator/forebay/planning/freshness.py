"""What a decision says of the measurement that it stands on."""

from __future__ import annotations

from typing import Literal

from forebay.api.conditions import Reason, Type
from forebay.planning.decision import Verdict
from forebay.planning.measured import Demand
from forebay.planning.sleep import heard_verdict
from forebay.planning.snapshot import Snapshot
from forebay.planning.strangers import strange


def fresh_verdict(snapshot: Snapshot) -> Verdict:
    """The condition MetricsFresh."""
    if (heard := heard_verdict(snapshot)) is not None:
        return heard
    demand = snapshot.demand
    if demand is None:
        return _verdict("Unknown", Reason.NO_SAMPLES, "no sidecar has been measured yet; the pool is held as it is")
    if not demand.told_apart:
        return _verdict("False", Reason.FOREIGN_SERIES, strange(demand))
    if not snapshot.fresh:
        return _verdict("False", Reason.STALE, f"{_too_old(snapshot, demand)}: the pool is held and never shrunk")
    some = snapshot.unmeasured > 0
    count = f"{snapshot.ready - snapshot.unmeasured} of {snapshot.ready}" if some else f"{demand.replicas_reporting}"
    measured = f"{count} replicas measured by {demand.source}"
    measured += ": what the others are asked for is not known, and nothing is given back" if some else ""
    measured += f"; left out, for {_listed(demand)}" if demand.wrong else ""
    if demand.strangers:
        return _verdict("True", Reason.FOREIGN_SERIES, f"{measured}; {strange(demand)}")
    return _verdict("True", Reason.FRESH, measured)


def _too_old(snapshot: Snapshot, demand: Demand) -> str:
    if demand.window_s <= 0.0:
        return f"nothing could be measured yet, for {_listed(demand)}"
    age_s, why = snapshot.now - demand.measured_at, f", for {_listed(demand)}" if demand.wrong else ""
    if age_s < 0.0:
        return f"the last measurement is of {-age_s:.0f} s from now, before the clock was set back"
    return f"the last measurement is {age_s:.0f} s old (limit {snapshot.settings.stale_after_s:.0f} s){why}"


def _listed(demand: Demand) -> str:
    return " and ".join(demand.wrong) or "it was over no time"


def _verdict(status: Literal["True", "False", "Unknown"], reason: Reason, message: str) -> Verdict:
    return Verdict(type=Type.METRICS_FRESH, status=status, reason=reason, message=message)

"""What is said of forecasts: figures for the status, and whether their bounds hold."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.api.conditions import Reason, Type
from forebay.api.meta import format_duration
from forebay.api.pool_scaling import ForecastMode
from forebay.api.pool_status import ClassForecastStatus, TokensForecast
from forebay.planning.backfill import unread
from forebay.planning.decision import Verdict
from forebay.planning.demand import ClassLoad
from forebay.planning.forecast import Forecast
from forebay.planning.outlook import foreseen
from forebay.planning.snapshot import Snapshot


def forecast_status(loads: Sequence[ClassLoad]) -> list[ClassForecastStatus]:
    """A row for each class that is forecast."""
    return [
        ClassForecastStatus(
            name=load.name,
            horizon=format_duration(load.expected.horizon_s),
            coverage=load.expected.coverage.share,
            observed_coverage=None if load.expected.observed_coverage is None else round(load.expected.observed_coverage, 4),
            model=load.expected.input_tokens.model,
            history=format_duration(load.expected.input_tokens.history_s),
            drives=load.expected.trusted,
            doubt=load.expected.reason,
            input_tokens_per_second=_tokens(load.expected.input_tokens),
            output_tokens_per_second=_tokens(load.expected.output_tokens) if load.expected.output_tokens else None,
        )
        for load in loads
        if load.expected is not None
    ]


def _tokens(found: Forecast) -> TokensForecast:
    return TokensForecast(p50=round(found.p50, 1), upper=round(found.upper, 1))


def forecast_verdict(snapshot: Snapshot, loads: Sequence[ClassLoad]) -> Verdict:
    """Whether forecasts size the pool, or why they do not."""

    def verdict(status: str, reason: Reason, message: str) -> Verdict:
        said = f"{message}; {unread(snapshot)}" if snapshot.history_trouble else message
        return Verdict(type=Type.FORECAST_CALIBRATED, status=status, reason=reason, message=said)

    if snapshot.spec.scaling.forecast.mode == ForecastMode.DISABLED:
        return verdict("Unknown", Reason.FORECAST_DISABLED, "scaling.forecast.mode is Disabled")
    found = [(load.name, load.expected) for load in loads if load.expected is not None]
    doubted = [(name, e.reason) for name, e in found if not e.trusted]
    drifted = [(name, e.reason) for name, e in found if e.drifted]
    if drifted:
        said = "; ".join(f"class {name}: {reason}" for name, reason in drifted)
        return verdict("False", Reason.FORECAST_DRIFTED, f"{said}. What is measured sizes the pool until they do")
    if not found or doubted:
        told = "no class was measured for long enough" if foreseen(snapshot) else "no class has objectives: what may wait is not forecast"
        said = "; ".join(f"class {name}: {reason}" for name, reason in doubted) or told
        return verdict("Unknown", Reason.FORECAST_LEARNING, said)
    return verdict("True", Reason.FORECAST_CALIBRATED, f"the forecast sizes the pool for {', '.join(name for name, _ in found)}")

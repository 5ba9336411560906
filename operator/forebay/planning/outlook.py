"""What is expected of each class when a replica that is asked for now could answer: forecasts of tokens, and whether they are believed.

Two series per class are learned, prefill (input tokens per second) and decode (output tokens per second): these are what replicas work on,
whatever requests are made of. A forecast may raise the load to provision for above what is measured, never lower it. It stands in for the
short trend: both together cost a fifth more on two weeks of arrivals that clump, for misses that were within the promise already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

from forebay.api.pool_scaling import ForecastMode
from forebay.planning.coverage import Coverage
from forebay.planning.forecast import Forecast, ForecastState, Glimpse, drifted, fresh, observe, predict, read
from forebay.planning.measured import Demand
from forebay.planning.memory import ClassForecast, Shape
from forebay.planning.snapshot import PoolIdentity, Snapshot

STEP_S = 60
"""Forecasts are learned by the minute."""

MOST_CLASSES = 3
"""Classes of a pool that are forecast, so that its memory stays below 100 kB. Further ones are followed as they are measured."""

MIN_JUDGED = 45
"""Forecasts that must have come due. Before, bounds are guesses, too wide or too narrow: a short trend does better there (bench ramp)."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """A class some time ahead. `requests_per_s` is what its tokens come to in requests of today's shape.

    `trusted` says whether it sizes the pool; where not, `reason` says why, and `drifted` whether its bounds did not hold. How often they
    held, `observed_coverage`, is None until `MIN_JUDGED` forecasts came due.
    """

    horizon_s: float
    coverage: Coverage
    input_tokens: Forecast
    output_tokens: Forecast | None
    p50_requests_per_s: float
    requests_per_s: float
    observed_coverage: float | None
    trusted: bool
    reason: str = ""
    drifted: bool = False


def early_s(pool: PoolIdentity) -> float:
    """Seconds by which a pool's minutes end before the clock's: to close one is dear, so not all pools do it in the same pass."""
    return float(crc32(f"{pool.namespace}/{pool.name}".encode()) % STEP_S)


def foreseen(snapshot: Snapshot) -> tuple[str, ...]:
    """Classes that are forecast, in the pool's order. One without objectives may wait: what is measured provides for it (demand.py)."""
    known = snapshot.classes
    return tuple(name for name in snapshot.spec.classes if name not in known or known[name].objectives is not None)


def learn(
    known: Mapping[str, ClassForecast], demand: Demand, shapes: Mapping[str, Shape], classes: tuple[str, ...], early_s: float = 0.0
) -> dict[str, ClassForecast]:
    """The forecasts with one more measurement, for the first classes that there is a shape of. Their clock is fast by `early_s`."""
    learned = {name: known[name] for name in classes[:MOST_CLASSES] if name in known}
    for name in [c for c in classes if c in shapes][:MOST_CLASSES]:
        measured, shape = demand.classes.get(name), shapes[name]
        before = known.get(name) or ClassForecast(input_tokens=fresh(STEP_S), output_tokens=fresh(STEP_S))
        rate = measured.requests_per_s if measured else 0.0
        learned[name] = ClassForecast(
            input_tokens=observe(before.input_tokens, demand.measured_at + early_s, rate * shape.input_tokens),
            output_tokens=observe(before.output_tokens, demand.measured_at + early_s, rate * shape.output_tokens),
            read_s=before.read_s,
        )
    return learned


def outlook(
    known: ClassForecast | None, shape: Shape, mode: ForecastMode, coverage: Coverage, now: float, ahead_s: float
) -> Outlook | None:
    """The class `ahead_s` from now, by the clock of its forecasts; None where nothing is forecast."""
    if known is None or mode == ForecastMode.DISABLED:
        return None
    of_inputs, of_outputs = read(known.input_tokens), read(known.output_tokens)
    inputs = _predicted(known.input_tokens, of_inputs, now, ahead_s, coverage.share)
    outputs = _predicted(known.output_tokens, of_outputs, now, ahead_s, coverage.share) if shape.output_tokens > 0 else None
    if inputs is None or shape.input_tokens <= 0:
        return None
    both = [(inputs, shape.input_tokens), *([(outputs, shape.output_tokens)] if outputs else [])]
    kept = [f.observed_coverage for f, _ in both if f.observed_coverage is not None]
    series = [("input", known.input_tokens, of_inputs), *([("output", known.output_tokens, of_outputs)] if outputs else [])]
    reason, off = _doubt(series, mode, coverage.share, inputs, ahead_s)
    return Outlook(
        horizon_s=ahead_s,
        coverage=coverage,
        input_tokens=inputs,
        output_tokens=outputs,
        p50_requests_per_s=max(f.p50 / tokens for f, tokens in both),
        requests_per_s=max(f.upper / tokens for f, tokens in both),
        observed_coverage=min(kept) if kept and inputs.judged >= MIN_JUDGED else None,
        trusted=not reason,
        reason=reason,
        drifted=off,
    )


def _predicted(state: ForecastState, horizons: list[Glimpse], now: float, ahead_s: float, coverage: float) -> Forecast | None:
    """From the start of the open step, as forecasts count; a series that fell silent is as old as it is."""
    return predict(state, max(0.0, now - state.step * state.step_s) + ahead_s, coverage, horizons)


def _doubt(
    series: Sequence[tuple[str, ForecastState, list[Glimpse]]], mode: ForecastMode, share: float, inputs: Forecast, ahead_s: float
) -> tuple[str, bool]:
    """Why the forecast does not size the pool, or nothing; and whether that is because its bounds did not hold."""
    if mode == ForecastMode.REACTIVE:
        return "scaling.forecast.mode is Reactive", False
    if inputs.judged < MIN_JUDGED:
        return f"{inputs.judged} of its forecasts came due, {MIN_JUDGED} are needed", False
    off = [name for name, state, horizons in series if drifted(state, ahead_s, share, horizons)]
    if off:
        return f"its bounds for {' and '.join(off)} tokens did not hold as declared over the last day", True
    return "", False

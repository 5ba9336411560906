"""What was added to the sidecars' series over a window, summed over replicas, as the demand that decisions are made on."""

from __future__ import annotations

from collections.abc import Iterable

from forebay.api.prompting import TERMS as PROMPT_TERMS
from forebay.api.step_moments import TERMS
from forebay.planning.measured import ClassDemand, PromptMeetings, StepMoments
from forebay.planning.series import (
    ARRIVALS,
    ARRIVED_TOKENS,
    IN_FLIGHT,
    OBJECTIVE,
    PROMPTING,
    QUEUE_DEPTH,
    REQUESTS,
    STEP_MOMENTS,
    TOKENS,
    TOKENS_SQUARED,
    TTFT_BUCKET,
)

MAX_VARIANTS = 64

Sample = tuple[str, str, str]
"""Series of one class: metric name, class, and the one further label that matters. Of the engine's steps the variant is the class."""


def classes_of(*counted: Iterable[Sample]) -> list[str]:
    """The classes that there are series of."""
    return sorted({name for samples in counted for metric, name, _ in samples if name and metric != STEP_MOMENTS})


def steps_of(total: dict[Sample, float]) -> dict[str, StepMoments]:
    """What was added to the sums of steps, by variant. Some of the terms alone say nothing."""
    found: dict[str, dict[str, float]] = {}
    for (metric, variant, term), value in total.items():
        if metric == STEP_MOMENTS:
            found.setdefault(variant, {})[term] = float(f"{value:.10g}")
    whole = {variant: terms for variant, terms in found.items() if terms.get("count", 0.0) > 0.0 and set(TERMS) <= terms.keys()}
    return {variant: StepMoments.model_validate(whole[variant]) for variant in sorted(whole)[:MAX_VARIANTS]}


def prompting_of(total: dict[Sample, float]) -> PromptMeetings | None:
    """What was added to the sums of prompts. Some of the terms alone say nothing."""
    terms = {term: round(value, 6) for (metric, _, term), value in total.items() if metric == PROMPTING}
    return PromptMeetings.model_validate(terms) if set(PROMPT_TERMS) <= terms.keys() else None


def class_demand(name: str, total: dict[Sample, float], gauges: dict[Sample, float], window_s: float) -> ClassDemand:
    """Rates of one class from what was added over a window, which is longer than nothing."""

    def added(metric: str, further: str = "") -> float:
        return total.get((metric, name, further), 0.0)

    met, missed = added(OBJECTIVE, "true"), added(OBJECTIVE, "false")
    buckets = sorted((float(le), value) for (metric, cls, le), value in total.items() if metric == TTFT_BUCKET and cls == name)
    return ClassDemand(
        requests_per_s=round(added(ARRIVALS) / window_s, 6),
        arrived_input_tokens_per_s=round(added(ARRIVED_TOKENS) / window_s, 6),
        completed_per_s=round(added(REQUESTS, "ok") / window_s, 6),
        input_tokens_per_s=round(added(TOKENS, "input") / window_s, 6),
        output_tokens_per_s=round(added(TOKENS, "output") / window_s, 6),
        input_tokens_squared_per_s=round(added(TOKENS_SQUARED, "input") / window_s, 6),
        output_tokens_squared_per_s=round(added(TOKENS_SQUARED, "output") / window_s, 6),
        queued=gauges.get((QUEUE_DEPTH, name, ""), 0.0),
        in_flight=gauges.get((IN_FLIGHT, name, ""), 0.0),
        p95_time_to_first_token_s=quantile_of(buckets, 0.95),
        objectives_met=round(met / (met + missed), 6) if met + missed else None,
    )


def quantile_of(buckets: list[tuple[float, float]], quantile: float) -> float | None:
    """Quantile of a histogram with cumulative buckets, interpolated as PromQL's histogram_quantile does; None without samples."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank, low, below = quantile * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if bound == float("inf"):
                return round(low, 6)
            return round(low + (bound - low) * (rank - below) / (count - below), 6) if count > below else round(bound, 6)
        low, below = bound, count
    return round(low, 6)

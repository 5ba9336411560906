"""What the sidecars of a simulated fleet would have measured: samples as the demand that decisions are made on."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.api import prompting
from forebay.api.step_moments import NOTHING, TERMS, added
from forebay.planning.measured import ClassDemand, Demand, PromptMeetings, StepMoments
from forebay.simulation.law import Observation, Sample
from forebay.simulation.score import quantile


def demand_of(seen: Observation, now: float, window_s: float) -> Demand | None:
    """The last so many seconds as a scrape would sum them up; None until there is a sample. `now` is the calendar's."""
    samples = seen.last(window_s)
    if not samples:
        return None
    span_s = sum(s.span_s for s in samples)
    names = sorted({name for s in samples for name in s.classes})
    return Demand(
        measured_at=now,
        window_s=span_s,
        source="simulation",
        replicas_reporting=seen.ready,
        in_flight_variance=samples[-1].in_flight_variance,
        classes={name: _class_demand([s.classes[name] for s in samples if name in s.classes], span_s, samples[-1], name) for name in names},
        steps=_steps(samples),
        prompting=_prompting(samples),
    )


def _prompting(samples: Sequence[Sample]) -> PromptMeetings | None:
    sums = prompting.NOTHING
    for sample in samples:
        sums = added(sums, sample.prompting)
    return PromptMeetings.model_validate({t: round(v, 6) for t, v in zip(prompting.TERMS, sums, strict=True)}) if sums[0] else None


def _steps(samples: Sequence[Sample]) -> dict[str, StepMoments]:
    total: dict[str, tuple[float, ...]] = {}
    for sample in samples:
        for variant, sums in sample.steps.items():
            total[variant] = added(total.get(variant, NOTHING), sums)
    terms = {variant: [float(f"{v:.10g}") for v in sums] for variant, sums in sorted(total.items())}
    return {variant: StepMoments.model_validate(dict(zip(TERMS, sums, strict=True))) for variant, sums in terms.items()}


def _class_demand(of_class: Sequence[Sample], span_s: float, newest: Sample, name: str) -> ClassDemand:
    last = newest.classes.get(name)
    firsts = sorted(x for s in of_class for x in s.first_token_s)
    return ClassDemand(
        requests_per_s=round(sum(s.arrived for s in of_class) / span_s, 6),
        arrived_input_tokens_per_s=round(sum(s.arrived_input_tokens for s in of_class) / span_s, 6),
        completed_per_s=round(sum(s.completed for s in of_class) / span_s, 6),
        input_tokens_per_s=round(sum(s.input_tokens for s in of_class) / span_s, 6),
        output_tokens_per_s=round(sum(s.output_tokens for s in of_class) / span_s, 6),
        input_tokens_squared_per_s=round(sum(s.input_tokens_squared for s in of_class) / span_s, 6),
        output_tokens_squared_per_s=round(sum(s.output_tokens_squared for s in of_class) / span_s, 6),
        queued=float(last.waiting) if last else 0.0,
        in_flight=float(last.running) if last else 0.0,
        p95_time_to_first_token_s=round(quantile(firsts, 0.95), 6) if firsts else None,
    )

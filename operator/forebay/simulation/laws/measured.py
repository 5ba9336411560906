"""Figures that several laws take from samples."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.simulation.law import Sample


def arrivals_per_s(samples: Sequence[Sample]) -> float:
    """Requests per second over the samples; 0 of none."""
    span_s = sum(s.span_s for s in samples)
    return sum(s.arrived for s in samples) / span_s if span_s > 0 else 0.0


def mean_in_flight(samples: Sequence[Sample]) -> float:
    """Requests that wait or run, over the samples; 0 of none."""
    return sum(s.waiting + s.running for s in samples) / len(samples) if samples else 0.0


def tokens_per_request(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Mean input and output tokens of the requests that were answered; None where none was.

    An embedding, whose answer has no tokens, counts as one: peers' formulas are of language models, and divide by them.
    """
    completed = sum(s.completed for s in samples)
    if not completed:
        return None
    return sum(s.input_tokens for s in samples) / completed, max(1.0, sum(s.output_tokens for s in samples) / completed)

"""The sums in which a replica's steps are told of: enough to fit the time of a step to what was in it, however many were seen.

An observation is the mean step of a short time: its seconds, the tokens that were computed in it, and the tokens of context that were
held. Sums of observations, of several replicas too, are observations together. Needs nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Sequence

TERMS = (
    "count",
    "tokens",
    "context",
    "tokens_tokens",
    "tokens_context",
    "context_context",
    "seconds",
    "seconds_tokens",
    "seconds_context",
    "seconds_seconds",
)

NOTHING = (0.0,) * len(TERMS)


def observe(sums: list[float], seconds: float, tokens: float, context: float) -> None:
    """Adds one observation to sums in the order of TERMS."""
    sums[0] += 1.0
    sums[1] += tokens
    sums[2] += context
    sums[3] += tokens * tokens
    sums[4] += tokens * context
    sums[5] += context * context
    sums[6] += seconds
    sums[7] += seconds * tokens
    sums[8] += seconds * context
    sums[9] += seconds * seconds


def added(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    """Both together."""
    return tuple(a + b for a, b in zip(one, other, strict=True))

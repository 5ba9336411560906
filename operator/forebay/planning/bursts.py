"""How prompts clump in the steps of a replica, whatever arrivals do: a branching process with immigration (docs/planning/queueing.md)."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.planning.work import Work


@dataclass(frozen=True, slots=True)
class Bursts:
    """How prompts clump: a step with prompts is longer, so more arrive during it, so the next step has prompts too."""

    echo: float
    """Share of a step's prompts that their own length brings back into the next step."""
    dispersion: float
    """Variance over mean of the prompts of one step, where the number decoding is known."""
    clumping: float
    """Variance over mean of the prompts of as many steps as an answer takes."""
    covariance: float
    """Of the prompts of a step and the number decoding in it, over the mean prompts of a step."""
    slope: float
    """Prompts that a step has more for each one more decoding, because they came together."""


def bursts(work: Work, echo: float) -> Bursts:
    """For an echo below 1."""
    k, unequal = work.decodes, 1.0 + work.prompt_cv2 * echo * echo
    lone = 1.0 / (1.0 - echo * echo)
    if k <= 0.0:
        return Bursts(echo, lone * unequal, unequal, 0.0, 0.0)
    echoes = (1.0 - echo**k) / (1.0 - echo)
    covariance = echo * echoes * lone
    clumping = max(1.0, ((1.0 + echo) / (1.0 - echo) - 2.0 * echo * echoes / (k * (1.0 - echo))) * lone)
    known = covariance * covariance / (k * clumping)
    return Bursts(echo, max(1.0, lone - known) * unequal, clumping * unequal, covariance, covariance / (k * clumping))

"""How a router shares requests out, and how much of what is random in a pool each replica sees of it (docs/planning/queueing.md)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

MOST_POOLED = 64
"""Replicas that are taken to help each other out. With more of them pooling gains nothing that matters, and the chain only grows."""


@dataclass(frozen=True, slots=True)
class Router:
    """How well requests are shared out to replicas; both from 0 to 1.

    `efficiency` is 0 where they are sent at random, 1 where each goes to the replica with the fewest in flight. `spares` says how rarely a
    request is sent where a prompt waits or is computed while another replica has none: 0 as often as chance has it, 1 never.
    """

    efficiency: float = 1.0
    spares: float = 0.0


EVEN = Router()


def dispersed(replicas: int, efficiency: float, dispersion: float) -> tuple[float, float]:
    """The share of what is random in the pool that each replica sees, and the dispersion of its own arrivals.

    Clumps of a pool behave as that many times fewer replicas (W. S. Hayward's approximation). A good router deals one out to all replicas,
    and only what is more than they are clumps on one of them; a blind one thins it out.
    """
    if dispersion <= 1.0:
        return max(1.0 - efficiency * (1.0 - 1.0 / replicas), 1.0 / MOST_POOLED), 1.0
    dealt = dispersion / replicas
    share = max(1.0 - efficiency * (1.0 - min(1.0, dealt)), 1.0 / MOST_POOLED)
    thinned = 1.0 + (dispersion - 1.0) / replicas
    return share, efficiency * max(dealt, _rounds(dispersion, replicas)) + (1.0 - efficiency) * thinned


def _rounds(dispersion: float, replicas: int) -> float:
    """Mean rounds that dealing out takes of the clump that a request comes in, which is of a gamma size with shape 2: a few are large."""
    step = 2.0 * replicas / (dispersion - 1.0)
    ratio = exp(-step)
    return 1.0 + ratio / (1.0 - ratio) + step * ratio / (1.0 - ratio) ** 2

"""How long classes wait in one line when some go first.

Whoever finds no free place waits for those before it of its own priority and higher ones, and for those of higher ones that come
meanwhile. A. Cobham, Priority assignment in waiting line problems, Operations Research 2 (1954): with utilisation s by higher priorities
and t by those and the own, the mean wait is that of a first-come queue times (1 - r) / ((1 - s)(1 - t)), r being the utilisation by all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forebay.planning.queueing import Occupancy


def in_lines(state: Occupancy, priorities: Sequence[int], parts: Sequence[float], utilised: float) -> list[Occupancy]:
    """The state as each class meets it.

    `parts` are the classes' parts of the work, which add up to 1, and `utilised` is the share of a full replica's throughput that all of
    them ask for, below 1.
    """
    if len(set(priorities)) < 2 or state.waits <= 0.0:
        return [state] * len(priorities)
    # Behind a router that counts, who waits is the only one there to wait, and priorities change nothing.
    queued = state.share / (state.share + (1.0 - state.share) * (1.0 - utilised))
    return [
        replace(state, mean_wait_s=state.mean_wait_s * (1.0 + queued * (_times(p, priorities, parts, utilised) - 1.0))) for p in priorities
    ]


def _times(own: int, priorities: Sequence[int], parts: Sequence[float], utilised: float) -> float:
    higher = utilised * sum(part for p, part in zip(priorities, parts, strict=True) if p > own)
    with_own = utilised * sum(part for p, part in zip(priorities, parts, strict=True) if p >= own)
    return (1.0 - utilised) / ((1.0 - higher) * max(1.0 - with_own, 1e-9))

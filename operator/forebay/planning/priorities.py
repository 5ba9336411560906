"""How long classes wait in one line when some go first.

Whoever finds no free place waits for those before it of its own priority and higher ones, and for those of higher ones that come
meanwhile. A. Cobham, Priority assignment in waiting line problems, Operations Research 2 (1954): with utilisation s by higher priorities
and t by those and the own, the mean wait is that of a first-come queue times (1 - r) / ((1 - s)(1 - t)), r being the utilisation by all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forebay.planning.queueing import Occupancy

Ranked = tuple[int, float]
"""A class's priority, and how much work it brings, in any unit."""


def in_lines(state: Occupancy, classes: Sequence[Ranked], utilised: float) -> list[Occupancy]:
    """The state as each class meets it; `utilised` is the share of a full replica's throughput that all ask for, below 1."""
    if state.waits <= 0.0 or len({priority for priority, _ in classes}) < 2:
        return [state] * len(classes)
    # Behind a router that counts, who waits is the only one there to wait, and priorities change nothing.
    queued = state.share / (state.share + (1.0 - state.share) * (1.0 - utilised))
    times = (_times(priority, classes, utilised) for priority, _ in classes)
    return [replace(state, mean_wait_s=state.mean_wait_s * (1.0 + queued * (by - 1.0))) for by in times]


def _times(own: int, classes: Sequence[Ranked], utilised: float) -> float:
    each = utilised / max(sum(work for _, work in classes), 1e-12)
    higher, with_own = (each * sum(work for priority, work in classes if priority > least) for least in (own, own - 1))
    return (1.0 - utilised) / ((1.0 - higher) * max(1.0 - with_own, 1e-9))

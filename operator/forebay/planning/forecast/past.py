"""A past that somebody else has kept, lived through at once: as if it had been observed, as far as it is known finely enough.

A mean over one step is a measurement: the forecast that would have been made for it is scored. A mean over several steps is none: ten equal
minutes would be a series without noise, and bounds learned on it far too narrow. So seasons and scale learn of it, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from forebay.planning.forecast.forecast import close, is_load
from forebay.planning.forecast.packing import pack, unpack
from forebay.planning.forecast.state import VERSION, ForecastState, fresh


@dataclass(frozen=True, slots=True)
class Span:
    """The mean load of `seconds` from `at_s`; longer than a step, it lies within one slot of ten minutes."""

    at_s: float
    seconds: float
    value: float


def relived(state: ForecastState, spans: Iterable[Span]) -> ForecastState:
    """The state after these spans, oldest first. What is older than its open step, or no load, is passed over."""
    state = state if state.version == VERSION else fresh(state.step_s)
    try:
        work = unpack(state)
    except ValueError:
        state = fresh(state.step_s)
        work = unpack(state)
    step, since, total, count = state.step, state.since, state.total, state.count
    for span in spans:
        first, steps = int(span.at_s // state.step_s), max(1, round(span.seconds / state.step_s))
        begun = first == step and count > 0 and steps > 1
        if first < step or begun or not is_load(span.at_s, span.value):
            continue
        if count and first > step:
            close(work, step, since, total / count)
            total, count = 0.0, 0
        since = first if since < 0 else since
        if steps > 1:
            work.teach(first, steps, span.value)
            step = first + steps - 1
        else:
            step, total, count = first, total + span.value, count + 1
    packed = pack(work) if work.closed else {}
    return state.model_copy(update={**packed, "since": since, "step": step, "total": total, "count": count, "late": 0})

"""What a store of metrics knows of a class that its forecaster does not: which past is missing, and the forecasts after it was read.

A past is missing where less than a day is known of a class and nobody was asked yet, and where the newest minutes were not observed because
no operator ran. What is read goes through the forecaster as if it had been observed (planning/forecast/past.py), in the same unit: arrivals
times the tokens of a request that was answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from forebay.api.pool_scaling import ForecastMode
from forebay.planning.decision import Note
from forebay.planning.demand import of_all
from forebay.planning.forecast import ForecastState, Span, fresh, relived
from forebay.planning.forecast.codes import MISSING, unpacked, value_of
from forebay.planning.measured import ClassHistory, MeasuredPast
from forebay.planning.memory import ClassForecast, Memory, Shape
from forebay.planning.outlook import MOST_CLASSES, foreseen
from forebay.planning.snapshot import Snapshot

DAY_S = 86400.0
SLOT_S = 600.0
GAP_S = 180.0
"""Minutes that are missed now and then are no gap."""
WORTH_S = 3600.0
"""What was observed is given up only for a past that reaches so much further back."""


@dataclass(frozen=True, slots=True)
class Read:
    """A past in order: its prefill and decode, and the tokens of a request at its end (None where none was ever answered)."""

    inputs: tuple[Span, ...]
    outputs: tuple[Span, ...]
    shape: Shape | None

    @property
    def minutes(self) -> int:
        return sum(span.seconds < SLOT_S for span in self.inputs)


def missing(snapshot: Snapshot) -> dict[str, float]:
    """Since when the past is missing, by class; only while demand is fresh, for then the forecaster goes on from now.

    Where others report as if they were the pool's, their past cannot be told from its own; and what some replicas were asked for while the
    others were not measured is no past of the pool.
    """
    settings, demand = snapshot.spec.scaling.forecast, snapshot.demand
    if settings.mode == ForecastMode.DISABLED or demand is None or of_all(snapshot) is None or demand.strangers:
        return {}
    furthest, found = demand.measured_at - settings.history, {}
    for name in foreseen(snapshot)[:MOST_CLASSES]:
        known = snapshot.memory.forecasts.get(name)
        if known is None or (known.read_s is None and _age_s(known.input_tokens) < DAY_S):
            found[name] = furthest
        elif (since := max(furthest, _end_s(known.input_tokens), snapshot.memory.partly_at)) + GAP_S < demand.measured_at:
            found[name] = since
    return found


def backfilled(memory: Memory, history: Mapping[str, ClassHistory]) -> Memory:
    """The memory after these pasts were read: forecasts, and the shapes of requests that are not known otherwise."""
    if not history:
        return memory
    forecasts, shapes = dict(memory.forecasts), dict(memory.shapes)
    for name, past in history.items():
        read = read_past(past, shapes.get(name))
        if read.shape is not None:
            shapes.setdefault(name, read.shape)
        forecasts[name] = _relived(forecasts.get(name), past, read)
    return memory.model_copy(update={"forecasts": forecasts, "shapes": shapes})


def _relived(known: ClassForecast | None, past: ClassHistory, read: Read) -> ClassForecast:
    anew = known is None or (
        known.read_s is None and _age_s(known.input_tokens) < DAY_S and bool(read.inputs) and _reaches_further(known, read.inputs[0].at_s)
    )
    before = ClassForecast(input_tokens=fresh(), output_tokens=fresh()) if anew or known is None else known
    asked_whole = known is None or known.read_s is None
    reached_s = _end_of(read.inputs) - read.inputs[0].at_s if read.inputs else 0.0
    return ClassForecast(
        input_tokens=relived(before.input_tokens, read.inputs),
        output_tokens=relived(before.output_tokens, read.outputs),
        read_s=reached_s if asked_whole else before.read_s,
    )


def _reaches_further(known: ClassForecast, start_s: float) -> bool:
    state = known.input_tokens
    return state.since < 0 or start_s + WORTH_S < state.since * state.step_s


def _age_s(state: ForecastState) -> float:
    return 0.0 if state.since < 0 else float((state.step - state.since) * state.step_s)


def _end_s(state: ForecastState) -> float:
    """When the newest minute that was observed began."""
    return float(state.step * state.step_s)


def _end_of(spans: tuple[Span, ...]) -> float:
    return spans[-1].at_s + spans[-1].seconds


def read_past(past: ClassHistory, shape: Shape | None) -> Read:
    """A past as the forecaster takes it: by the minute where that is known, else by ten minutes; what is not known is left out.

    Where no request was answered, the one before says how many tokens it has, or the first; where none was at all, the known shape.
    """
    rows = sorted(_finest(past.parts), key=lambda row: row.at_s)
    inputs, read = _loads(rows, lambda row: row.input_tokens, shape.input_tokens if shape else None)
    outputs, written = _loads(rows, lambda row: row.output_tokens, shape.output_tokens if shape else None)
    known = Shape(input_tokens=round(read, 3), output_tokens=round(written, 3)) if read is not None and written is not None else None
    return Read(inputs, outputs, known)


@dataclass(frozen=True, slots=True)
class _Row:
    """A step: requests that arrived and were answered, and the tokens of the latter, all a second; None is not known."""

    at_s: float
    seconds: float
    arrived: float
    answered: float | None
    input_tokens: float | None
    output_tokens: float | None


def _loads(rows: list[_Row], tokens: Callable[[_Row], float | None], usual: float | None) -> tuple[tuple[Span, ...], float | None]:
    """One kind of tokens by time, and how many a request has at the end; `usual` is how many where no answer says."""

    def each(row: _Row) -> float | None:
        some = tokens(row)
        return some / row.answered if row.answered and some is not None else None

    last = next((found for row in rows if (found := each(row)) is not None), usual)
    spans = []
    for row in rows:
        found = each(row)
        last = last if found is None else found
        if last is not None:
            spans.append(Span(row.at_s, row.seconds, row.arrived * last))
    return tuple(spans), last


def _finest(parts: Iterable[MeasuredPast]) -> list[_Row]:
    """The known steps of a past; of a slot of ten minutes of which finer steps are known, those."""
    found: dict[int, list[_Row]] = {}
    for part in sorted(parts, key=lambda p: -p.step_s):
        finer: dict[int, list[_Row]] = {}
        for row in _rows(part):
            finer.setdefault(int(row.at_s // SLOT_S), []).append(row)
        found |= finer
    return [row for rows in found.values() for row in rows]


def _rows(part: MeasuredPast) -> Iterable[_Row]:
    columns = [unpacked(column, "H") for column in (part.requests, part.completed, part.input_tokens, part.output_tokens)]
    for index, codes in enumerate(zip(*columns, strict=True)):
        if codes[0] != MISSING:
            answered, inputs, outputs = (None if code == MISSING else value_of(int(code)) for code in codes[1:])
            yield _Row(part.start + index * part.step_s, part.step_s, value_of(int(codes[0])), answered, inputs, outputs)


def told(snapshot: Snapshot) -> tuple[str, ...]:
    """What was read for this decision, a sentence for each class; and why what is missing could not be."""
    read = (_sentence(name, past, read_past(past, snapshot.memory.shapes.get(name))) for name, past in snapshot.history.items())
    return (*read, *((unread(snapshot),) if snapshot.history_trouble else ()))


def unread(snapshot: Snapshot) -> str:
    """Why a past that is missing could not be read."""
    return f"a past that is missing could not be read, for {snapshot.history_trouble}"


def _sentence(name: str, past: ClassHistory, read: Read) -> str:
    if not read.inputs:
        return f"class {name}: {past.source} knows nothing of it before now"
    length_s = _end_of(read.inputs) - read.inputs[0].at_s
    length = f"{length_s / DAY_S:.3g} days" if length_s >= DAY_S else f"{length_s / 60:.0f} minutes"
    return (
        f"class {name}: its forecast was read from {length} of {past.source} history:"
        f" {read.minutes} minutes and {len(read.inputs) - read.minutes} means of ten minutes"
    )


def notes(snapshot: Snapshot) -> tuple[Note, ...]:
    """An Event for each class of which something was read."""
    return tuple(
        Note(reason="HistoryRead", message=_sentence(name, past, read))
        for name, past in snapshot.history.items()
        if (read := read_past(past, snapshot.memory.shapes.get(name))).inputs
    )

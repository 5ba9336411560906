"""From what the sidecars measured to the load that capacity must hold.

Measured arrivals with a short linear trend over the last minutes, looked ahead by a replica's start time; and what waits already must be
drained within the same time. The larger of the two counts. A trend may raise the load, never lower it below what is measured. Where more
came since the last look than chance explains, as after a quiet while, that rate counts and not its average with the rest of the window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from forebay.api.inference_pool import Task
from forebay.api.meta import format_duration
from forebay.planning.burstiness import LEAST_S, at_rate, in_steps, stepped
from forebay.planning.coverage import coverage
from forebay.planning.lengths import learned
from forebay.planning.measured import ClassDemand, Demand
from forebay.planning.memory import Clumping, DemandPoint, Shape
from forebay.planning.outlook import Outlook, early_s, outlook
from forebay.planning.queueing import Load
from forebay.planning.series import ARRIVALS, ARRIVED_TOKENS, QUEUE_DEPTH, TOKENS, TOKENS_SQUARED
from forebay.planning.snapshot import Snapshot
from forebay.planning.starts import lead_of

TREND_WINDOW_S = 180.0
MAX_TREND = 2.0
DAY_S = 86_400.0
MIN_POINTS = 4
MIN_DRAIN_S = 10.0
FIRST_SHAPE = Shape(input_tokens=256, output_tokens=128)
"""What requests are taken to be like before one was answered, where nothing more is known of their prompts."""
MAX_FIRST_INPUT = 100_000.0
MOST_UNMEASURED = 0.1
"""Share of the ready replicas that may not be measured, for what all are asked for to count as known."""


@dataclass(frozen=True, slots=True)
class ClassLoad:
    """The load of one class to provision for, and the sentence that says where it comes from."""

    name: str
    load: Load
    why: str
    expected: Outlook | None = None
    lasting_rps: float | None = None
    """Its rate without what is there to drain a queue, or came since the last look alone; None where that is all of it."""

    @property
    def lasting(self) -> ClassLoad:
        """The same class as if nothing waited."""
        return self if self.lasting_rps is None else replace(self, load=replace(self.load, requests_per_s=self.lasting_rps))


def of_all(snapshot: Snapshot) -> Demand | None:
    """What is asked of all ready replicas together, as forecasts and trends take it; None where that is not known.

    What a few that are not measured are asked for is taken to be what the others are: a router shares out evenly. Where more are missing
    it is unknown: how long they have answered, and how fast, would be as much of the sum as what was measured.
    """
    demand, ready, silent = snapshot.demand, snapshot.ready, snapshot.unmeasured
    if demand is None or not snapshot.fresh or silent > MOST_UNMEASURED * ready:
        return None
    return _times(demand, ready / (ready - silent)) if silent else demand


def _times(demand: Demand, share: float) -> Demand:
    classes = {name: c.model_copy(update={"requests_per_s": share * c.requests_per_s}) for name, c in demand.classes.items()}
    return demand.model_copy(update={"classes": classes})


def remembered(snapshot: Snapshot) -> tuple[dict[str, tuple[DemandPoint, ...]], dict[str, Shape]]:
    """History and request shapes with this measurement added; only of the pool's classes, whatever else was measured."""
    memory, classes, whole = snapshot.memory, snapshot.spec.classes, of_all(snapshot)
    history = {name: points for name, points in memory.history.items() if name in classes}
    shapes = {name: shape for name, shape in memory.shapes.items() if name in classes}
    if whole is not None:
        known = {name: measured.requests_per_s for name, measured in whole.classes.items() if name in classes}
        newest = {name: DemandPoint(at=whole.measured_at, requests_per_s=round(rate, 6)) for name, rate in known.items()}
        history |= {name: _history(history.get(name, ()), point) for name, point in newest.items()}
    if snapshot.demand is not None:
        answered = {name: c for name, c in snapshot.demand.classes.items() if name in classes and c.completed_per_s > 0}
        window_s = snapshot.demand.window_s
        shapes |= {name: learned(c, c.completed_per_s * window_s, shapes.get(name)) for name, c in answered.items()}
    return history, shapes


def _history(points: tuple[DemandPoint, ...], newest: DemandPoint) -> tuple[DemandPoint, ...]:
    """The points of the trend's window. Many looks within a short time count as one, so that the points always span the window."""
    kept = [p for p in points if newest.at - TREND_WINDOW_S <= p.at < newest.at]
    if len(kept) > 1 and kept[-1].at - kept[-2].at < LEAST_S:
        kept.pop()
    return (*kept, newest)


def _reaching(at: float, points: tuple[DemandPoint, ...]) -> tuple[DemandPoint, ...]:
    """The points of a trend that reach until then; none where what all replicas are asked for was last known before."""
    return points if points and points[-1].at >= at else ()


def trend_per_s(points: tuple[DemandPoint, ...]) -> float:
    """Least-squares slope of the request rate, in requests/s per second; 0 until there are enough points."""
    if len(points) < MIN_POINTS:
        return 0.0
    mean_t = sum(p.at for p in points) / len(points)
    mean_r = sum(p.requests_per_s for p in points) / len(points)
    spread = sum((p.at - mean_t) ** 2 for p in points)
    return sum((p.at - mean_t) * (p.requests_per_s - mean_r) for p in points) / spread if spread > 0 else 0.0


def _day(expected: Outlook) -> str:
    """The day that was observed, or as much of it as there was."""
    known_s = expected.input_tokens.history_s
    return "day" if known_s >= DAY_S else format_duration(60.0 * round(known_s / 60.0))


def _ahead(now: float, points: tuple[DemandPoint, ...], lead_s: float, expected: Outlook | None) -> tuple[float, str]:
    """The rate when a replica that is asked for now could answer, and what says so: a forecast that is trusted, else a short trend."""
    if expected is None or not expected.trusted:
        return min(max(now, now + trend_per_s(points) * lead_s), MAX_TREND * now), f"trend over {lead_s:.0f} s"
    held = "" if expected.observed_coverage is None else f", held {expected.observed_coverage:.1%} of the last {_day(expected)}"
    bound = f"at most {expected.requests_per_s:.3g} in {expected.horizon_s:.0f} s with coverage {expected.coverage.share:g}{held}"
    bound += f" ({expected.coverage.why})" if expected.coverage.why else ""
    return max(now, expected.requests_per_s), f"forecast {expected.p50_requests_per_s:.3g}, {bound}"


def _patient_load(
    name: str, measured: ClassDemand, points: tuple[DemandPoint, ...], shape: Shape, tokens: str, max_wait_s: float
) -> ClassLoad:
    """A class without objectives fills what the others leave: its rate on average, and what waits over the time that it may wait."""
    now, span_s = measured.requests_per_s, min(max_wait_s, TREND_WINDOW_S)
    recent = [p.requests_per_s for p in points if points[-1].at - p.at <= span_s] or [now]
    mean, drain_s = sum(recent) / len(recent), max(MIN_DRAIN_S, max_wait_s)
    rate = mean + measured.queued / drain_s
    waits = f", {QUEUE_DEPTH} {measured.queued:.0f} to drain in {drain_s:.0f} s" if measured.queued else ""
    why = (
        f"class {name} has no objective and may wait: {ARRIVALS} {mean:.3g} requests/s over {span_s:.0f} s{waits};"
        f" {rate:.3g} to provision for; {tokens}"
    )
    return ClassLoad(name, _load(rate, shape), why, lasting_rps=mean if rate > mean else None)


def _class_load(
    name: str,
    measured: ClassDemand,
    points: tuple[DemandPoint, ...],
    shape: Shape,
    tokens: str,
    lead_s: float,
    drain_s: float,
    expected: Outlook | None = None,
    clumping: Clumping | None = None,
    lately_rps: float = 0.0,
) -> ClassLoad:
    now = measured.requests_per_s
    ahead, which = _ahead(now, points, lead_s, expected)
    backlog = now + measured.queued / drain_s
    rate = max(ahead, backlog, lately_rps)
    if rate > ahead:
        waiting = f"{QUEUE_DEPTH} {measured.queued:.0f} to drain in {drain_s:.0f} s"
        which = waiting if backlog >= lately_rps else "so many since the last look"
    why = f"class {name}: {ARRIVALS} {now:.3g} requests/s, {rate:.3g} to provision for ({which}); {tokens}"
    load = _load(rate, shape, at_rate(clumping, rate))
    if load.dispersion > 1.0:
        why += f"; arrivals clump: their index of dispersion is {load.dispersion:.3g} ({ARRIVALS})"
    return ClassLoad(name, load, why, expected, ahead if rate > ahead else None)


def outlook_of(snapshot: Snapshot, name: str, shape: Shape, lead_s: float | None = None) -> Outlook | None:
    """What is expected of a class when a replica that is asked for at the next decision could answer, after `lead_s` where it is known."""
    ahead_s = (lead_of(snapshot) if lead_s is None else lead_s) + snapshot.settings.interval_s
    mode = snapshot.spec.scaling.forecast.mode
    now = snapshot.now + early_s(snapshot.pool)
    return outlook(snapshot.memory.forecasts.get(name), shape, mode, coverage(snapshot, name, shape), now, ahead_s)


def _load(rate: float, shape: Shape, dispersion: float = 1.0) -> Load:
    """Spreads in steps of a tenth, so that a size does not change by what is noise in them."""
    spreads = round(shape.input_cv2**0.5, 1), round(shape.output_cv2**0.5, 1)
    return Load(rate, shape.input_tokens, shape.output_tokens, *spreads, dispersion)


def _first_shape(measured: ClassDemand | None, chat: bool) -> Shape:
    """Of a class of which nothing was answered yet: prompts as those that arrived, by their bytes."""
    tokens = min(_arrived(measured), MAX_FIRST_INPUT) or FIRST_SHAPE.input_tokens
    return Shape(input_tokens=tokens, output_tokens=FIRST_SHAPE.output_tokens if chat else 0)


def _arrived(measured: ClassDemand | None) -> float:
    """Tokens of a prompt that arrived, by its bytes; 0 where none did."""
    if measured is None or measured.requests_per_s <= 0.0:
        return 0.0
    return max(0.0, round(measured.arrived_input_tokens_per_s / measured.requests_per_s, 3))


def _tokens(shape: Shape, answered: bool, arrived: bool, chat: bool) -> str:
    """The tokens of a request and where they are from: what was not measured is not told as if it was."""
    inputs, outputs = f"{shape.input_tokens:.0f} input", f"{shape.output_tokens:.0f} output"
    if not answered:
        prompts = f"{ARRIVED_TOKENS} {inputs}" if arrived else f"assumed {inputs}"
        answers = f" and {'' if not arrived else 'assumed '}{outputs}" if chat else ""
        return f"{prompts}{answers} tokens per request, for none was answered yet"
    told = f"{TOKENS} {inputs}{f' and {outputs}' if chat else ''} tokens per request"
    load = _load(0.0, shape)
    if load.input_cv or load.output_cv:
        spread = (
            f"coefficients of variation {load.input_cv:g} and {load.output_cv:g}" if chat else f"coefficient of variation {load.input_cv:g}"
        )
        told += f", their {spread} ({TOKENS_SQUARED})"
    return told


def loads(snapshot: Snapshot, history: dict[str, tuple[DemandPoint, ...]], shapes: dict[str, Shape]) -> list[ClassLoad]:
    """The load of every class that the pool serves and that is known, in the pool's order; none of it while nothing was measured."""
    demand = snapshot.demand
    lead_s = lead_of(snapshot)
    chat = snapshot.spec.model.task == Task.CHAT
    result = []
    for name in snapshot.spec.classes:
        if name not in snapshot.classes:
            continue
        shape = shapes.get(name) or _first_shape(demand.classes.get(name) if demand else None, chat)
        if demand is None:
            result.append(ClassLoad(name, _load(0.0, shape), f"class {name}: nothing was measured yet"))
            continue
        max_wait_s, measured = snapshot.classes[name].queue.max_wait, demand.classes.get(name, ClassDemand())
        points = _reaching(demand.measured_at, history.get(name, ()))
        tokens = _tokens(shape, name in shapes, _arrived(measured) > 0.0, chat)
        if snapshot.classes[name].objectives is None:
            result.append(_patient_load(name, measured, points, shape, tokens, max_wait_s))
            continue
        drain_s = max(MIN_DRAIN_S, min(lead_s, max_wait_s))
        expected = outlook_of(snapshot, name, shape, lead_s)
        clumping = snapshot.memory.dispersion.get(name)
        lately_rps = stepped(points, demand.window_s, in_steps(clumping.value) if clumping else 1.0)
        result.append(_class_load(name, measured, points, shape, tokens, lead_s, drain_s, expected, clumping, lately_rps))
    return result

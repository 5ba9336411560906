"""From what was measured to the load to provision for."""

from __future__ import annotations

from typing import Any

import pytest
from tests.planning.builders import NOW, a_class, a_pod, a_snapshot, a_spec, demand, learned, points, running, said, settled, verdict

from forebay.planning.backfill import missing
from forebay.planning.demand import MAX_FIRST_INPUT, ClassLoad, loads, remembered, trend_per_s
from forebay.planning.lengths import MAX_LENGTH
from forebay.planning.measured import ClassDemand, Demand
from forebay.planning.memory import Clumping, DemandPoint, Memory, Shape
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot


def arrived(measured: ClassDemand) -> Demand:
    """Nothing was answered yet."""
    return demand().model_copy(update={"classes": {"interactive": measured}})


def load(snapshot: Snapshot, *history: float) -> ClassLoad:
    return loads(snapshot, {"interactive": points(*history)}, {"interactive": Shape(input_tokens=200, output_tokens=100)})[0]


def test_rising_demand_is_looked_ahead_of_by_the_start_time() -> None:
    snapshot = a_snapshot(demand=demand(rps=10), memory=Memory(start_times_s=(30.0,)))
    ahead = load(snapshot, 4, 6, 8, 10).load.requests_per_s
    assert abs(ahead - (10 + 30 * 2 / 15)) < 1e-6


def test_falling_demand_counts_as_it_is() -> None:
    falling = load(a_snapshot(demand=demand(rps=4)), 10, 8, 6, 4)
    assert falling.load.requests_per_s == 4 and "queue_depth" not in falling.why


def test_a_trend_at_most_doubles() -> None:
    assert load(a_snapshot(demand=demand(rps=10)), 0, 0, 0, 10).load.requests_per_s == 20
    assert load(a_snapshot(demand=demand(rps=0)), 0, 0, 0, 0).load.requests_per_s == 0


def test_few_points_are_no_trend() -> None:
    assert trend_per_s(points(1, 5, 9)) == 0
    assert trend_per_s((DemandPoint(at=NOW, requests_per_s=1),) * 5) == 0


def test_what_waits_is_drained_within_the_start_time() -> None:
    snapshot = a_snapshot(demand=demand(rps=2, queued=60), memory=Memory(start_times_s=(20.0,)))
    found = load(snapshot, 2, 2, 2, 2)
    assert found.load.requests_per_s == 5
    assert "forebay_sidecar_queue_depth 60 to drain in 20 s" in found.why


def test_a_short_wait_shortens_the_drain() -> None:
    classes = {"interactive": a_class(queue={"maxWait": "12s"})}
    assert load(a_snapshot(demand=demand(queued=60), classes=classes)).load.requests_per_s == 5


def test_the_decision_names_the_series() -> None:
    why = load(a_snapshot(demand=demand(rps=3)), 3).why
    assert "forebay_sidecar_arrivals_total 3 requests/s" in why
    assert "forebay_sidecar_tokens_total 200 input and 100 output tokens per request" in why


def test_lengths_that_nobody_measured_are_not_told_as_a_metrics() -> None:
    """`forebay explain` gave 256 and 128 tokens, a guess, as what forebay_sidecar_tokens_total said."""
    first = a_snapshot(demand=arrived(ClassDemand(requests_per_s=2, arrived_input_tokens_per_s=16_384)))
    assert (
        "assumed 256 input and 128 output tokens per request, for none was answered yet"
        in loads(a_snapshot(demand=demand(rps=0)), {}, {})[0].why
    )
    why = loads(first, {}, {})[0].why
    assert "forebay_sidecar_arrived_input_tokens_total 8192 input and assumed 128 output tokens per request" in why
    assert "forebay_sidecar_tokens_total" not in why


def test_what_clumps_and_what_varies_is_told_of_what_it_is_of() -> None:
    """The variation of lengths stood behind the dispersion of arrivals, as if it was theirs."""
    clumped = {"interactive": Clumping(value=2.0, requests_per_s=3.0, seconds=3600.0)}
    snapshot = a_snapshot(demand=demand(rps=3), memory=Memory(dispersion=clumped))
    why = loads(snapshot, {}, {"interactive": Shape(input_tokens=90, output_tokens=50, input_cv2=0.25)})[0].why
    assert (
        "90 input and 50 output tokens per request, their coefficients of variation 0.5 and 0 (forebay_sidecar_tokens_squared_total);"
        in why
    )
    assert "; arrivals clump: their index of dispersion is" in why


def test_embeddings_are_told_without_answers() -> None:
    spec = a_spec(model={"name": "m", "task": "Embeddings"})
    of_prompts = {"interactive": Shape(input_tokens=90, output_tokens=0, input_cv2=0.25)}
    for shapes in ({}, of_prompts):
        why = loads(a_snapshot(spec=spec, demand=demand(rps=3)), {}, shapes)[0].why
        assert "input tokens per request" in why and "output" not in why


def test_a_class_that_was_never_asked_has_a_guessed_shape() -> None:
    chat = loads(a_snapshot(), {}, {})[0].load
    assert (chat.requests_per_s, chat.input_tokens, chat.output_tokens) == (0, 256, 128)
    embeddings = loads(a_snapshot(spec=a_spec(model={"name": "m", "task": "Embeddings"})), {}, {})[0].load
    assert embeddings.output_tokens == 0


def test_before_an_answer_prompts_are_as_long_as_those_that_arrived() -> None:
    first = a_snapshot(demand=arrived(ClassDemand(requests_per_s=2, arrived_input_tokens_per_s=16_384)))
    assert (loads(first, {}, {})[0].load.input_tokens, loads(first, {}, {})[0].load.output_tokens) == (8192, 128)
    answered = loads(first, {}, {"interactive": Shape(input_tokens=8000, output_tokens=300)})[0].load
    assert (answered.input_tokens, answered.output_tokens) == (8000, 300)


@pytest.mark.parametrize(("rps", "tokens"), [(2.0, 0.0), (0.0, 500.0)])
def test_prompts_that_nothing_is_known_of_have_a_guessed_length(rps: float, tokens: float) -> None:
    unknown = a_snapshot(demand=arrived(ClassDemand(requests_per_s=rps, arrived_input_tokens_per_s=tokens)))
    assert loads(unknown, {}, {})[0].load.input_tokens == 256


def test_absurdly_long_prompts_are_bounded() -> None:
    absurd = a_snapshot(demand=arrived(ClassDemand(requests_per_s=1e-6, arrived_input_tokens_per_s=1e9)))
    assert loads(absurd, {}, {})[0].load.input_tokens == MAX_FIRST_INPUT


def test_classes_that_do_not_exist_have_no_load() -> None:
    spec = a_spec(classes=["gone", "interactive"])
    assert [x.name for x in loads(a_snapshot(spec=spec), {}, {})] == ["interactive"]


def test_nothing_measured_is_said_so() -> None:
    assert loads(a_snapshot(demand=None), {}, {})[0].why == "class interactive: nothing was measured yet"


def looked(memory: Memory, at: Demand, classes: list[str]) -> tuple[dict[str, tuple[DemandPoint, ...]], dict[str, Shape]]:
    """What is remembered of arrivals and shapes after one more look."""
    return remembered(a_snapshot(now=at.measured_at, spec=a_spec(classes=classes), demand=at, memory=memory))


def test_shapes_are_remembered_while_nothing_is_completed() -> None:
    first = looked(Memory(), demand(rps=2, input_tokens=300, output_tokens=50), ["interactive"])[1]
    assert (first["interactive"].input_tokens, first["interactive"].output_tokens) == (300, 50)
    again = looked(Memory(shapes=first), demand(rps=0), ["interactive"])[1]
    assert again == first


def test_how_unequal_requests_are_is_averaged_over_many() -> None:
    memory = Memory()
    for _ in range(40):
        memory = Memory(shapes=looked(memory, demand(rps=2, input_cv=2.0, output_cv=1.0), ["interactive"])[1])
    known = memory.shapes["interactive"]
    assert (known.input_cv2, known.output_cv2) == (pytest.approx(4.0), pytest.approx(1.0))
    alike = looked(memory, demand(rps=0.1), ["interactive"])[1]["interactive"]
    assert known.input_cv2 > alike.input_cv2 > 0.9 * known.input_cv2
    found = loads(a_snapshot(demand=demand(rps=2)), {}, {"interactive": known})[0]
    assert (found.load.input_cv, found.load.output_cv) == (2.0, 1.0)
    assert found.why.endswith("their coefficients of variation 2 and 1 (forebay_sidecar_tokens_squared_total)")


def unequal(rps: float = 2, **fields: Any) -> Shape:
    """What is known of a class after this measurement, where it was answers of 100 tokens on average, and quite unequal ones."""
    before = Memory(shapes={"interactive": Shape(input_tokens=200, output_tokens=100, output_cv2=1.0, seen=500)})
    return looked(before, demand(rps=rps, output_cv=1.0, **fields), ["interactive"])[1]["interactive"]


def test_lengths_that_differ_by_chance_are_averaged() -> None:
    """Ninety answers that are as unequal may be 30 tokens longer on average for no reason."""
    assert unequal(output_tokens=130).output_tokens == pytest.approx(100 + 30 * 90 / 590, rel=1e-3)
    assert unequal(output_tokens=75).output_tokens == pytest.approx(100 - 25 * 90 / 590, rel=1e-3)


def test_lengths_that_changed_are_taken_as_they_are_measured() -> None:
    assert unequal(output_tokens=150).output_tokens == 150
    assert unequal(rps=0.1, output_tokens=150).output_tokens < 125, "of a few requests that is no news"
    assert unequal(input_tokens=201).input_tokens == 201, "where all were alike, everything is"


def a_look(shape: Shape, *lengths: int) -> Shape:
    """What is known after a window of 45 s in which answers of these lengths were finished."""
    measured = ClassDemand(
        requests_per_s=len(lengths) / 45,
        completed_per_s=len(lengths) / 45,
        input_tokens_per_s=len(lengths) * 200 / 45,
        output_tokens_per_s=sum(lengths) / 45,
        input_tokens_squared_per_s=len(lengths) * 200**2 / 45,
        output_tokens_squared_per_s=sum(x**2 for x in lengths) / 45,
    )
    look = Demand(measured_at=NOW, window_s=45, source="test", replicas_reporting=1, classes={"interactive": measured})
    return looked(Memory(shapes={"interactive": shape}), look, ["interactive"])[1]["interactive"]


def test_one_long_answer_in_a_quiet_window_moves_lengths_little() -> None:
    """Of what a saturated or rarely asked pool finished in a window it may be the only one: the pool was sized for that answer alone."""
    known = Shape(input_tokens=200, output_tokens=100, output_cv2=1.0, seen=500)
    for _ in range(3):
        known = a_look(known, 900)
    assert 100 < known.output_tokens < 125


def test_windows_of_one_answer_show_how_unequal_answers_are() -> None:
    known = Shape(input_tokens=200, output_tokens=100, seen=1)
    for length in (20, 180) * 100:
        known = a_look(known, length)
    assert known.output_tokens == pytest.approx(100, rel=0.05)
    assert known.output_cv2 == pytest.approx(0.64, rel=0.1)


def test_lengths_that_changed_are_followed_though_few_are_answered() -> None:
    known = Shape(input_tokens=200, output_tokens=100, output_cv2=0.2, seen=500)
    for _ in range(20):
        known = a_look(known, 350, 400, 450)
    assert known.output_tokens > 200, "where a window counted for its three of five hundred it were 134"


def test_squares_that_are_missing_or_absurd_do_no_harm() -> None:
    good = demand(rps=2).classes["interactive"]
    for squares, spread in ((0.0, 0.0), (1e30, 25.0)):
        measured = good.model_copy(update={"input_tokens_squared_per_s": squares, "output_tokens_squared_per_s": squares})
        look = demand(rps=2).model_copy(update={"classes": {"interactive": measured}})
        shape = looked(Memory(), look, ["interactive"])[1]["interactive"]
        assert shape.input_cv2 == shape.output_cv2 == spread


@pytest.mark.parametrize("tokens", [1e9, 1e25, 1e30])
@pytest.mark.parametrize("which", ["input_tokens", "output_tokens"])
def test_nan_negative_and_absurd_lengths_are_bounded(which: str, tokens: float) -> None:
    """They would be planned with for as long as they are remembered, or in no number at all."""
    lengths: dict[str, Any] = {which: tokens}
    absurd = plan(a_snapshot(demand=demand(5, **lengths), **running(2), memory=settled(2)))
    assert getattr(absurd.memory.shapes["interactive"], which) == MAX_LENGTH
    assert said(absurd, "SloFeasible")[0] == "False" and absurd.replicas == 20
    after = plan(a_snapshot(demand=demand(5), **running(2), memory=settled(2, shapes=absurd.memory.shapes)))
    assert getattr(after.memory.shapes["interactive"], which) == {"input_tokens": 200, "output_tokens": 100}[which]


def test_a_time_without_end_is_said_so() -> None:
    """A length of 1e25 tokens may have been remembered before lengths were bounded."""
    absurd = {"interactive": Shape(input_tokens=1e25, output_tokens=100)}
    decision = plan(a_snapshot(demand=demand(0, queued=3), **running(2), memory=settled(2, shapes=absurd)))
    assert said(decision, "SloFeasible") == ("False", "ObjectiveBelowServiceTime")
    assert "one idle h100/full replica needs more than 8760h for" in verdict(decision, "SloFeasible").message


def test_only_the_pools_own_classes_are_remembered() -> None:
    old = Memory(history={"former": points(1)}, shapes={"former": Shape(input_tokens=1, output_tokens=1)})
    history, shapes = looked(old, demand(rps=1), ["other"])
    assert history == shapes == {}


def test_history_spans_its_window_however_often_one_looks() -> None:
    memory, look = Memory(), demand(rps=1)
    for step in range(1000):
        moment = look.model_copy(update={"measured_at": NOW + step * 0.5})
        history, _ = looked(memory, moment, ["interactive"])
        memory = Memory(history=history)
    kept = memory.history["interactive"]
    assert len(kept) <= 64
    assert kept[-1].at == NOW + 999 * 0.5
    assert kept[-1].at - kept[0].at > 170


def test_the_same_moment_is_one_point() -> None:
    history, _ = looked(Memory(history={"interactive": points(1, 2)}), demand(rps=5), ["interactive"])
    assert [p.requests_per_s for p in history["interactive"]] == [1, 5]


def seen_by(silent: int, of: int, rps: float = 6.0, **fields: Any) -> Snapshot:
    """Ready replicas of which some are not measured, beside one that starts and reports already."""
    measured = demand(rps, reporting=of - silent + 1).model_copy(update={"unheard": silent})
    there = running(of)
    pods = (*there["pods"], a_pod("starting", ready=False))
    return a_snapshot(**{**there, "pods": pods, "demand": measured, "memory": settled(of), **fields})


def test_demand_of_half_of_the_replicas_is_not_learned_as_if_it_were_that_of_all() -> None:
    """Such a forecast is half too low for as long as it remembers; and when all are measured again, their load looks doubled."""
    known = learned([6.0] * 60).model_copy(update={"history": {"interactive": points(6, 6, 6)}, "dispersion": {}})
    half = seen_by(1, of=2, rps=3.0, memory=known, now=NOW + 15)
    assert half.demand is not None
    half = half.model_copy(update={"demand": half.demand.model_copy(update={"measured_at": NOW + 15})})
    memory = plan(half).memory
    assert (memory.forecasts, memory.history, memory.dispersion) == (known.forecasts, known.history, known.dispersion)
    assert memory.partly_at == half.now
    whole = plan(seen_by(0, of=2, memory=known)).memory
    assert whole.forecasts != known.forecasts and whole.partly_at == 0.0


def test_a_look_at_half_of_the_replicas_is_no_point_of_a_trend() -> None:
    rising = {"interactive": points(2, 4, 6, 8)}
    half = seen_by(1, of=2, rps=5.0, now=NOW + 15)
    assert half.demand is not None
    half = half.model_copy(update={"demand": half.demand.model_copy(update={"measured_at": NOW + 15})})
    (found,) = loads(half, rising, {})
    assert found.load.requests_per_s == 5.0, "what was known before says nothing about what is measured of a half"


def test_minutes_of_which_half_was_measured_are_not_read_from_prometheus_either() -> None:
    """It has scraped no more of them."""
    at = NOW + 7200.0
    known = learned([6.0] * 60).model_copy(update={"partly_at": NOW + 3600.0})
    known = known.model_copy(update={"forecasts": {n: f.model_copy(update={"read_s": 0.0}) for n, f in known.forecasts.items()}})
    later = demand(6.0, age_s=-7200.0)
    assert missing(seen_by(0, of=2, memory=known, now=at, demand=later)) == {"interactive": NOW + 3600.0}
    assert missing(seen_by(0, of=2, memory=known.model_copy(update={"partly_at": at - 15.0}), now=at, demand=later)) == {}
    half = later.model_copy(update={"unheard": 1})
    assert missing(seen_by(1, of=2, memory=known, now=at, demand=half)) == {}


def test_a_few_replicas_that_are_not_measured_are_asked_for_what_the_others_are() -> None:
    """Of many replicas one is always silent: forecasts would never learn."""
    memory = plan(seen_by(1, of=10, rps=9.0)).memory
    assert memory.history["interactive"][-1].requests_per_s == pytest.approx(10.0)
    assert memory.forecasts["interactive"].input_tokens.total == pytest.approx(10.0 * 200) and memory.partly_at == 0.0
    assert not plan(seen_by(2, of=10, rps=8.0)).memory.history


def test_a_replica_that_starts_does_not_stand_for_one_that_is_silent() -> None:
    """Its sidecar reports long before its engine is ready."""
    decision = plan(seen_by(1, of=2, rps=0.1))
    assert decision.replicas == 2
    assert "1 of 2 replicas were measured: nothing is given back" in decision.why
    assert verdict(decision, "MetricsFresh").message.startswith("1 of 2 replicas measured by scrape: what the others are asked for")

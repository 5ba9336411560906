"""What the demo counts, and how it shows it."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.local.demo_facts import a_class, a_pool, a_record, a_sample, answered, seen

from forebay.api.inference_pool import Task
from forebay.dataplane.outcome import Outcome
from forebay.local.demo import plot
from forebay.local.demo.play import SCRIPT, cosine
from forebay.local.demo.shape import Shape, arrivals
from forebay.local.demo.show import lines
from forebay.local.demo.summary import quantile, summary


def test_every_request_is_counted_once_by_what_became_of_it() -> None:
    refused = answered(2, status=429, outcome=Outcome.REFUSED, first_s=None)
    lost = answered(1, status=502, outcome=Outcome.LOST) + answered(1, status=0, outcome=Outcome.LOST, batch_class="lookup")
    found = summary(seen(answered=[*answered(5), *refused, *lost], held_back=3))["requests"]
    assert {key: found[key] for key in ("sent", "finished", "refused", "lost", "heldBack")} == {
        "sent": 9, "finished": 5, "refused": 2, "lost": 2, "heldBack": 3,
    }  # fmt: skip
    assert found["errors"] == {"0": 1, "429": 2, "502": 1}
    assert found["classes"]["lookup"] == {"sent": 1, "finished": 0, "refused": 0, "lost": 1}
    assert found["outputTokens"] == sum(one.output_tokens for one in (*answered(5), *refused, *lost))


def test_attainment_is_of_what_a_replica_had_to_answer_and_what_was_refused_missed_it() -> None:
    late, refused = answered(2, first_s=0.9), answered(1, status=503, outcome=Outcome.REFUSED, first_s=None)
    (row,) = summary(seen(answered=[*answered(7), *late, *refused, *answered(90, cache="hit", first_s=0.001)]))["objectives"]
    assert (row["class"], row["objective"], row["targetSeconds"]) == ("interactive", "timeToFirstToken", 0.5)
    assert (row["requests"], row["attainment"]) == (10, 0.7)
    assert row["tailSeconds"] is None  # the slowest one in twenty never came


def test_each_metric_is_measured_from_what_the_client_saw() -> None:
    target = {"target": "1s"}
    classes = {"interactive": a_class(timeToFirstToken=target, endToEnd=target, interTokenLatency=target)}
    rows = summary(seen(classes=classes, answered=answered(1, first_s=0.5, total_s=2.5, output_tokens=5)))["objectives"]
    assert {row["objective"]: row["tailSeconds"] for row in rows} == {"timeToFirstToken": 0.5, "endToEnd": 2.5, "interTokenLatency": 0.5}


def test_a_class_without_requests_has_no_attainment() -> None:
    (row,) = summary(seen(answered=[]))["objectives"]
    assert (row["requests"], row["attainment"], row["tailSeconds"]) == (0, None, None)


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_a_value_that_enough_others_do_not_exceed(values: list[float], share: float) -> None:
    found = quantile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_cache_hits_are_a_share_of_what_the_cache_may_answer() -> None:
    found = summary(seen(answered=[*answered(6, cache="hit"), *answered(1, cache="collapsed"), *answered(3, cache="miss"), *answered(5)]))
    assert found["cache"] == {"hit": 6, "collapsed": 1, "miss": 3, "bypass": 5, "share": 0.7}
    assert summary(seen(answered=answered(2)))["cache"]["share"] is None


def test_cost_is_what_stood_there_against_the_peak_on_demand_all_the_time() -> None:
    """Half an hour of one on-demand replica, half an hour of two spot replicas besides; the plan never wanted more than three."""
    samples = [a_sample(0, 1, 0, usd_per_hour=4.0), a_sample(1800, 1, 2, usd_per_hour=6.0), a_sample(3600, 1, 2, usd_per_hour=6.0)]
    decisions = [a_record(1000, 1, 0), a_record(1100, 1, 2), a_record(1200, 1, 3, replicas=3)]  # one more while one is replaced
    cost = summary(seen(samples=samples, decisions=decisions))["cost"]
    pool = cost["pools"]["default/chat"]
    assert (pool["peakReplicas"], pool["usedUsd"], pool["staticPeakUsd"]) == (3, 5.0, 12.0)
    assert pool["replicaHours"] == {"onDemand": 1.0, "spot": 1.0}
    assert (cost["usedUsd"], cost["staticPeakUsd"], cost["savedShare"], cost["spotShare"]) == (5.0, 12.0, 0.5833, 0.5)


def test_without_a_price_the_cost_is_unknown_and_not_nothing() -> None:
    pool = a_pool(capacity={"accelerators": [{"name": "gpu"}], "spot": {"enabled": True}})
    document = summary(seen(pools={"default/chat": pool}, samples=[a_sample(0, usd_per_hour=None), a_sample(9, usd_per_hour=None)]))
    assert (document["cost"]["usedUsd"], document["cost"]["staticPeakUsd"], document["cost"]["savedShare"]) == (None, None, None)
    assert "unknown" in "\n".join(lines(document, 100))


def test_only_decisions_that_changed_a_pool_are_told_with_all_their_reasons() -> None:
    records = [a_record(1001, 1, 0), a_record(1002, 1, 0), a_record(1003, 1, 1, why=("one", "two")), a_record(1004, 1, 0)]
    found = summary(seen(decisions=records))["decisions"]
    assert [(d["atSeconds"], d["before"]["spot"], d["after"]["spot"]) for d in found] == [(1.0, 0, 0), (3.0, 0, 1), (4.0, 1, 0)]
    assert found[1]["why"] == ["one", "two"]


def test_the_timeline_has_rates_of_what_was_sent_between_two_samples() -> None:
    timeline = summary(seen(samples=[a_sample(0, sent=0), a_sample(1, sent=3), a_sample(3, 1, 2, sent=4)]))["timeline"]
    assert [moment["requestsPerSecond"] for moment in timeline] == [3.0, 0.5]
    assert timeline[1]["pools"] == {"default/chat": {"desired": 3, "ready": 3, "onDemand": 1, "spot": 2}}


def test_the_document_is_json_even_where_nothing_happened() -> None:
    document = summary(seen(answered=[], samples=[], decisions=[], reclaimed=None, nearest=None))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert lines(document, 80)


# the report


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_report_says_everything_within_the_terminal(width: int) -> None:
    samples = [a_sample(float(s), 1, 2 if 20 < s < 50 else 0, sent=s * s // 10) for s in range(61)]
    why = ("sim-gpu/full: 2 replicas by timeToFirstToken, one holds 1.8 requests/s " * 3, "WithinLimits: within gpus 8")
    found = lines(summary(seen(samples=samples, decisions=[a_record(1010, 1, 2, why=why)])), width)
    text = "\n".join(found)
    assert max(map(len, found)) <= width, max(found, key=len)
    for part in (
        "interactive    10        10        0     0",
        "errors: none",
        "timeToFirstToken p95  interactive   500ms",
        "100.0%",
        "+10 s  default/chat: 0 + 0 → 1 + 2",
        "one holds 1.8 requests/s",
        "less than the static peak would have cost",
        "spot-1 was reclaimed with 4 requests in flight on it: replaced 4.5 s after the notice",
        "No accepted request was lost.",
    ):
        assert part in text.replace("\n", " ") or part in text, part
    assert "WithinLimits" not in text


def test_lost_requests_are_not_to_be_overlooked() -> None:
    found = lines(summary(seen(answered=answered(2, status=502, outcome=Outcome.LOST))), 100)
    assert "2 accepted requests were LOST." in found
    assert "errors: 2 × 502" in found


def test_replicas_are_stacked_and_each_is_a_line() -> None:
    assert plot.stacks([1, 1, 1], [0, 2, 1]) == ["    3 ┤ ▒ ", "    2 ┤ ▒▒", "    1 ┤███"]


def test_an_area_reaches_as_high_as_its_value() -> None:
    assert plot.area([0, 2, 4], rows=2) == ["    4 ┤  █", "    2 ┤ ██"]
    assert plot.area([0, 0], rows=1) == ["    1 ┤  "]


def test_the_axis_names_its_moments_where_they_are() -> None:
    line, labels = plot.axis(60, 20)
    assert line == "      └┴─────────┴────────┴"
    assert [labels.index(text) - 7 for text in ("0 s", "30 s", "60 s")] == [0, 10, 16]


def test_a_mark_without_room_on_its_right_is_told_on_its_left() -> None:
    assert plot.marks([(0, "begins"), (60, "ends")], 60, 20) == ["       ▲ begins", "                     ends ▲"]


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 9)), max_size=100), st.integers(1, 120))
def test_columns_stay_within_what_there_was(values: list[tuple[float, float]], width: int) -> None:
    found = plot.columns(values, 60, width)
    assert len(found) == width
    assert all(0 <= height <= max((value for _, value in values), default=0) + 1e-9 for height in found)


# the load


def test_the_rate_is_a_line_between_points() -> None:
    shape = Shape(((0, 1), (10, 3), (20, 3)))
    assert [shape.rate(at) for at in (0, 5, 10, 19.9, 20, 99)] == [1, 2, 3, 3, 0, 0]


@given(st.integers(0, 2**32), st.floats(0.1, 20))
def test_arrivals_are_in_order_the_same_for_the_same_seed_and_as_many_as_the_rate_says(seed: int, rate: float) -> None:
    shape = Shape(((0, 0), (30, rate), (60, rate)))
    found = arrivals(shape, seed)
    assert found == arrivals(shape, seed)
    assert all(a <= b for a, b in pairwise(found))
    assert all(0 <= at < 60 for at in found)
    expected = 45 * rate
    assert abs(len(found) - expected) <= 7 * math.sqrt(expected) + 3


def test_the_script_rises_and_falls_within_three_minutes() -> None:
    chat = SCRIPT.shapes[Task.CHAT]
    assert max(shape.seconds for shape in SCRIPT.shapes.values()) <= 150
    assert chat.rate(SCRIPT.reclaim_at_s) == max(rate for _, rate in chat.points)
    assert chat.rate(0) == chat.rate(chat.seconds - 1)


def test_cosine_of_like_and_unlike() -> None:
    assert cosine([1, 0], [2, 0]) == pytest.approx(1)
    assert cosine([1, 0], [0, 3]) == pytest.approx(0)
    assert cosine([0, 0], [1, 1]) == 0

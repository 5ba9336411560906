"""Rates and lengths from files, from which requests are drawn; what cannot be used is named with its line."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from forebay.simulation.arrivals import renewal, stages
from forebay.simulation.files import WorkloadError
from forebay.simulation.lengths import alike, read_lengths
from forebay.simulation.workload import has_rates, read_rates


def a_file(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_rates_are_linear_between_the_middles_of_their_steps(tmp_path: Path) -> None:
    rates = read_rates(a_file(tmp_path, "ts_s,total_rate_rps,active_clients,rate_weighted_cv\n1000,2,5,1.5\n1600,4,5,9\n2200,4,5,\n"))
    assert rates.knots == ((0.0, 2.0), (300.0, 2.0), (900.0, 4.0), (1500.0, 4.0), (1800.0, 4.0))
    assert rates.scaled_to(1.0).mean_rps == pytest.approx(1.0)
    cv = rates.cv_at()
    assert [cv(t) for t in (0, 599, 600, 1300)] == [1.5, 1.5, 4.0, 1.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "line 1: no column for ts_s and total_rate_rps: there is a, b"),
        ("ts_s,total_rate_rps\n1,two\n", "line 2: ts_s and total_rate_rps must be numbers"),
        ("ts_s,total_rate_rps\n1,2,3\n", "line 2: 3 cells where the header has 2"),
        ("ts_s,total_rate_rps\n1\n", "line 2: 1 cells where the header has 2"),
        ("ts_s,total_rate_rps,rate_weighted_cv\n1,2,-3\n", "line 2: rate_weighted_cv is '-3': not a number from 0 on"),
        ("ts_s,total_rate_rps,rate_weighted_cv\n1,2,banana\n", "line 2: rate_weighted_cv is 'banana'"),
        ("client,ts_s,rate_rps\n1,0,2\n1,0,2\n", "line 3: ts_s does not rise for client 1"),
        ("ts_s,rate_rps\n0,2\n0,2\n", "at least two steps"),
        ("ts_s,rate_rps\n0,2\n600,2\n1500,2\n", "ts_s of 1500 is no whole number of steps of 600 s after 600"),
        ("ts_s,rate_rps\n0,2\n1,2\n1e9,2\n", "more than 200,000 steps"),
        ("ts_s,rate_rps,cv\n0,2,x\n", "line 2: cv is 'x'"),
        ("ts_s,total_rate_rps\n1,2\n1,2\n", "line 3: ts_s does not rise"),
        ("ts_s,total_rate_rps\n1,-2\n", "line 2"),
        ("ts_s,total_rate_rps\n1,2\n", "at least two rows"),
        ("ts_s,total_rate_rps\n0,2\n600,2\n1800,2\n", "line 4: 1200 s after the line above, where steps are 600 s: fill the gap in"),
        ("ts_s,total_rate_rps\n0,0\n600,0\n", "every rate is 0"),
        ('ts_s,total_rate_rps\n0,"' + "2" * 200_000 + '"\n', "line 2: field larger than field limit"),
    ],
)
def test_rates_that_cannot_be_used_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(WorkloadError, match=told):
        read_rates(a_file(tmp_path, text))


def test_a_header_with_spaces_is_a_header_of_rates(tmp_path: Path) -> None:
    path = a_file(tmp_path, "ts_s, total_rate_rps, rate_weighted_cv\n0, 2, 3\n600, 2, 3\n")
    assert has_rates(path) and read_rates(path).mean_rps == 2.0 and read_rates(path).cv_at()(0.0) == 3.0


@pytest.mark.parametrize("packed", [False, True])
def test_rates_of_clients_are_summed_up(tmp_path: Path, packed: bool) -> None:
    """ServeGen's own format: a client has rows where it asks for something, and in a step without any nothing comes."""
    text = (
        "client,ts_s,rate_rps,cv,dist,p1,p2\n0,0,1.0,3.0,Gamma,0.1,7\n0,1800,2.0,1.0,Weibull,1,1\n"
        "1,0,3.0,1.0,Gamma,1,1\n1,600,4.0,,Gamma,1,1\n2,2400,0.5,2.0,Gamma,1,1\n"
    )
    path = a_file(tmp_path, gzip.compress(text.encode()) if packed else text)
    assert has_rates(path)
    rates = read_rates(path)
    assert [rate for _, rate in rates.knots[1:-1]] == [4.0, 4.0, 0.0, 2.0, 0.5]
    assert [at for at, _ in rates.knots] == [0.0, 300.0, 900.0, 1500.0, 2100.0, 2700.0, 3000.0]
    assert rates.cv_from == ((0.0, 1.5), (600.0, 1.0), (1200.0, 1.0), (1800.0, 1.0), (2400.0, 2.0))


def test_rates_of_many_clients_are_kept_by_step(tmp_path: Path) -> None:
    rows = "".join(f"{client},{at},0.1,1.0\n" for client in range(2_000) for at in range(0, 6000, 600))
    path = a_file(tmp_path, "client,ts_s,rate_rps,cv\n" + rows)
    tracemalloc.start()
    try:
        assert read_rates(path).mean_rps == pytest.approx(200.0)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_arrivals_follow_their_rate(cv: float) -> None:
    knots = [*stages([(2.0, 3000.0), (8.0, 3000.0)]), (9000.0, 2.0)]
    times = list(renewal(knots, seed=7, cv=lambda _: cv))
    assert times == sorted(times) == list(renewal(knots, seed=7, cv=lambda _: cv)) and times != list(renewal(knots, seed=8))
    counts = [sum(a <= t < a + 3000 for t in times) for a in (0, 3000, 6000)]
    # Three standard deviations of a renewal process's counts.
    for count, mean in zip(counts, (6000, 24000, 15000), strict=True):
        assert abs(count - mean) < 3 * cv * mean**0.5 + 10


@pytest.mark.parametrize("header", ["input_tokens,output_tokens", "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio"])
def test_lengths_are_drawn_row_by_row(tmp_path: Path, header: str) -> None:
    extra = "" if header.startswith("input") else ",9,1.5"
    path = a_file(tmp_path, header + "\n" + "".join(f"{n},{10 * n}{extra}\n" for n in (1, 2, 3)))
    times = [float(n) for n in range(600)]
    drawn = list(read_lengths(path).drawn(times, seed=3))
    assert [at for at, *_ in drawn] == times and drawn == list(read_lengths(path).drawn(times, seed=3))
    pairs = [(inputs, outputs) for _, inputs, outputs in drawn]
    assert set(pairs) == {(1, 10), (2, 20), (3, 30)} and all(150 < pairs.count(pair) < 250 for pair in set(pairs))
    assert read_lengths(path).mean == (2.0, 20.0) and list(alike(4, 1).drawn([7.0], 1)) == [(7.0, 4, 1)]


def windows(**means: float) -> str:
    """Two clients in two windows, as ServeGen has them."""
    return "client,ts_s,field,mean,p50,p90,p99\n" + "".join(
        f"{client},{at},{field},{mean * times},{mean * times * 0.6},0,0\n"
        for at, times in ((0, 1), (21600, 2))
        for client in (0, 1)
        for field, mean in means.items()
    )


def test_lengths_by_window_are_those_of_their_time(tmp_path: Path) -> None:
    lengths = read_lengths(a_file(tmp_path, windows(input_tokens=500, output_tokens=150, reason_ratio=0.5)))
    times = [2.16 * n for n in range(20_000)]
    drawn = list(lengths.drawn(times, seed=3))
    assert drawn == list(lengths.drawn(times, seed=3)) and [at for at, *_ in drawn] == times
    first, second = drawn[:10_000], drawn[10_000:]
    for window, mean in ((first, 500), (second, 1000)):
        assert sum(inputs for _, inputs, _ in window) / len(window) == pytest.approx(mean, rel=0.06)
    assert sorted(outputs for *_, outputs in first)[5_000] == pytest.approx(90, rel=0.06)
    assert lengths.mean == pytest.approx((750.0, 225.0))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (windows(input_tokens=500), "rows with the field input_tokens and output_tokens are needed for two times at least, there are 0"),
        ("ts_s,field,mean,p50\n0,input_tokens,-1,2\n", "line 2: mean is '-1': not a number from 0"),
        ("ts_s,field,mean,p50\n0,input_tokens,1,nan\n", "line 2: p50 is 'nan': not a number from 0"),
        ("ts_s,field,mean,p50\n0,input_tokens\n", "line 2: 2 cells where the header has 4"),
    ],
)
def test_windows_that_cannot_be_used_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(WorkloadError, match=told):
        read_lengths(a_file(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", "line 1: no column for input_tokens and output_tokens: there is a, b"),
        ("input_tokens,output_tokens\n1,2\n1,-2\n", "line 3: output_tokens is '-2': not a whole number from 0"),
        ("input_tokens,output_tokens\n1,2.5\n", "line 2: output_tokens is '2.5': not a whole number"),
        ("input_tokens,output_tokens\n1\n", "line 2: 1 cells where the header has 2"),
        ("input_tokens,output_tokens\n", "there are no lengths in it"),
    ],
)
def test_lengths_that_cannot_be_used_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(WorkloadError, match=told):
        read_lengths(a_file(tmp_path, text))

"""Workloads from files: public formats load as they are, and what cannot be used is named with its line."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay.planning.work import EngineProfile
from forebay.simulation.files import Position, WorkloadError
from forebay.simulation.laws.static import Static
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup
from forebay.simulation.workload import read

OURS = "arrival_time_s,input_tokens,output_tokens,class,tenant\n"


def a_file(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ours.csv", OURS + "100,7,9,batch,acme\n101.5,8,1,,\n"),
        ("azure.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,7,9\n2023-11-16 18:17:05.4799600,8,1\n"),
        ("azure24.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.0+00:00,7,9\n2024-05-10 00:00:01.5+00:00,8,1\n"),
        ("burst.csv", "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,7,9,16,API\n6.5,GPT-4,8,1,9,API\n"),
        (
            "mooncake.jsonl",
            '{"timestamp": 500, "input_length": 7, "output_length": 9, "hash_ids": []}\n'
            '{"timestamp": 2000, "input_length": 8, "output_length": 1, "hash_ids": [1]}\n',
        ),
        (
            "ours.jsonl",
            '{"arrival_time_s": 1, "input_tokens": 7, "output": 9}\n\n{"arrival_time_s": 2.5, "input_tokens": 8, "output": 1}\n',
        ),
        ("milliseconds.csv", "arrival_time_ms,input_tokens,output_tokens\n0,7,9\n1500,8,1\n"),
        ("microseconds.csv", "arrival_time_us,input_tokens,output_tokens\n0,7,9\n1500000,8,1\n"),
        ("nanoseconds.jsonl", '{"time_ns": 5, "input": 7, "output": 9}\n{"time_ns": 1500000005, "input": 8, "output": 1}\n'),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_public_formats_load_as_they_are(tmp_path: Path, name: str, text: str, packed: bool) -> None:
    path = a_file(tmp_path, gzip.compress(text.encode()) if packed else text, name + (".gz" if packed else ""))
    one, other = read(path, default_class="interactive")
    assert (one.arrived, one.input_tokens, one.output_tokens) == (0.0, 7, 9)
    assert (other.arrived, other.input_tokens, other.output_tokens) == (pytest.approx(1.5), 8, 1)
    assert (other.batch_class, other.tenant) == ("interactive", "")
    assert (one.batch_class, one.tenant) == (("batch", "acme") if name == "ours.csv" else ("interactive", ""))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "a.csv",
            "when,what\n1,2\n",
            "line 1: no column for arrival_time_s and input_tokens and output_tokens: there is when, what",
        ),
        ("a.csv", OURS + "2,1,1,,\n1,1,1,,\n", "a.csv, line 3: arrives 1 s before a line above; sort it by time"),
        ("a.csv", OURS + "soon,1,1,,\n", "a.csv, line 2: arrival_time_s is 'soon': neither a number nor a date and time"),
        ("a.csv", OURS + "nan,1,1,,\n", "a.csv, line 2: arrival_time_s is 'nan'"),
        ("a.csv", OURS + "1,-5,1,,\n", "a.csv, line 2: input_tokens is '-5': not a whole number from 0 to 10,000,000"),
        ("a.csv", OURS + "1,1,1e99,,\n", "a.csv, line 2: output_tokens is '1e99'"),
        ("a.csv", OURS + "1,1,,,\n", "a.csv, line 2: output_tokens is ''"),
        ("a.csv", OURS + "1,1\n", "a.csv, line 2: 2 cells where the header has 5"),
        ("a.csv", OURS, "a.csv: there is no request in it"),
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", " \n\n", "a.csv is empty"),
        ("a.csv.gz", gzip.compress(b""), "a.csv.gz is empty"),
        ("a.csv", b"\x00\xff\xfe\x01", "a.csv is not text"),
        ("a.csv", bytes(5000), "a.csv is not text"),
        ("a.csv", "a\x07b,c\n", "there is 'a\\x07b', c."),
        ("a.csv", OURS + "-5,1,1,,\n0,1,1,,\n", "a.csv, line 2: arrival_time_s is '-5': times are from 0 on"),
        ("a.csv", OURS + "1,1.5,1,,\n", "a.csv, line 2: input_tokens is '1.5': not a whole number"),
        ("a.csv", OURS + '1,1,1,,\n2,1,1,"x,\n3,1,1,,\n', "a.csv, line 3: unexpected end of data: is a quote left open?"),
        (
            "a.csv",
            OURS + '1,1,1,,\n2,1,1,"x,\n' + "3,1,1,,\n" * 50_000,
            "a.csv, line 3: field larger than field limit (131072): is a quote",
        ),
        ("a.csv", OURS + "1,1,1,," + "x" * 1_000_001, "a.csv, line 2: longer than 1,000,000 characters"),
        ("a.jsonl", '\n{"a": "' + "x" * 1_000_001, "a.jsonl, line 2: longer than 1,000,000 characters"),
        (
            "a.jsonl",
            "\n{\n  1}\n",
            "a.jsonl, line 2: not JSON: Expecting property name enclosed in double quotes (character 3); a workload",
        ),
        ("a.csv", gzip.compress(OURS.encode() * 500)[:40], "a.csv ends in the middle"),
        ("a.csv", gzip.compress(OURS.encode(), mtime=0)[:10] + b"\xff" * 40, "a.csv is damaged"),
        ("a.csv", OURS + "0,1,1,,\n90000,1,1,,\n", "a.csv, line 3: arrives 25h after the one before it"),
        ("a.csv", "num_prefill_tokens,num_decode_tokens\n5,6\n", "line 1: no column for arrival_time_s: there is num_prefill_tokens, num_"),
        ("a.jsonl", "{]\n", "a.jsonl, line 1: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl, line 1: not an object"),
        ("a.jsonl", "[" * 100_000 + "\n", "a.jsonl, line 1: not JSON"),
        ("a.jsonl", '{"arrival_time_s": true, "input_tokens": 1, "output_tokens": 1}\n', "a.jsonl, line 1: arrival_time_s is 'True'"),
        ("a.jsonl", '{"arrival_time_s": 1, "input_tokens": 1, "output_tokens": 1}\n{}\n', "a.jsonl, line 2: no column for arrival"),
        ("a.csv", "client,ts_s,field,mean,p50\n0,0,input_tokens,4,2\n", "or give this, ServeGen's lengths over time, as --lengths beside"),
        ("p3.csv", "0,1\n0,2\n", "or give this, which is of spot nodes, as --spot-events beside a workload"),
        ("p3trace.csv", "0,add,node1\n", "or give this, which is of spot nodes, as --spot-events beside"),
        ("a.csv", "time_s,available\n0,1\n", "or give this, which is of spot nodes, as --spot-events beside"),
        ("a.csv", OURS.replace(",", ";") + "0;1;1;;\n", "for columns are separated by commas and not by ';'"),
        ("a.csv", OURS.replace(",", "\t") + "0\t1\t1\t\t\n", "for columns are separated by commas and not by '\\t'"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(tmp_path: Path, name: str, text: str | bytes, told: str) -> None:
    with pytest.raises(WorkloadError) as error:
        list(read(a_file(tmp_path, text, name)))
    assert told in str(error.value) and str(tmp_path) not in str(error.value)


def test_a_class_that_nobody_serves_is_named_with_its_line(tmp_path: Path) -> None:
    """Blank lines and the header count: whoever opens the file at that line sees it."""
    rows = "0,1,1,batch,\n\n1,1,1,,\n2,1,1,bach,\n"
    with pytest.raises(WorkloadError, match=r"a\.csv, line 5: class is 'bach', and the pool serves batch, interactive: correct it, or add"):
        list(read(a_file(tmp_path, OURS + rows, "a.csv"), "interactive", served=["interactive", "batch"]))


def test_an_object_may_have_what_the_one_before_it_left_out(tmp_path: Path) -> None:
    """Loggers leave out what is null: the first request had no class, and that of all others was lost."""
    rows = ["", ', "class": "batch", "tenant": "acme"', "", ', "tenant": "acme"']
    text = "".join(f'{{"arrival_time_s": {i}, "input_tokens": 7, "output_tokens": 9{more}}}\n' for i, more in enumerate(rows))
    found = [(r.batch_class, r.tenant) for r in read(a_file(tmp_path, text), default_class="interactive")]
    assert found == [("interactive", ""), ("batch", "acme"), ("interactive", ""), ("interactive", "acme")]


def test_what_a_workload_may_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="or for rates over time ts_s and total_rate_rps, or ServeGen's client, ts_s and rate_rps"):
        list(read(a_file(tmp_path, "when,what\n1,2\n")))


@pytest.mark.parametrize(("time_unit_s", "second"), [(None, 1000.0), (0.001, 1.0), (1.0, 1000.0), (1e-6, 0.001)])
@pytest.mark.parametrize("lines", [False, True])
def test_the_unit_of_times_is_what_is_said(tmp_path: Path, time_unit_s: float | None, second: float, lines: bool) -> None:
    """A column `timestamp` does not tell its unit."""
    rows = '{"timestamp": %d, "input_tokens": 1, "output_tokens": 1}\n' if lines else "%d,1,1\n"
    text = ("" if lines else "timestamp,input_tokens,output_tokens\n") + "".join(rows % at for at in (0, 1000, 2000))
    arrived = [request.arrived for request in read(a_file(tmp_path, text), time_unit_s=time_unit_s)]
    assert arrived == pytest.approx([0.0, second, 2 * second])


def test_the_unit_that_is_said_is_believed_over_a_name(tmp_path: Path) -> None:
    text = "arrival_time_ms,input_tokens,output_tokens\n0,1,1\n1500,1,1\n"
    assert [r.arrived for r in read(a_file(tmp_path, text), time_unit_s=1.0)] == [0.0, 1500.0]


@pytest.mark.parametrize("name", ["trace", "trace.csv", "trace.gz", "trace.txt"])
def test_json_lines_are_known_by_what_is_in_them(tmp_path: Path, name: str) -> None:
    text = b'\xef\xbb\xbf\n {"timestamp": 500, "input_length": 7, "output_length": 9}\n'
    for content in (text, gzip.compress(text)):
        assert [r.input_tokens for r in read(a_file(tmp_path, content, name))] == [7]
    assert [r.input_tokens for r in read(a_file(tmp_path, OURS + "1,7,9,,\n", "trace.jsonl"))] == [7]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(WorkloadError, match=path.name):
            list(read(path))


def test_a_long_workload_is_streamed(tmp_path: Path) -> None:
    path = a_file(tmp_path, OURS + "".join(f"{i},100,100,,\n" for i in range(300_000)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in itertools.islice(read(path), 100_000)) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_lines_that_are_late_by_no_more_than_is_allowed_for_are_put_into_order(tmp_path: Path) -> None:
    path = a_file(tmp_path, OURS + "".join(f"{at},{1 + n},1,,\n" for n, at in enumerate((10, 12, 11, 11, 15, 13.5, 20))))
    assert [(r.arrived, r.input_tokens) for r in read(path, disorder_s=2.0)] == [
        *((0, 1), (1, 3), (1, 4), (2, 2), (3.5, 6), (5, 5), (10, 7)),
    ]
    with pytest.raises(WorkloadError, match=r"line 7: arrives 1\.5 s before a line above, and 1 s are allowed for"):
        list(read(path, disorder_s=1.0))


def test_lines_out_of_order_are_streamed_too(tmp_path: Path) -> None:
    path = a_file(tmp_path, OURS + "".join(f"{i + (5 if i % 7 == 0 else 0)},100,100,,\n" for i in range(100_000)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(path, disorder_s=10.0)) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_run_keeps_a_few_numbers_of_each_request_and_not_the_request() -> None:
    """Gigabytes of requests: 33 bytes of each are kept for the quantiles."""

    def requests(count: int) -> Iterator[Request]:
        return (Request(0.05 * i, 10, 2) for i in range(count))

    setup = Setup(EngineProfile(0.01, 0.0, 0.0, 8), 10.0, 1, 1, 1)
    Run(setup, Static(1)).through(requests(100))
    peaks = []
    for count in (20_000, 60_000):
        tracemalloc.start()
        try:
            assert len(Run(setup, Static(1)).through(requests(count)).arrived) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 40_000 < 60


def test_how_much_of_a_file_is_read_is_known_while_it_is(tmp_path: Path) -> None:
    path = a_file(tmp_path, OURS + "".join(f"{i},100,100,,\n" for i in range(50_000)))
    position = Position()
    shares = [position.share for _ in read(path, position=position)]
    assert shares == sorted(shares) and shares[0] < 0.1 and 0.4 < shares[25_000] < 0.6 and position.share == 1.0

"""The forecast bench without its hours of series: what it says where data are absent, and how it judges."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from bench.__main__ import main
from bench.forecast import _forebay, _holds, _scored
from bench.support.forecast_baselines import LEVELS, damped_holt, of_the_law, pinball, seasonal_naive
from bench.support.load_series import generated, recorded

from forebay.runtime.errors import ForebayError


def test_absent_data_are_said_and_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forecast", "--data", str(tmp_path)]) == 1
    assert "m-large_rate_10min.csv: name the folder of the traces with --data" in capsys.readouterr().err


SERIES = {
    "servegen/{m}_rate_10min.csv": "ts_s,total_rate_rps\n" + "".join(f"{600 * i},1\n" for i in range(40)),
    "servegen/{m}_clients_10min.csv.gz": "ts_s,client,rate_rps\n" + "".join(f"{600 * i},{c},1\n" for i in range(40) for c in range(20)),
    "azure_llm_2023/AzureLLMInferenceTrace_code.csv.gz": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    + "".join(f"2023-11-16 {i // 60 + 10}:{i % 60:02}:00.0000000,10,2\n" for i in range(60)),
    "mooncake/conversation_trace.jsonl.gz": "".join(
        json.dumps({"timestamp": 60_000 * i, "input_length": 10, "output_length": 2}) + "\n" for i in range(60)
    ),
    "carbon_casper_aws/requests.csv": "timestamp,datetime,eu\n" + "".join(f"{3600 * i},x,5\n" for i in range(40)),
}


def a_data_folder(folder: Path, **changed: str) -> Path:
    """Short series of every kind; `changed` are texts by the beginning of a file's name."""
    for form, text in SERIES.items():
        for name in {form.format(m=m) for m in ("m-large", "deepseek-r1")}:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            body = next((new for begins, new in changed.items() if name.startswith(begins)), text).encode()
            path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)
    return folder


def test_every_recorded_series_is_read(tmp_path: Path) -> None:
    names = [series.name for series in recorded(a_data_folder(tmp_path))]
    assert len(names) == 17 and {"servegen m-large, clients 5-16", "azure code, requests", "mooncake, input tokens", "casper eu"} <= set(
        names
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"servegen": "x\n1\n"}, "m-large_rate_10min.csv, line 1: no column 'total_rate_rps'"),
        ({"servegen": ""}, "m-large has 0 steps, and 30 are the fewest to score"),
        ({"servegen": "ts_s,total_rate_rps\n0,1\n600\n"}, "m-large_rate_10min.csv, line 3: float() argument"),
        ({"azure": "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n"}, "Trace_code.csv.gz, line 2: Invalid isoformat"),
        ({"azure": ""}, "azure code, requests has 0 steps"),
        ({"mooncake": "{}\n"}, "conversation_trace.jsonl.gz, line 1: no column 'timestamp'"),
        ({"mooncake": "none\n"}, "conversation_trace.jsonl.gz, line 1: Expecting value"),
        ({"carbon": "timestamp,eu\n"}, "requests.csv, line 1: there are no rows"),
    ],
)
def test_a_trace_that_is_none_is_said_with_its_line(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    with pytest.raises(ForebayError) as error:
        list(recorded(a_data_folder(tmp_path, **changed)))
    assert said in str(error.value)


def test_a_trace_that_is_cut_off_is_said(tmp_path: Path) -> None:
    path = a_data_folder(tmp_path) / "azure_llm_2023" / "AzureLLMInferenceTrace_code.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ForebayError, match=r"code\.csv\.gz.*ended before"):
        list(recorded(tmp_path))


def test_coverage_is_judged_by_points_or_by_chance() -> None:
    assert _holds(0.90, 0.885, 100_000) and not _holds(0.90, 0.87, 1000)
    assert _holds(0.79, 0.9, 29) and not _holds(0.70, 0.9, 29)
    assert _holds(1.0, 0.95, 29)


def test_a_generated_series_is_the_same_each_time() -> None:
    assert generated("bursts", 600, 2) == generated("bursts", 600, 2)
    assert generated("bursts", 600, 2).values != generated("bursts", 600, 2, seed=1).values


def test_forebays_bounds_are_loads_and_rise_with_their_level() -> None:
    series = generated("season", 600, 4)
    for bounds in _forebay(series).values():
        made = bounds[:, ~np.isnan(bounds).any(axis=0)]
        assert made.shape[1] > len(series.values) // 2
        assert (made >= 0).all() and (np.diff(made, axis=0) >= 0).all()
        assert made.mean() == pytest.approx(np.mean(series.values), rel=0.5)


def test_nobody_beats_the_law() -> None:
    series = generated("season", 600, 14)
    values = np.asarray(series.values)
    half = len(values) // 2
    law = pinball(values[half:], of_the_law(np.asarray(series.rates), 600)[:, half:])
    holt = damped_holt(values, [1])[1]
    naive = seasonal_naive(values, 1, 600)
    assert law < pinball(values[half:], holt[:, half:]) < pinball(values[half:], naive[:, half:])
    (row,) = _scored(series, {1: holt})
    assert row["loss"]["forebay"] == row["loss"]["holt"] and len(row["coverage"]["holt"]) == len(LEVELS)

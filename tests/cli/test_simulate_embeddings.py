"""`forebay simulate` for a pool of embeddings, whose requests have prompts alone."""

from __future__ import annotations

import json
from math import sin
from pathlib import Path
from typing import Any

import pytest
import yaml

from forebay.cli.main import main

ROOT = Path(__file__).parents[2]


def a_folder(tmp_path: Path) -> str:
    """The quickstart's pool of embeddings on an accelerator slow enough for several replicas, with a forecast."""
    quickstart, folder = ROOT / "examples" / "quickstart", tmp_path / "pools"
    folder.mkdir()
    objects = [obj for name in ("classes.yaml", "pools.yaml") for obj in yaml.safe_load_all((quickstart / name).read_text())]
    (pool,) = [obj for obj in objects if obj["metadata"]["name"] == "embeddings"]
    pool["spec"]["profiles"][0]["iteration"] = {"base": "5ms", "perToken": "2ms"}
    pool["spec"]["scaling"] = {"minReplicas": 1, "maxReplicas": 20, "forecast": {"coverage": 0.9}}
    (folder / "all.yaml").write_text(yaml.safe_dump_all(objects))
    return str(folder)


def simulate(folder: str, *args: str) -> int:
    return main(["simulate", "-f", folder, "--pool", "embeddings", *args])


def a_trace(tmp_path: Path, hours: float = 0.1) -> str:
    """Prompts alone, CSV: no column of output tokens."""
    path, at, rows = tmp_path / "work.csv", 0.0, ["arrival_time_s,input_tokens"]
    while at < hours * 3600.0:
        at += 1.0 / (3.0 + 2.0 * sin(at / 600.0))
        rows.append(f"{at:.3f},{60 + int(at) % 50}")
    path.write_text("\n".join(rows) + "\n")
    return str(path)


@pytest.mark.parametrize(
    "line", ['{"arrival_time_s": 0, "input_tokens": 9}', "arrival_time_s,input_tokens\n0,9", "timestamp,input_length\n0,9"]
)
def test_a_trace_of_embeddings_needs_no_output_tokens(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was refused for want of a column that such a trace cannot have."""
    path = tmp_path / "trace"
    path.write_text(line + "\n")
    assert simulate(a_folder(tmp_path), "--workload", str(path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["meanTokens"] == {"input": 9.0, "output": 0.0}


def test_prompts_are_needed_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrival_time_s\n0\n")
    assert simulate(a_folder(tmp_path), "--workload", str(path)) == 1
    assert "Needed are arrival_time_s, input_tokens, or" in capsys.readouterr().err


@pytest.mark.parametrize("lengths", ["", "input_tokens\n50\n", "input_tokens,output_tokens\n50,70\n"])
def test_answers_drawn_for_rates_have_no_tokens(lengths: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They had the 128 that are assumed of a chat, which the pool then foresaw and reported."""
    rates, listed = tmp_path / "rates.csv", tmp_path / "lengths.csv"
    rates.write_text("ts_s,total_rate_rps\n0,2\n60,2\n")
    listed.write_text(lengths)
    simulate(a_folder(tmp_path), "--workload", str(rates), "--json", *(["--lengths", str(listed)] if lengths else []))
    assert json.loads(capsys.readouterr().out)["meanTokens"] == {"input": 50.0 if lengths else 512.0, "output": 0.0}


def test_its_forecast_is_of_prompts_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer counted as one token: tokens were forecast, and told in status, that no engine would decode."""
    records = tmp_path / "decisions.jsonl"
    simulate(a_folder(tmp_path), "--workload", a_trace(tmp_path, 1.2), "--json", "--decisions", str(records))
    document = json.loads(capsys.readouterr().out)
    last: dict[str, Any] = [json.loads(line) for line in records.read_text().splitlines() if '"plan"' in line][-1]
    demand = last["plan"]["status"]["demand"]
    (expected,) = demand["forecast"]
    assert demand["outputTokensPerSecond"] == 0 and expected["outputTokensPerSecond"] is None
    assert expected["drives"] and 0 < expected["inputTokensPerSecond"]["p50"] < expected["inputTokensPerSecond"]["upper"]
    assert any(row["forecast"] and row["forecastUpper"] > row["forecast"] for row in document["timeline"])


def test_its_report_shows_the_time_to_an_answer_and_its_target(tmp_path: Path) -> None:
    """The target of a whole answer was not drawn, and the answer was called a first token."""
    page = tmp_path / "report.html"
    simulate(a_folder(tmp_path), "--workload", a_trace(tmp_path), "--report", str(page))
    assert 'aria-label="Time to answer of lookup, seconds"' in page.read_text() and "</i> target<" in page.read_text()


def test_peers_reckon_an_embedding_as_a_first_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their formulas divide by output tokens, and the promise of the whole answer is one of the first token."""
    compare = "hpa,kpa,llmd,wva,dynamo,sageserve"
    simulate(a_folder(tmp_path), "--workload", a_trace(tmp_path), "--json", "--compare", compare)
    rows = json.loads(capsys.readouterr().out)["comparison"]
    assert [row["law"] for row in rows] == compare.split(",") and all(row["replicas"]["hours"] > 0 for row in rows)

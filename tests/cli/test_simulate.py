"""`forebay simulate`, called as a user calls it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path

import pytest

from forebay.cli.main import main

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "examples" / "quickstart")


def a_workload(folder: Path, every_s: float = 0.5, count: int = 2400, output_tokens: int = 40) -> str:
    path = folder / "work.csv"
    rows = (f"{i * every_s},30,{output_tokens}" for i in range(count))
    path.write_text("arrival_time_s,input_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    return str(path)


def simulate(*args: str) -> int:
    return main(["simulate", "-f", QUICKSTART, "--pool", "chat", *args])


def test_an_easy_workload_meets_its_objective(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--workload", a_workload(tmp_path), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["requests"] == {"answered": 2400, "refused": 0, "lost": 0, "retried": 0}
    (objective,) = found["objectives"]
    assert objective["class"] == "interactive" and objective["met"] and objective["attainment"] > 0.99
    assert found["pool"] == "default/chat" and found["workload"] == "work.csv" and found["usd"] > 0
    assert sum(found["replicas"]["hours"].values()) * 3600 == pytest.approx(found["replicas"]["mean"] * found["seconds"], rel=0.01)
    assert found["decisions"][0]["why"] and len(found["timeline"]) <= 240
    assert {c["type"] for c in found["conditions"]} >= {"Ready", "SloFeasible", "MetricsFresh"}


def test_a_workload_that_is_too_much_misses_it_and_the_exit_code_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--workload", a_workload(tmp_path, every_s=0.02, count=6000, output_tokens=200)) == 2
    told = capsys.readouterr().out
    assert "missed" in told and "refused, 0 lost" in told and " 0 refused" not in told


def test_the_same_seed_gives_the_same_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = tmp_path / "rates.csv"
    rates.write_text("ts_s,total_rate_rps,rate_weighted_cv\n0,10,1\n600,40,2\n1200,20,1.5\n")
    args = ("--workload", str(rates), "--rps", "1.5", "--output-tokens", "50", "--start-spread", "0.3", "--json")
    documents = []
    for seed in ("7", "7", "8"):
        simulate(*args, "--seed", seed)
        documents.append(json.loads(capsys.readouterr().out))
    assert documents[0] == documents[1] != documents[2]
    assert documents[0]["seconds"] == pytest.approx(1800, abs=60)


def test_the_report_is_one_page_that_names_what_happened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    simulate("--workload", a_workload(tmp_path, every_s=0.2), "--report", str(page))
    text = page.read_text()
    drawn = [ET.fromstring(part.split("</svg>")[0] + "</svg>") for part in text.split("<svg")[1:] for part in ["<svg" + part]]
    assert len(drawn) == 4 and all(any(e.tag == "path" for e in d) for d in drawn)
    assert [d.get("aria-label") for d in drawn] == [
        "Replicas against demand",
        "Time to first token of interactive, seconds",
        "Dollars per hour",
        "Requests per second",
    ]
    assert "default/chat under work.csv" in text and "forebay_sidecar_arrivals_total" in unescape(text)
    assert "<script" not in text and "http" not in text
    assert json.loads(page.with_suffix(".json").read_text())["pool"] == "default/chat"
    assert "replicas" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["--workload", "none.csv"], 1, "none.csv: No such file or directory"),
        (["--workload", "{work}", "--class", "nobody"], 1, "is of class 'nobody', and the pool serves interactive"),
        (["--workload", "{work}", "--rps", "3"], 64, "--rps rescales a workload of rates"),
        (["--workload", "{work}", "--rps", "nan"], 64, "'nan' is not a number between"),
        (["--workload", "{work}", "--start", "-5s"], 64, "argument --start"),
        (["--workload", "{work}", "--seed", "x"], 64, "'x' is not a whole number"),
        (["--workload", "{work}", "--pool", "none"], 64, "there is no pool 'none': there are default/chat, default/embeddings"),
        (["--workload", "{work}", "--report", "/nowhere/at/all.html"], 1, "--report /nowhere/at/all.html: No such file"),
    ],
)
def test_bad_input_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, told: str) -> None:
    work = a_workload(tmp_path, count=50)
    assert simulate(*(a.replace("{work}", work) for a in args)) == code
    assert told in capsys.readouterr().err


def test_several_pools_ask_for_a_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "-f", QUICKSTART, "--workload", a_workload(tmp_path, count=5)]) == 64
    assert "there are 2 pools, say which with --pool: default/chat, default/embeddings" in capsys.readouterr().err


def test_other_laws_stand_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    laws = "hpa,kpa,llmd,wva,dynamo,sageserve,static:3"
    simulate("--workload", a_workload(tmp_path, every_s=0.4, count=1500), "--compare", laws, "--json")
    found = json.loads(capsys.readouterr().out)
    assert [row["law"] for row in found["comparison"]] == laws.split(",")
    for row in found["comparison"]:
        assert row["requests"]["answered"] + row["requests"]["refused"] == 1500 and row["usd"] > 0
        assert [o["objective"] for o in row["objectives"]] == ["timeToFirstToken"]
    assert found["comparison"][-1]["replicas"]["mean"] == pytest.approx(3.0)
    simulate("--workload", a_workload(tmp_path, count=300), "--compare", "static:2")
    told = capsys.readouterr().out
    assert "peers are re-implementations" in told and "static:2" in told


@pytest.mark.parametrize("laws", ["fortune", "static", "static:0", "hpa,"])
def test_a_law_that_does_not_exist_is_said_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], laws: str) -> None:
    assert simulate("--workload", a_workload(tmp_path, count=5), "--compare", laws) == 64
    assert "there are hpa, kpa, llmd, wva, dynamo, sageserve, static:N" in capsys.readouterr().err

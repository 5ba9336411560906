"""`forebay simulate`, called as a user calls it."""

from __future__ import annotations

import json
import os
import shutil
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from forebay.adapters.decisions import MAX_BYTES
from forebay.api.durations import parse_duration
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


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"mode": "Recommend"}, "mode is Recommend: simulated as with mode Enforce"),
        ({"scaling": {"paused": True}}, "scaling.paused is set"),
    ],
)
def test_a_pool_whose_plans_are_not_carried_out_is_tried_as_if_they_were(
    setting: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It had no replica, refused everything, and nothing said why."""
    folder = tmp_path / "pools"
    folder.mkdir()
    for file in ("classes.yaml", "pools.yaml"):
        documents = list(yaml.safe_load_all((Path(QUICKSTART) / file).read_text()))
        for obj in documents:
            if obj["metadata"]["name"] == "chat":
                obj["spec"] = {**obj["spec"], **setting}
        (folder / file).write_text(yaml.safe_dump_all(documents))
    page = tmp_path / "report.html"
    args = ["simulate", "-f", str(folder), "--pool", "chat", "--workload", a_workload(tmp_path, count=600), "--report", str(page)]
    assert main(args) == 0
    assert told in capsys.readouterr().out and told in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["requests"]["answered"] == 600


@pytest.mark.parametrize("factor", ["3", "0.33"])
def test_replicas_that_are_not_what_their_profile_says_are_learned(factor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--workload", a_workload(tmp_path, every_s=0.25), "--step-times", f"sim-gpu={factor}")
    simulate(*args, "--json")
    (profile,) = json.loads(capsys.readouterr().out)["profiles"]
    declared, learned = (parse_duration(profile["base"][name]) for name in ("declared", "value"))
    assert profile["use"] == "Tuned" and learned == pytest.approx(float(factor) * declared, rel=0.1)
    simulate(*args)
    assert "PER KV TOKEN" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["h100=3", "sim-gpu", "sim-gpu=0", "sim-gpu=fast", "=3"])
def test_step_times_that_mean_nothing_are_wrong_usage(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--workload", a_workload(tmp_path, count=3), "--step-times", wrong) == 64
    assert "step-times" in capsys.readouterr().err


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


@pytest.mark.parametrize(("count", "every_s"), [(1, 1.0), (100, 0.6), (300, 1.5)])
def test_a_short_run_has_its_replicas_in_every_span(count: int, every_s: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Spans were shorter than samples are apart: the plots fell to no replica, no request and no dollar in between."""
    simulate("--workload", a_workload(tmp_path, every_s=every_s, count=count), "--json")
    document = json.loads(capsys.readouterr().out)
    spans = document["timeline"]
    assert spans and all(row["ready"] >= 1 and row["usdPerHour"]["on-demand"] > 0 for row in spans)
    arrived = sum(row["requestsPerSecond"] for row in spans) * document["seconds"] / len(spans)
    assert arrived == pytest.approx(count, rel=0.1)


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


@pytest.mark.parametrize("spot", [True, False])
def test_a_report_names_only_nodes_that_cost_something(tmp_path: Path, spot: bool) -> None:
    folder = tmp_path / "resources"
    shutil.copytree(QUICKSTART, folder)
    pools = (folder / "pools.yaml").read_text()
    (folder / "pools.yaml").write_text(pools if spot else pools.replace("spot: {enabled: true", "spot: {enabled: false"))
    page = tmp_path / "report.html"
    main(["simulate", "-f", str(folder), "--pool", "chat", "--workload", a_workload(tmp_path, every_s=0.2), "--report", str(page)])
    key = page.read_text().split("<h2>Dollars per hour</h2>")[1].split("<svg")[0]
    assert "on-demand" in key and ("spot" in key) == spot


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["--workload", "none.csv"], 1, "none.csv: No such file or directory"),
        (["--workload", "{work}", "--class", "nobody"], 64, "--class nobody: the pool serves interactive"),
        (["--workload", "{work}", "--rps", "3"], 64, "--rps rescales a workload of rates"),
        (["--workload", "{work}", "--lengths", "{work}"], 64, "--lengths belongs to a workload of rates"),
        (["--workload", "{work}", "--spot-zones", "2"], 64, "--spot-zones says which nodes go together: say --spot-mean-life too"),
        (
            ["--workload", "{work}", "--spot-events", "{work}"],
            1,
            "work.csv, line 1: arrival_time_s, input_tokens, output_tokens: expected are",
        ),
        (["--workload", "{work}", "--stuck-share", "2"], 64, "'2' is not a number between 0 and 1"),
        (["--workload", "{work}", "--seeds", "0"], 64, "'0' is not a whole number between 1 and 100"),
        (["--workload", "{work}", "--pool", "embeddings", "--spot-mean-life", "1h"], 64, "default/embeddings has no spot nodes: set"),
        (["--workload", "{work}", "--rps", "nan"], 64, "'nan' is not a number between"),
        (["--workload", "{work}", "--start", "-5s"], 64, "argument --start"),
        (["--workload", "{work}", "--seed", "x"], 64, "'x' is not a whole number"),
        (["--workload", "{work}", "--pool", "none"], 64, "there is no pool 'none': there are default/chat, default/embeddings"),
        (["--workload", "{work}", "--report", "/nowhere/at/all.html"], 1, "--report /nowhere/at/all.html: No such file"),
        (["--workload", "none.csv", "--report", "/proc"], 1, "--report /proc: Is a directory"),
        (["--workload", "none.csv", "--report", "report.json"], 64, "the JSON document is written beside it: name it .html"),
        (["--workload", "none.csv", "--report", f"{QUICKSTART}/new/report.html"], 64, "would be read as one of the resources of"),
        (["--workload", "{work}", "--decisions", "/proc/x/y.jsonl"], 1, "--decisions /proc/x/y.jsonl: No such file"),
        (["--workload", "{work}", "--compare", "static:20"], 64, "static:20: pool default/chat may have 5 replicas, by maxReplicas and"),
    ],
)
def test_bad_input_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, told: str) -> None:
    work = a_workload(tmp_path, count=50)
    assert simulate(*(a.replace("{work}", work) for a in args)) == code
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("again", [["--seeds", "2"], ["--compare", "hpa"]])
def test_what_can_be_read_only_once_is_refused_before_anything_runs(again: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The first run was over, and lost, when that was said."""
    out, into = os.pipe()
    with os.fdopen(into, "wb") as pipe:
        pipe.write(b"arrival_time_s,input_tokens,output_tokens\n0,30,40\n")
    with os.fdopen(out, "rb") as pipe:
        assert simulate("--workload", f"/dev/fd/{out}", *again) == 64
        assert pipe.read().endswith(b"0,30,40\n")
    assert f"{again[0]} reads the workload again" in capsys.readouterr().err


def test_the_unit_of_times_can_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work.csv"
    work.write_text("timestamp,input_tokens,output_tokens\n0,30,20\n1000,30,20\n60000,30,20\n")
    simulate("--workload", str(work), "--time-unit", "ms", "--json")
    assert 60 <= json.loads(capsys.readouterr().out)["seconds"] <= 70
    rates = tmp_path / "rates.csv"
    rates.write_text("ts_s,total_rate_rps\n0,1\n300,1\n")
    assert simulate("--workload", str(rates), "--time-unit", "ms") == 64
    assert "--time-unit belongs to a trace of requests" in capsys.readouterr().err


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
    simulate("--workload", a_workload(tmp_path, count=300), "--compare", "forebay, static:2")
    told = capsys.readouterr().out
    assert "peers are re-implementations, as shipped, on sim-gpu-on-demand replicas" in told and "static:2" in told


@pytest.mark.parametrize("laws", ["fortune", "static", "static:0", "static:²", "hpa,", ""])
def test_a_law_that_does_not_exist_is_said_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], laws: str) -> None:
    assert simulate("--workload", a_workload(tmp_path, count=5), "--compare", laws) == 64
    assert "there are hpa, kpa, llmd, wva, dynamo, sageserve, static:N, clairvoyant" in capsys.readouterr().err


def test_a_law_that_is_named_twice_is_run_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate("--workload", a_workload(tmp_path, count=20), "--compare", "hpa,static:2, hpa,static:02", "--json")
    assert [row["law"] for row in json.loads(capsys.readouterr().out)["comparison"]] == ["hpa", "static:2"]


def in_waves(folder: Path) -> str:
    """Ten minutes at which one replica is enough, ten at which it is not, and ten more of the first."""
    times = [*(i * 2.0 for i in range(300)), *(600 + i / 4.0 for i in range(2400)), *(1200 + i * 2.0 for i in range(300))]
    work = folder / "waves.csv"
    work.write_text("arrival_time_s,input_tokens,output_tokens\n" + "".join(f"{at},200,200\n" for at in times))
    return str(work)


def test_the_clairvoyant_keeps_every_promise_for_less_than_a_count_that_never_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    simulate("--workload", in_waves(tmp_path), "--compare", "clairvoyant,static:3,static:4,static:5", "--report", str(page), "--json")
    bound, *static = json.loads(capsys.readouterr().out)["comparison"]
    assert bound["bound"] and not any(row["bound"] for row in static)
    assert all(o["met"] for o in bound["objectives"])
    enough = [row["replicas"]["mean"] for row in static if all(o["met"] for o in row["objectives"])]
    assert enough and bound["replicas"]["mean"] < 0.8 * min(enough)
    assert bound["searched"]["runs"] <= 15 and bound["searched"]["binSeconds"] in (15, 60)
    assert "clairvoyant (bound)" in page.read_text() and "for the least cost with every promise kept" in page.read_text()


def test_after_a_cold_start_the_clairvoyant_keeps_what_can_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two minutes of a load for several replicas, of which there is one until the others have started."""
    work = a_workload(tmp_path, every_s=0.2, count=600, output_tokens=200)
    assert simulate("--workload", work, "--compare", "clairvoyant") == 2
    told = capsys.readouterr().out
    assert "clairvoyant (bound): no law; it knows this very workload" in told
    assert "as much of interactive/timeToFirstToken as the most replicas kept from this start" in told


def test_what_came_at_once_is_paid_for_until_it_is_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "burst.csv"
    work.write_text("arrival_time_s,input_tokens,output_tokens\n" + "0,30,20\n" * 400)
    simulate("--workload", str(work), "--json")
    found = json.loads(capsys.readouterr().out)
    answered = found["requests"]["answered"]
    assert answered > 100 and found["seconds"] >= 20 and found["usd"] > 0 and found["replicas"]["mean"] >= 1
    assert sum(row["requestsPerSecond"] for row in found["timeline"]) > 0 and all(row["replicas"] >= 1 for row in found["timeline"])


def a_dear_pool(folder: Path, **changes: tuple[str, str]) -> str:
    """The quickstart's chat pool on nodes of eight GPUs, made for it, and its class."""
    target = folder / "dear"
    target.mkdir()
    pools = (ROOT / "examples" / "quickstart" / "pools.yaml").read_text().split("---\n")[0]
    for before, after in changes.values():
        assert before in pools
        pools = pools.replace(before, after)
    (target / "pools.yaml").write_text(pools)
    (target / "classes.yaml").write_text(CLASSES.split("---\n")[0])
    return str(target)


WHOLE_NODES = """capacity:
    nodes: {backend: Karpenter, nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: gpu}}
    accelerators:
      - {name: sim-gpu, gpusPerNode: 8, usdPerHour: {onDemand: 16, spot: 4}}
"""


def test_nodes_are_paid_whole_as_plan_and_limits_count_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One replica on a node of eight GPUs for 16 $/h costs 16 $/h, and so do three."""
    pools = (ROOT / "examples" / "quickstart" / "pools.yaml").read_text().split("---\n")[0]
    capacity = pools[pools.index("capacity:") :]
    folder = a_dear_pool(tmp_path, nodes=(capacity, WHOLE_NODES))
    work = a_workload(tmp_path, every_s=1.0, count=1200)
    main(["simulate", "-f", folder, "--workload", work, "--compare", "static:3", "--json"])
    found = json.loads(capsys.readouterr().out)
    hours = found["seconds"] / 3600
    assert found["replicas"]["mean"] == 1 and found["usd"] == pytest.approx(16 * hours, rel=1e-3)
    assert found["timeline"][5]["usdPerHour"]["on-demand"] == 16
    assert found["comparison"][0]["replicas"]["hours"] == pytest.approx(3 * hours, rel=1e-3)
    assert found["comparison"][0]["usd"] == pytest.approx(16 * hours, rel=1e-3)


def test_a_law_beside_it_is_kept_within_the_pools_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pools = (ROOT / "examples" / "quickstart" / "pools.yaml").read_text().split("---\n")[0]
    capacity = pools[pools.index("capacity:") :]
    limited = WHOLE_NODES.replace("name: gpu}}", "name: gpu}, limits: {gpus: 8}}").replace("gpusPerNode: 8", "gpusPerNode: 4")
    folder = a_dear_pool(tmp_path, nodes=(capacity, limited), most=("maxReplicas: 6", "maxReplicas: 40"))
    work = a_workload(tmp_path, every_s=0.05, count=12_000, output_tokens=100)
    main(["simulate", "-f", folder, "--workload", work, "--compare", "hpa", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["replicas"]["most"] <= 8 and 4 < found["comparison"][0]["replicas"]["mean"] <= 8
    assert {p["type"] for p in found["problems"]} == {"BudgetRespected"}


def test_a_class_that_is_not_there_is_an_error_and_not_a_workload_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "pools.yaml").write_text((ROOT / "examples" / "quickstart" / "pools.yaml").read_text().split("---\n")[0])
    assert main(["simulate", "-f", str(folder), "--workload", a_workload(tmp_path, count=5)]) == 1
    assert "pool default/chat serves interactive, and there is no such BatchClass" in capsys.readouterr().err


def test_what_kept_it_from_its_objectives_is_said_where_it_is_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    work = a_workload(tmp_path, every_s=0.02, count=9000, output_tokens=200)
    assert simulate("--workload", work, "--report", str(page)) == 2
    told = capsys.readouterr().out
    assert "MaxReplicas in " in told and "maxReplicas 6" in told
    assert "What stood against it" in page.read_text()


def test_tenants_are_told_apart_and_cost_nobody_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work.csv"
    rows = [f"{0.5 * i},30,{20 + i % 3 * 20},{('red', 'blue', 'red')[i % 3]}" for i in range(600)]
    work.write_text("arrival_time_s,input_tokens,output_tokens,tenant\n" + "\n".join(rows) + "\n")
    simulate("--workload", str(work), "--json")
    red, blue = json.loads(capsys.readouterr().out)["tenants"]
    assert (red["name"], red["answered"], red["inputTokens"], red["outputTokens"]) == ("red", 400, 12_000, 16_000)
    assert (blue["name"], blue["answered"], blue["outputTokens"]) == ("blue", 200, 8_000)
    assert 0.9 < blue["attainment"] <= 1 and red["refused"] == red["lost"] == 0
    simulate("--workload", str(work))
    assert "TENANT" in capsys.readouterr().out


def test_more_tenants_than_are_told_apart_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work.csv"
    work.write_text("arrival_time_s,input_tokens,output_tokens,tenant\n" + "".join(f"{0.1 * i},3,2,t{i}\n" for i in range(1200)))
    simulate("--workload", str(work), "--json")
    rows = json.loads(capsys.readouterr().out)["tenants"]
    assert (rows[0]["name"], rows[0]["answered"], len(rows)) == ("(others)", 200, 50)


def test_decisions_of_a_simulation_can_be_planned_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = str(tmp_path / "decisions.jsonl")
    simulate("--workload", a_workload(tmp_path, every_s=0.2), "--decisions", records)
    capsys.readouterr()
    assert main(["replay", records]) == 0
    told = capsys.readouterr().out
    assert told.endswith(" decisions planned again, 0 differ\n") and not told.startswith("0 ")


def test_no_decision_of_a_long_simulation_is_replaced(tmp_path: Path) -> None:
    """Of two weeks an operator's file had the last days."""
    records = tmp_path / "decisions.jsonl"
    with records.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    simulate("--workload", a_workload(tmp_path, count=50), "--decisions", str(records))
    assert [path.name for path in tmp_path.glob("decisions*")] == ["decisions.jsonl"] and records.stat().st_size > MAX_BYTES + 1


def test_a_promise_that_is_just_held_has_its_quantile_within_the_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 20 requests one is too late: p95 is the 19th, not the last."""
    work = tmp_path / "work.csv"
    rows = (f"{20 * i},{40_000 if i == 7 else 30},2" for i in range(20))
    work.write_text("arrival_time_s,input_tokens,output_tokens\n" + "\n".join(rows) + "\n")
    assert simulate("--workload", str(work), "--json") == 0
    row = json.loads(capsys.readouterr().out)["objectives"][0]
    assert (row["attainment"], row["met"]) == (0.95, True)
    assert row["seconds"]["p95"] <= row["targetSeconds"] < row["seconds"]["p99"]


def test_a_quantile_of_nothing_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work.csv"
    work.write_text("arrival_time_s,input_tokens,output_tokens\n" + "0,30,100000\n" * 3)
    assert simulate("--workload", str(work), "--json") == 2
    (objective,) = json.loads(capsys.readouterr().out)["objectives"]
    assert objective["attainment"] == 0 and objective["seconds"]["p50"] is None
    simulate("--workload", str(work))
    assert "none" in capsys.readouterr().out


CLASSES = """
apiVersion: forebay.dev/v1alpha1
kind: BatchClass
metadata: {name: interactive}
spec:
  tier: Interactive
  priority: 100
  objectives: {timeToFirstToken: {quantile: 0.95, target: 1s}}
  queue: {maxDepth: 512, maxWait: 20s}
---
apiVersion: forebay.dev/v1alpha1
kind: BatchClass
metadata: {name: nightly}
spec:
  tier: Deferred
  priority: -10
  queue: {maxDepth: 100, maxWait: 1h}
"""


def two_classes(folder: Path) -> str:
    """The quickstart's chat pool on a single replica, with a class beside it that has an hour."""
    target = folder / "two"
    target.mkdir()
    pools = (ROOT / "examples" / "quickstart" / "pools.yaml").read_text().split("---\n")[0]
    pools = pools.replace("classes: [interactive]", "classes: [interactive, nightly]").replace("maxReplicas: 6", "maxReplicas: 1")
    (target / "pools.yaml").write_text(pools)
    (target / "classes.yaml").write_text(CLASSES)
    return str(target)


def test_what_has_an_hour_waits_and_what_has_a_second_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sorted([(2.0 * i, "interactive") for i in range(300)] + [(100.0, "nightly")] * 80 + [(101.0, "nightly")] * 80)
    work = tmp_path / "work.csv"
    work.write_text("arrival_time_s,input_tokens,output_tokens,class\n" + "\n".join(f"{at},30,40,{name}" for at, name in rows) + "\n")
    page = tmp_path / "report.html"
    assert main(["simulate", "-f", two_classes(tmp_path), "--workload", str(work), "--json", "--report", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    interactive, nightly = found["classes"]
    assert interactive == {"name": "interactive", "priority": 100, "answered": 300, "refused": 0, "lost": 0}
    # Of 8 places one may be an interactive request's; 100 wait, and the rest is turned away.
    assert nightly["answered"] + nightly["refused"] == 160 and 40 <= nightly["refused"] <= 53
    assert found["objectives"][0]["attainment"] > 0.95
    waits = [row["classes"]["nightly"]["p99Seconds"] for row in found["timeline"] if "nightly" in row["classes"]]
    assert max(waits) > 10
    assert "Time to first token of nightly, seconds" in page.read_text()


def test_spot_loss_is_told_marked_and_reproducible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = tmp_path / "spot.csv"
    events.write_text("time_s,lost\n700,1\n900,2\n")
    page = tmp_path / "report.html"
    work = a_workload(tmp_path, every_s=0.25, count=4800, output_tokens=80)
    args = ("--workload", work, "--start", "60s", "--spot-events", str(events), "--spot-notice", "5s", "--json", "--report", str(page))
    documents = []
    for _ in range(2):
        simulate(*args)
        documents.append(json.loads(capsys.readouterr().out))
    assert documents[0] == documents[1]
    found = documents[0]
    assert (
        found["events"]["lost"] == found["events"]["interrupted"] == len([e for e in found["events"]["listed"] if e["what"] == "lost"]) > 0
    )
    requests = found["requests"]
    assert requests["answered"] + requests["refused"] + requests["lost"] == 4800
    assert {e["at"] for e in found["events"]["listed"]} <= {695.0, 700.0, 895.0, 900.0}
    text = page.read_text()
    assert "lost with its node" in text and "lost with their nodes" in text
    assert found["timeline"][0]["usdPerHour"].keys() == {"on-demand", "spot"}


def test_starts_that_never_end_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulate("--workload", a_workload(tmp_path, every_s=0.25, output_tokens=80), "--stuck-share", "1", "--start", "30s", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["events"]["stuck"] > 0 and max(row["ready"] for row in found["timeline"]) <= 1


def test_seeds_tell_how_much_figures_vary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = tmp_path / "rates.csv"
    rates.write_text("ts_s,total_rate_rps\n0,1\n300,4\n600,2\n")
    lengths = tmp_path / "lengths.csv"
    lengths.write_text("num_prefill_tokens,num_decode_tokens\n20,10\n60,90\n")
    args = ("--workload", str(rates), "--lengths", str(lengths), "--seeds", "3")
    simulate(*args, "--json")
    found = json.loads(capsys.readouterr().out)
    spread = found["spread"]["replica hours"]
    assert found["seeds"] == [1, 2, 3] and spread["least"] <= spread["mean"] <= spread["most"]
    assert found["spread"]["attainment interactive/timeToFirstToken"]["most"] <= 1
    assert 35 < found["meanTokens"]["input"] < 45
    simulate(*args)
    assert "OVER SEEDS" in capsys.readouterr().out

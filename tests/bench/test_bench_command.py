"""`python -m bench` as a person and a script call it. Figures are not judged: only that they come, in the shape that was promised."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.__main__ import main, names
from bench.support.table import digits, quantile, table

from bench import operator_memory
from forebay.dataplane.http.client import Client

ROOT = Path(__file__).parents[2]


def test_list_names_every_bench_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert {"gateway", "sidecar", "planner", "operator-memory"} <= set(names())
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["pln"], "there is no bench 'pln': there are"),
        ([], "name a bench, or say --all"),
        (["planner", "--all"], "name a bench, or say --all"),
        (["planner", "--pools", "10,none"], "'none' is not a whole number"),
        (["sizing", "--rounds", "0"], "'0' is not a whole number"),
        (["gateway", "--seconds", "nan"], "'nan' is not a number between 0.01 and 3600"),
        (["gateway", "--peers", "envoy"], "'envoy' is not one of nginx, litellm, none"),
        (["planner", "--passes", "-1"], "'-1' is not a whole number between 1 and 100000"),
        (["planner", "--learned-days", "-1"], "'-1' is not a number between 0 and 366"),
        (["ramp", "--seeds", "0"], "'0' is not a whole number"),
        (["ramp", "--usd-per-gpu-hour", "free"], "'free' is not a number between 0 and 10000"),
        (["trace", "--lead", "0s"], "argument --lead: must be longer than nothing"),
        (["trace", "--lead", "5m,"], "argument --lead: '' is not a duration"),
        (["trace", "--days", "-3"], "'-3' is not a number between"),
        (["trace", "--mean-rps", "nan"], "'nan' is not a number between"),
        (["truth", "--run-seconds", "0"], "'0' is not a number between 1 and 3600"),
        (["ramp", "--mixes", "azure"], "unrecognized arguments: --mixes azure"),
        (["planner", "--rounds", "3"], "unrecognized arguments: --rounds 3"),
        (["truth", "--busy", "2"], "'2' is not a number between 0.05 and 0.9"),
        (["planner", "--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_usage_says_what_would_be_right(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 64
    assert said in capsys.readouterr().err


def test_help_of_a_bench_is_what_it_measures_and_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    told = {}
    for name in names():
        with pytest.raises(SystemExit) as end:
            main([name, "--help"])
        assert end.value.code == 0
        told[name] = capsys.readouterr().out
    assert len(set(told.values())) == len(names())
    assert "llm-d's published benchmark" in told["ramp"] and "--seeds" in told["ramp"]
    assert "--seeds" not in told["planner"] and "--passes" in told["planner"] and "--passes" not in told["ramp"]
    assert all("--json" in text and "--data" in text for text in told.values())


def test_several_benches_have_the_options_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    """The rounds are of sizing alone; what neither has is refused before anything runs."""
    assert main(["sizing", "ramp", "--rounds", "1", "--seeds", "1", "--passes", "2"]) == 64
    assert "unrecognized arguments: --passes 2" in capsys.readouterr().err
    assert main(["--all", "--rounds", "1", "--passes", "2", "--seconds", "x"]) == 64
    assert "argument --seconds: 'x' is not a number" in capsys.readouterr().err


def test_json_is_one_line_of_named_rows() -> None:
    argv = [sys.executable, "-m", "bench", "sizing", "--json", "--rounds", "1"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert result["bench"] == "sizing"
    assert len(result["rows"]) > 1
    for row in result["rows"]:
        assert row["name"] and 0 < row["p50_cpu_us"] <= row["max_cpu_us"]


def test_without_json_it_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sizing", "--rounds", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("sizing: ")
    assert out[1].split() == ["name", "profiles", "replicas_p50", "mean_cpu_us", "p50_cpu_us", "max_cpu_us"]


def test_load_over_sockets_counts_what_the_gateway_answered() -> None:
    argv = [sys.executable, "-m", "bench", "gateway", "--json", "--rounds", "1", "--seconds", "0.5", "--peers", "none"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert set(rows) == {"forebay, straight", "forebay, miss", "forebay, exact hit"}
    assert "gateway: round 1 of 1" in done.stderr, "how far it is stands on standard error"
    assert all(row["requests"] > 0 and row["failed"] == 0 and row["cpu_us"] > 0 for row in rows.values())


def test_a_peer_that_is_not_there_has_a_row_that_says_so(tmp_path: Path) -> None:
    """Neither nginx, wrk nor LiteLLM: absent is not zero, and nothing is compared with it."""
    argv = [sys.executable, "-m", "bench", "gateway", "--json", "--rounds", "1", "--seconds", "0.2"]
    alone = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, env=alone)
    assert done.returncode == 0, done.stderr
    *own, nginx, litellm = json.loads(done.stdout)["rows"]
    assert nginx == {"name": "nginx proxy_pass", "absent": "nginx is not on the PATH: apt-get install nginx-light"}
    assert set(litellm) == {"name", "absent"} and "--peers nginx,litellm" in litellm["absent"]
    assert all(row["load"] == "own" and "times_nginx" not in row and "litellm_times_this" not in row for row in own)


def test_the_operator_is_measured_as_a_process_of_its_own(tmp_path: Path) -> None:
    async def measured() -> tuple[dict[str, Any], int]:
        client = Client()
        try:
            async with operator_memory._cluster(tmp_path, 3) as api, operator_memory._operator(tmp_path) as (operator, port):
                await operator_memory._settled(client, operator, port, 3, tmp_path)
                figures = await operator_memory._watched(client, operator, port, 0.2)
                return figures, len((await operator_memory._asked(client, api, "/api/v1/pods"))["items"])
        finally:
            await client.close()

    figures, pods = asyncio.run(measured())
    assert pods >= 3 and figures["failed"] == 0 and figures["rss_mib"] > 30, figures


def test_a_table_aligns_and_leaves_blank_what_a_row_lacks() -> None:
    rows: list[dict[str, Any]] = [{"name": "a", "cpu_us": 1.5}, {"name": "longer", "absent": "why"}]
    assert table(rows).splitlines() == ["name    cpu_us  absent", "a          1.5        ", "longer             why"]


def test_statistics() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 2.0, 3.0, 3.0]
    assert [digits(value) for value in (1234.5, 0.0012345, 0.0)] == [1230.0, 0.00123, 0.0]

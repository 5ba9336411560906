"""The bench of two weeks, on an hour: halves are scored apart, and what cannot be used is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.__main__ import main
from bench.support.trace_tokens import Lengths, read_lengths

RATES = "ts_s,total_rate_rps,active_clients,rate_weighted_cv\n" + "".join(f"{600 * i},{5 + i % 3},4,1.2\n" for i in range(8))


def a_file(folder: Path, text: str, name: str = "rates.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_rows_of_one_hour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["trace", "--json", "--arrivals", a_file(tmp_path, RATES), "--lead", "1m", "--only", "forebay,static", "--usd-per-gpu-hour", "2"]
    assert main(args) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {"forebay", "forebay, as shipped", "static", "static, as shipped", "clairvoyant"}
    assert rows["clairvoyant"]["times_clairvoyant"] == 1.0 and rows["static, as shipped"]["replicas_mean"] == 6.0
    for row in rows.values():
        assert 0 < row["attainment"] <= 1 and row["lead_s"] == 60.0 and row["usd"] == pytest.approx(2 * row["gpu_hours"], rel=1e-3)


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["--arrivals", "none.csv"], 1, "none.csv is not there"),
        (["--arrivals", "{rates}", "--lead", "soon"], 64, "--lead soon"),
        (["--arrivals", "{rates}", "--only", "fortune"], 64, "--only fortune: there are forebay"),
        (["--arrivals", "{rates}", "--tokens", "{rates}"], 1, "needs client, ts_s, field, mean, p50"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, told: str) -> None:
    rates = a_file(tmp_path, RATES)
    assert main(["trace", *(a.replace("{rates}", rates) for a in args)]) == code
    assert told in capsys.readouterr().err


def test_lengths_follow_their_trace(tmp_path: Path) -> None:
    rows = "client,ts_s,field,mean,p50,p90,p99\n" + "".join(
        f"{client},{at},{field},{mean},{median},0,0\n"
        for client in (0, 1)
        for at in (0, 21600)
        for field, mean, median in (("input_tokens", 500, 300), ("output_tokens", 150, 100))
    )
    lengths = read_lengths(Path(a_file(tmp_path, rows, "tokens.csv")))
    drawn = list(lengths.drawn(iter([float(i) for i in range(20_000)]), seed=3))
    assert drawn == list(lengths.drawn(iter([float(i) for i in range(20_000)]), seed=3))
    assert sum(i for _, i, _ in drawn) / len(drawn) == pytest.approx(500, rel=0.05)
    assert sorted(o for _, _, o in drawn)[10_000] == pytest.approx(100, rel=0.05)
    assert list(Lengths(0.0, ()).drawn(iter([1.0]), 1)) == [(1.0, 4000, 1000)]

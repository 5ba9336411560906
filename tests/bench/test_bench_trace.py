"""The bench of two weeks, on an hour: halves are scored apart, and what cannot be used is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.__main__ import main
from bench.support.over_seeds import over_seeds

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
    assert all(row["attainment_sd"] is None and row["usd_sd"] is None for row in rows.values()), "one seed has no spread"
    assert rows["clairvoyant"]["times_clairvoyant"] == 1.0 and rows["static, as shipped"]["replicas_mean"] == 6.0
    for row in rows.values():
        assert 0 < row["attainment"] <= 1 and row["lead_s"] == 60.0 and row["usd"] == pytest.approx(2 * row["gpu_hours"], rel=1e-3)


def test_rows_of_several_seeds_have_their_spread() -> None:
    def row(attainment: float, setting: str) -> dict[str, object]:
        return {"name": "hpa", "lead_s": 60.0, "attainment": attainment, "usd": None, "setting": setting}

    (merged,) = over_seeds([[row(0.9, "5 waiting")], [row(1.0, "1 waiting")], [row(0.95, "5 waiting")]])
    assert merged["name"] == "hpa" and merged["lead_s"] == 60.0 and merged["setting"] == "5 waiting; 1 waiting"
    assert (merged["attainment"], merged["attainment_sd"]) == (0.95, 0.05) and merged["usd"] is merged["usd_sd"] is None


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["--arrivals", "none.csv"], 1, "none.csv is not there"),
        (["--arrivals", "{rates}", "--lead", "soon"], 64, "argument --lead: 'soon' is not a duration"),
        (["--arrivals", "{tiny}"], 64, "tiny.csv: 2 s of it are too few for two halves: at least 600 s"),
        (["--arrivals", "{rates}", "--tokens", "{long}"], 1, "has 9999999 tokens in and 1 out, and misses its objective on a replica of"),
        (["--arrivals", "{rates}", "--only", "fortune"], 64, "--only fortune: there are forebay"),
        (["--arrivals", "{rates}", "--tokens", "{rates}"], 1, "Needed are input_tokens, output_tokens, or Vidur's or ServeGen's columns"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: int, told: str) -> None:
    files = {
        "{rates}": a_file(tmp_path, RATES),
        "{long}": a_file(tmp_path, "input_tokens,output_tokens\n9999999,1\n", "long.csv"),
        "{tiny}": a_file(tmp_path, "ts_s,total_rate_rps\n0,1\n1,1\n", "tiny.csv"),
    }
    assert main(["trace", *(files.get(a, a) for a in args)]) == code
    assert told in capsys.readouterr().err

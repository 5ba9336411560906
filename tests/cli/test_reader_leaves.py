"""Commands that are piped into something that closes early, such as `| head -1`: the exit code is the answer's all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.test_plan_against import QUICKSTART, a_folder

FEASIBLE, IMPOSSIBLE = ("target: 1s", "target: 2s"), ("target: 1s", "target: 1ms")


def with_nobody_to_read(*arguments: str, stderr: bool = False) -> tuple[int, str]:
    """Exit code, and what was said on standard error unless nobody reads that either."""
    read, write = os.pipe()
    os.close(read)
    try:
        into = write if stderr else subprocess.PIPE
        command = [sys.executable, "-m", "forebay", *arguments]
        done = subprocess.run(command, stdout=write, stderr=into, text=True, timeout=120, check=False)
    finally:
        os.close(write)
    return done.returncode, done.stderr or ""


def a_record(tmp_path: Path) -> Path:
    """A decision that is planned otherwise now."""
    records = tmp_path / "decisions.jsonl"
    options = ["--pool", "chat", "--workload", str(a_workload(tmp_path)), "--until", "60s", "--decisions", str(records)]
    subprocess.run([sys.executable, "-m", "forebay", "simulate", "-f", str(QUICKSTART), *options], check=False, capture_output=True)
    lines = records.read_text().splitlines()
    for number, line in enumerate(lines):
        if "plan" in (record := json.loads(line)):
            record["plan"]["requeueAfterS"] = -1
            lines[number] = json.dumps(record)
    records.write_text("\n".join(lines) + "\n")
    return records


def a_workload(tmp_path: Path) -> Path:
    path = tmp_path / "load.csv"
    path.write_text("arrival_time_s,input_tokens,output_tokens\n" + "".join(f"{t},40,20\n" for t in range(60)))
    return path


@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize(("change", "code"), [(FEASIBLE, 0), (IMPOSSIBLE, 2)], ids=["holds", "breaks"])
def test_plan_says_whether_it_holds(tmp_path: Path, change: tuple[str, str], code: int, json_too: list[str]) -> None:
    assert with_nobody_to_read("plan", "-f", a_folder(tmp_path, change), *json_too) == (code, "")


def test_replay_says_whether_decisions_differ_and_plan_against_them_whether_it_breaks(tmp_path: Path) -> None:
    records = str(a_record(tmp_path))
    assert with_nobody_to_read("replay", records) == (2, "")
    for change, code in ((FEASIBLE, 0), (IMPOSSIBLE, 2)):
        folder = a_folder(tmp_path / str(code), change)
        assert with_nobody_to_read("plan", "-f", folder, "--against", records) == (code, "")


def test_the_report_of_a_simulation_is_written(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    options = ["--pool", "chat", "--workload", str(a_workload(tmp_path)), "--report", str(report)]
    code, said = with_nobody_to_read("simulate", "-f", str(QUICKSTART), *options)
    assert (code in (0, 2), said, report.exists()) == (True, "", True)


def test_what_is_printed_and_no_answer_is_0() -> None:
    assert with_nobody_to_read("crds") == (0, "")


def test_an_error_that_nobody_reads_is_one() -> None:
    assert with_nobody_to_read("plan", "-f", "none", stderr=True) == (1, "")
    assert with_nobody_to_read("plan", "--bogus", stderr=True) == (64, "")

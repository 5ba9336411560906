"""`forebay replay`: recorded decisions planned again give no difference, or it is said which, and what cannot be read is named."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.planning.builders import a_snapshot, demand, learned, running, settled

from forebay.adapters.decisions import FileDecisions
from forebay.cli.main import main
from forebay.planning.planner import plan
from forebay.planning.snapshot import Snapshot
from forebay.runtime.logs import JsonFormatter


def a_record(snapshot: Snapshot | None = None, pool: str = "default/llama", **changes: Any) -> dict[str, Any]:
    snapshot = snapshot or a_snapshot(**running(1), demand=demand(rps=7.3), memory=settled(1))
    return {
        "time": "2027-01-15T08:00:00Z",
        "pool": pool,
        "id": "0123456789abcdef",
        "snapshot": snapshot.model_dump(mode="json", by_alias=True),
        "plan": plan(snapshot).model_dump(mode="json", by_alias=True),
        **changes,
    }


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A file of three decisions, written as the operator writes them."""
    path = tmp_path / "decisions.jsonl"
    log = FileDecisions(path)
    for rps in (0.0, 7.3, 40.0):
        log.write(a_record(a_snapshot(**running(1), demand=demand(rps=rps), memory=settled(1))))
    return path


def test_recorded_decisions_are_the_same_again(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recorded)]) == 0
    assert capsys.readouterr().out == "3 decisions planned again, 0 differ\n"


def test_a_tampered_record_says_where_it_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = a_record()
    record["plan"]["replicas"] += 1
    path = tmp_path / "tampered.jsonl"
    path.write_text(json.dumps(a_record()) + "\n" + json.dumps(record) + "\n")
    assert main(["replay", str(path)]) == 2
    out = capsys.readouterr().out
    assert "1 differences" in out and "plan.replicas: " in out and "2 decisions planned again, 1 differ" in out


def test_a_tampered_snapshot_is_found_too(tmp_path: Path) -> None:
    record = a_record()
    record["snapshot"]["spec"]["scaling"]["minReplicas"] = 15
    path = tmp_path / "tampered.jsonl"
    path.write_text(json.dumps(record))
    assert main(["replay", str(path)]) == 2


def test_json_names_every_decision(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--json", str(recorded)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["differences"] for line in lines] == [[], [], []] and lines[0]["pool"] == "default/llama"


def test_only_one_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.jsonl"
    path.write_text("\n".join(json.dumps(a_record(pool=pool)) for pool in ("default/llama", "other/chat")))
    assert main(["replay", "--pool", "other/chat", str(path)]) == 0
    assert capsys.readouterr().out == "1 decisions planned again, 0 differ\n"


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(a_record()) + "\n"))
    assert main(["replay", "-"]) == 0
    assert capsys.readouterr().out == "1 decisions planned again, 0 differ\n"


def test_an_empty_file_has_no_decisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("\n\n")
    assert main(["replay", str(path)]) == 1
    captured = capsys.readouterr()
    assert f"{path}: there is no decision in it" in captured.err and not captured.out


def with_a_long_memory() -> Snapshot:
    return a_snapshot(**running(1), demand=demand(rps=7.3), memory=learned([5.0 + minute % 3 for minute in range(70)]))


def test_what_a_forecaster_knows_is_referred_to_and_planned_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two records of the same state are hardly longer than one."""
    path = tmp_path / "decisions.jsonl"
    log = FileDecisions(path)
    log.write(a_record(with_a_long_memory()))
    once = path.stat().st_size
    log.write(a_record(with_a_long_memory()))
    assert path.stat().st_size < 1.6 * once and '"blobs"' in path.read_text()
    assert main(["replay", str(path)]) == 0
    assert capsys.readouterr().out == "2 decisions planned again, 0 differ\n"


def test_a_remembered_text_that_differs_is_named_by_its_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = a_record(with_a_long_memory())
    record["plan"]["memory"]["forecasts"]["interactive"]["inputTokens"]["yesterday"] += "A"
    path = tmp_path / "tampered.jsonl"
    FileDecisions(path).write(record)
    assert main(["replay", str(path)]) == 2
    assert 'plan.memory.forecasts.interactive.inputTokens.yesterday.$ref: "sha256:' in capsys.readouterr().out


def test_a_record_without_its_blobs_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.jsonl"
    FileDecisions(path).write(a_record(with_a_long_memory()))
    path.write_text(path.read_text().splitlines()[1] + "\n")
    assert main(["replay", str(path)]) == 1
    said = capsys.readouterr().err
    assert f"forebay: {path}:1: " in said and "the blob sha256:" in said and "from the start of the record's hour" in said
    with path.open("a") as log:
        log.write(json.dumps(a_record(pool="other/chat")) + "\n")
    assert main(["replay", "--pool", "other/chat", str(path)]) == 0, "what is missing for others is nobody's concern"


WITHOUT_SPEC = {key: value for key, value in a_record()["snapshot"].items() if key != "spec"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("time: now", ":3: not JSON: Expecting value (character 1); a file of decision records is expected"),
        ("[" * 100_000, ":3: maximum recursion depth exceeded"),
        ("[]", ":3: not a decision record, which has time, pool, id, snapshot and plan; a file of decision records is expected"),
        ('{"time": 1}', ":3: not a decision record"),
        (json.dumps(a_record(snapshot=None) | {"snapshot": WITHOUT_SPEC}), ":3: snapshot.spec: Field required"),
        (json.dumps(a_record() | {"snapshot": []}), ":3: not a decision record"),
        (json.dumps(a_record() | {"plan": []}), ":3: not a decision record"),
        (json.dumps(a_record() | {"plan": {"memory": []}}), ":3: not a decision record"),
        (
            json.dumps(a_record() | {"snapshot": a_record()["snapshot"] | {"schemaVersion": 99}}),
            ":3: written by another version of Forebay: its snapshot has schema 99, this version reads 1",
        ),
    ],
)
def test_a_line_that_is_no_decision_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str) -> None:
    """With its number in the file, blank lines counted."""
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{json.dumps(a_record())}\n\n{line}\n")
    assert main(["replay", str(path)]) == 1
    assert f"forebay: {path}{message}" in capsys.readouterr().err


def cut_in_half(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("half", [cut_in_half, lambda text: text[len(text) // 2 :]], ids=["its end", "its beginning"])
def test_a_line_that_lost_a_half_is_named_and_the_others_are_planned_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], at: int, half: Callable[[str], str]
) -> None:
    """An operator that was killed while it wrote, a disk that was full, or the first line of `tail -c`."""
    lines = [json.dumps(a_record()) for _ in range(3)]
    lines[at] = half(lines[at])
    path = tmp_path / "torn.jsonl"
    path.write_text("\n".join(lines))
    assert main(["replay", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "2 decisions planned again, 0 differ\n"
    assert captured.err.startswith(f"forebay: left out: {path}:{at + 1}: not JSON: ") and captured.err.count("\n") == 1


def test_records_whose_part_was_on_a_line_that_lost_a_half_are_left_out_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "torn.jsonl"
    log = FileDecisions(path)
    for _ in range(12):
        log.write(a_record(with_a_long_memory()))
    log.write(a_record(with_a_long_memory(), time="2027-01-15T09:00:00Z"))
    parts, *rest = path.read_text().splitlines()
    path.write_text("\n".join([cut_in_half(parts), *rest]))
    assert main(["replay", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "1 decisions planned again, 0 differ\n", "in each hour the parts are written anew"
    said = captured.err.splitlines()
    assert f"{path}:2: the blob sha256:" in said[1] and said[-1] == f"forebay: left out: 3 more lines of {path}" and len(said) == 11


def test_a_file_of_which_nothing_is_whole_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "torn.jsonl"
    path.write_text(cut_in_half(json.dumps(a_record())))
    assert main(["replay", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"forebay: {path}:1: not JSON: ") and "nothing else is whole" in captured.err and not captured.out


def test_the_end_of_a_log_whose_parts_are_before_it_says_what_to_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of `tail -c`: the first line is cut off, and all others refer to it."""
    path = tmp_path / "tail.jsonl"
    log = FileDecisions(path)
    for _ in range(2):
        log.write(a_record(with_a_long_memory()))
    parts, *rest = path.read_text().splitlines()
    path.write_text("\n".join([parts[100:], *rest]))
    assert main(["replay", str(path)]) == 1
    assert "give the log from the start of the record's hour on, and nothing else is whole" in capsys.readouterr().err


def test_lines_of_the_log_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`kubectl logs` gives decisions and log as one."""
    line = logging.makeLogRecord({"name": "forebay", "levelname": "INFO", "msg": "leading"})
    path = tmp_path / "operator.log"
    path.write_text(f"{JsonFormatter().format(line)}\n{json.dumps(a_record())}\n")
    assert main(["replay", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "1 decisions planned again, 0 differ\n" and not captured.err


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path / "none")]) == 1
    assert "No such file or directory" in capsys.readouterr().err
    assert main(["replay", str(tmp_path)]) == 1
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    assert main(["replay", str(binary)]) == 1
    assert "not text" in capsys.readouterr().err


def test_a_pool_that_is_not_in_the_file_is_an_error_that_says_which_are(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(recorded), "--pool", "default/none"]) == 64
    captured = capsys.readouterr()
    assert f"--pool default/none: {recorded} has no decision of it, only of default/llama" in captured.err and not captured.out

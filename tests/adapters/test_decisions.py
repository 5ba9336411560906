"""Decision records in a file or a stream: what is long stands there once, and comes back whole."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.adapters.blobs import BLOBS, LONG, PIECE, Reader, Writer, hashed
from forebay.adapters.decisions import FileDecisions, LosableDecisions, StreamDecisions

TEXT = "".join(chr(97 + i * i % 26) for i in range(5 * PIECE))


def a_record(text: str = TEXT, hour: int = 8, **fields: Any) -> dict[str, Any]:
    snapshot = {"memory": {"forecasts": {"a": text}}, "list": [1, {"short": "x"}, text]}
    return {
        "time": f"2027-01-15T{hour:02d}:00:00Z",
        "pool": "a/b",
        "id": "1",
        "snapshot": snapshot,
        "plan": {"memory": {"a": text}},
        **fields,
    }


def together(lines: list[str]) -> list[dict[str, Any]]:
    reader, found = Reader(), []
    for line in map(json.loads, lines):
        if BLOBS in line:
            reader.keep(line[BLOBS])
        else:
            found.append(reader.whole(line))
    return found


def test_a_record_comes_back_whole_and_its_long_texts_stand_there_once() -> None:
    log = StreamDecisions(out := io.StringIO())
    log.write(a_record())
    log.write(a_record(id="2"))
    lines = out.getvalue().splitlines()
    assert [BLOBS in json.loads(line) for line in lines] == [True, False, False] and len(out.getvalue()) < 2 * len(TEXT)
    first, second = together(lines)
    assert first["snapshot"] == second["snapshot"] == a_record()["snapshot"]
    assert first["plan"] == hashed(a_record()["plan"]) == hashed(first["plan"])


class Full(io.StringIO):
    """A place that has taken half a line when it is full."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            super().write(text[: len(text) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_full_disk_does_not_stop_the_operator_and_spoils_no_later_record(caplog: pytest.LogCaptureFixture) -> None:
    out = Full()
    log = LosableDecisions(StreamDecisions(out))
    for name in ("1", "2"):
        log.write(a_record(id=name))
    out.full = False
    out.truncate(0)
    out.seek(0)
    for name in ("3", "4"):
        log.write(a_record(id=name))
    assert [record["id"] for record in together(out.getvalue().splitlines())] == ["3", "4"], (
        "with their pieces, which were not taken before"
    )
    assert [record.getMessage() for record in caplog.records] == [
        "decision records cannot be written, and are lost until they can: [Errno 28] No space left on device",
        "decision records are written again; 2 were lost",
    ]


def test_a_file_is_opened_anew_after_it_was_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = FileDecisions(path := tmp_path / "d.jsonl")
    log.write(a_record())
    whole = path.read_text()
    monkeypatch.setattr(log, "_file", Full())
    with pytest.raises(OSError, match="No space left"):
        log.write(a_record(id="2"))
    path.write_text(whole + '{"time": "2027-')  # what there was room for
    log.write(a_record(id="3"))
    lines = path.read_text().splitlines()
    lines.remove('{"time": "2027-')
    assert [record["id"] for record in together(lines)] == ["1", "3"]


def test_of_a_text_of_which_little_changed_only_that_piece_is_written_again() -> None:
    log = StreamDecisions(out := io.StringIO())
    log.write(a_record())
    before = len(out.getvalue())
    log.write(a_record(changed := TEXT[:PIECE] + "!" + TEXT[PIECE + 1 :]))
    assert len(out.getvalue()) - before < 3 * PIECE
    assert together(out.getvalue().splitlines())[1]["snapshot"] == a_record(changed)["snapshot"]


def test_each_hour_of_a_log_can_be_read_by_itself() -> None:
    log = StreamDecisions(out := io.StringIO())
    for hour in (8, 8, 9, 9):
        log.write(a_record(hour=hour))
    lines = out.getvalue().splitlines()
    assert [BLOBS in json.loads(line) for line in lines] == [True, False, False, True, False, False]
    assert len(together(lines[3:])) == 2
    with pytest.raises(LookupError, match=r"blob sha256:[0-9a-f]{32} .* give the log from the start of the record's hour"):
        together(lines[4:])


def test_a_file_that_became_another_and_a_writer_that_began_anew_leave_files_that_are_whole(tmp_path: Path) -> None:
    log = FileDecisions(tmp_path / "d.jsonl", max_bytes=5 * len(TEXT))
    for _ in range(40):
        log.write(a_record(list=["filling"] * 300))
    FileDecisions(tmp_path / "d.jsonl", max_bytes=1 << 30).write(a_record())
    for name in ("d.jsonl", "d.jsonl.1"):
        assert together((tmp_path / name).read_text().splitlines())


def test_a_damaged_blob_is_found() -> None:
    with pytest.raises(ValueError, match="the blob sha256:0 is damaged"):
        Reader().keep({"sha256:0": "text"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from([TEXT, "é" * LONG, TEXT[: LONG - 1]]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5).filter(lambda k: k != "$ref"), inner, max_size=4),
)


@given(st.lists(json_values, max_size=4))
def test_whatever_a_snapshot_holds_comes_back(snapshots: list[Any]) -> None:
    writer = Writer()
    records = [a_record(snapshot=value) for value in snapshots]
    lines = [json.dumps(line) for record in records for line in writer.lines(record)]
    assert [r["snapshot"] for r in together(lines)] == snapshots


def test_half_a_record_of_one_who_was_killed_spoils_no_record_after_it(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    FileDecisions(path).write(a_record())
    whole = path.read_text()
    path.write_text(whole + whole[:100])
    FileDecisions(path).write(a_record())
    assert path.read_text() == whole + whole[:100] + "\n" + whole

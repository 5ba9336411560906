"""`forebay replay FILE`: plans recorded decisions again and prints the difference. There is none, or it is a bug."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from forebay.adapters.blobs import BLOBS, Reader, hashed
from forebay.runtime.errors import ForebayError, UsageError
from forebay.runtime.output import complain, say

MOST_NAMED = 10
SCHEMA = 1
"""Of the snapshots that this version plans again."""
NO_DECISION = "there is no decision in it; `forebay operator` and `forebay up --decisions FILE` write them"
_EXPECTED = "a file of decision records is expected, one JSON object a line, as `forebay operator` and `forebay up` write them"
_NO_RECORD = f"not a decision record, which has time, pool, id, snapshot and plan; {_EXPECTED}"
_LOG_LINE = {"level", "logger", "message"}
"""What a line of an operator's log has: `kubectl logs` gives it among the decisions."""


class CutOffError(ValueError):
    """The beginning or the end of a line that was one JSON object."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="decision records, one JSON object a line; - is standard input")
    parser.add_argument("--pool", metavar="NS/NAME", help="only this pool's decisions")
    parser.add_argument("--json", action="store_true", help="print one JSON object a decision instead of text")


def run(args: argparse.Namespace) -> int:
    """Exit code 0 when every decision is the same, 2 when one differs. Raises ForebayError where there is none."""
    replayed = differing = 0
    others: set[str] = set()
    for number, record in read_records(args.file, args.pool, others):
        changes = _replayed(args.file, number, record)
        replayed += 1
        differing += bool(changes)
        if args.json:
            say(json.dumps({"time": record["time"], "pool": record["pool"], "id": record["id"], "differences": changes}))
        elif changes:
            say(f"{record['time']} {record['pool']} {record['id']}: {len(changes)} differences")
            say("\n".join(f"  {change}" for change in changes))
    if not replayed:
        raise _nothing(args.file, args.pool, sorted(others))
    if not args.json:
        say(f"{replayed} decisions planned again, {differing} differ")
    return 2 if differing else 0


def _nothing(path: Path, pool: str | None, others: list[str]) -> ForebayError:
    """Why no decision was planned again."""
    if not others:
        return ForebayError(f"{path}: {NO_DECISION}")
    from forebay.planning.supply import named

    return UsageError(f"--pool {pool}: {path} has no decision of it, only of {named(others, MOST_NAMED)}")


def replay(record: dict[str, Any]) -> list[str]:
    """What is different when the record's snapshot is planned now, one line per field."""
    from forebay.planning.planner import plan
    from forebay.planning.snapshot import Snapshot

    again = plan(Snapshot.model_validate(record["snapshot"])).model_dump(mode="json", by_alias=True)
    return differences(hashed(record["plan"]), hashed(again))


def differences(before: Any, after: Any, path: str = "plan") -> list[str]:
    """Fields in which two JSON documents differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted({*before, *after})
        return [line for key in keys for line in differences(before.get(key), after.get(key), f"{path}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [line for i, (b, a) in enumerate(zip(before, after, strict=True)) for line in differences(b, a, f"{path}[{i}]")]
    return [] if before == after else [f"{path}: {json.dumps(before)} → {json.dumps(after)}"]


def _replayed(path: Path, number: int, record: dict[str, Any]) -> list[str]:
    from pydantic import ValidationError

    try:
        return replay(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(("snapshot", *map(str, first["loc"])))
        raise ForebayError(f"{path}:{number}: {where}: {first['msg']}") from error


def read_records(path: Path, pool: str | None = None, others: set[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Decision records, of one pool or of all, whole, and the lines they stand on. `others` is told the pools that are passed over.

    Whoever is killed while writing leaves half a line, and a log that was rotated begins in the middle of an hour. A line that was cut
    off, and a record of which a part is missing, are left out and named; where nothing is whole that is an error.

    Raises:
        ForebayError: the file cannot be read, a line is no decision record, or nothing is whole.
    """
    reader, whole, left_out, count = Reader(), False, list[str](), 0
    for number, line in _lines(path):
        try:
            found = _light(line, reader)
            if found is None:
                continue
            if pool not in (None, found["pool"]):
                if others is not None:
                    others.add(str(found["pool"]))
                continue
            record = reader.whole(found)
        except (CutOffError, LookupError) as error:
            count += 1
            left_out += [f"{path}:{number}: {error}"] if count <= MOST_NAMED else []
            continue
        except (ValueError, RecursionError) as error:
            raise ForebayError(f"{path}:{number}: {error}") from error
        whole = True
        yield number, record
    if left_out and not whole and not others:
        raise ForebayError(f"{left_out[-1]}, and nothing else is whole; {_EXPECTED}")
    for told in left_out:
        complain(f"forebay: left out: {told}")
    if count > MOST_NAMED:
        complain(f"forebay: left out: {count - MOST_NAMED} more lines of {path}")


def _light(line: str, reader: Reader) -> dict[str, Any] | None:
    """The record of a line, perhaps with references to parts; None where the line is of parts, or of the operator's log.

    Raises:
        ValueError: it is none of these, of another version, or cut off.
    """
    found = _parsed(line)
    if isinstance(found.get(BLOBS), dict):
        reader.keep(found[BLOBS])
        return None
    if found.keys() >= _LOG_LINE:
        return None
    if not _is_record(found):
        raise ValueError(_NO_RECORD)
    if (schema := found["snapshot"].get("schemaVersion", SCHEMA)) != SCHEMA:
        raise ValueError(f"written by another version of Forebay: its snapshot has schema {schema}, this version reads {SCHEMA}")
    return found


def _is_record(found: dict[str, Any]) -> bool:
    snapshot, decided = found.get("snapshot"), found.get("plan")
    named = isinstance(found.get("pool"), str) and not {"time", "id"} - found.keys()
    if not named or not isinstance(snapshot, dict) or not isinstance(decided, dict):
        return False
    return isinstance(decided.get("memory", {}), dict)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers."""
    try:
        with nullcontext(sys.stdin) if str(path) == "-" else path.open(encoding="utf-8") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except OSError as error:
        raise ForebayError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ForebayError(f"{path}: not text: {error}; {_EXPECTED}") from error


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        why = f"not JSON: {error.msg} (character {error.pos + 1})"
        if line.startswith("{") or line.rstrip().endswith("}"):
            raise CutOffError(why) from error
        raise ValueError(f"{why}; {_EXPECTED}") from error
    if not isinstance(found, dict):
        raise ValueError(_NO_RECORD)
    return found

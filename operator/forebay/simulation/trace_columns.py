"""What the columns of traces are called, ours and those of public ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from forebay.simulation.files import WorkloadError, number_of, shown
from forebay.simulation.spot_events import form_of

MAX_TOKENS = 10_000_000
"""More tokens in one request than this are an error in the file."""

NO_TOKENS = f"not a whole number from 0 to {MAX_TOKENS:,}"

LENGTHS = ("input", "output")
REQUESTS = ("arrival", *LENGTHS)
EMBEDDINGS = ("arrival", "input")
"""Of embeddings an answer has no tokens."""

_UNITS_S = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_TIMES_S = {
    time + unit: seconds
    for time in ("arrivaltime", "arrival", "arrived", "arrivedat", "timestamp", "time", "ts")
    for unit, seconds in _UNITS_S.items()
}
"""Names of times, and the seconds in the unit that each says."""

_NAMES = {
    "arrival": tuple(_TIMES_S),
    "input": ("inputtokens", "inputlength", "contexttokens", "requesttokens", "prompttokens", "numprefilltokens", "input"),
    "output": ("outputtokens", "outputlength", "generatedtokens", "responsetokens", "completiontokens", "numdecodetokens", "output"),
    "class": ("class", "batchclass", "servicetier"),
    "tenant": ("tenant", "user", "client"),
}
_NEEDED = {"arrival": "arrival_time_s", "input": "input_tokens", "output": "output_tokens"}
_MOONCAKE = frozenset({"inputlength", "outputlength"})


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what, and the seconds in one unit of the time."""

    of: dict[str, str]
    unit_s: float


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def tokens_of(value: Any) -> int | None:
    """A count of tokens, None where it is none: a part of a token is another column's, or another file's."""
    count = number_of(value)
    return int(count) if count is not None and count.is_integer() and 0 <= count <= MAX_TOKENS else None


def columns_of(names: list[str], where: str, needed: Collection[str] = REQUESTS, *, time_unit_s: float | None = None) -> Columns:
    """The columns of a file with these names. Without `time_unit_s` the unit of times is told by the names.

    Raises:
        WorkloadError: a column that is needed is missing.
    """
    plain = {_plain(name): name for name in reversed(names) if name}
    of = {}
    for what, known in _NAMES.items():
        found = next((plain[k] for k in known if k in plain), None)
        if found is not None:
            of[what] = found
    if missing := [what for what in needed if what not in of]:
        raise WorkloadError(f"{where}: no column for {_told(names, missing, needed)}")
    if time_unit_s is not None:
        return Columns(of, time_unit_s)
    arrival = _plain(of.get("arrival", ""))
    in_ms = arrival == "timestamp" and plain.keys() >= _MOONCAKE
    return Columns(of, 0.001 if in_ms else _TIMES_S.get(arrival, 1.0))


def _told(names: list[str], missing: list[str], needed: Collection[str]) -> str:
    has = ", ".join(map(shown, names[:12])) or "nothing"
    if len(names) == 1 and (other := next((mark for mark in ";\t|" if mark in names[0]), None)):
        has += f", for columns are separated by commas and not by {other!r}"
    told = f"{' and '.join(_NEEDED[what] for what in missing)}: there is {has}. Needed are {', '.join(_NEEDED[what] for what in needed)},"
    if missing == ["arrival"]:
        return f"{told} or give this as --lengths beside a workload of rates"
    if "arrival" in needed and {"field", "mean"} <= set(names):
        return f"{told} or give this, ServeGen's lengths over time, as --lengths beside a workload of rates"
    if "arrival" in needed and form_of(names) is not None:
        return f"{told} or give this, which is of spot nodes, as --spot-events beside a workload"
    if "arrival" not in needed:
        return f"{told} or Vidur's or ServeGen's columns"
    return (
        f"{told} or the columns of Azure's, Mooncake's or BurstGPT's traces; or for rates over time ts_s and total_rate_rps,"
        " or ServeGen's client, ts_s and rate_rps"
    )

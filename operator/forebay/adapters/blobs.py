"""Heavy parts of decision records, written once and referred to by their content.

What a forecaster knows is most of a record: long texts that a snapshot and its plan, and one record and the next, have in common. They are
cut into pieces, so that a text of which little changed is written again only there. A piece is written before the record that needs it, and
anew in each hour of UTC: whatever part of a log is kept, from the beginning of an hour on it can be read by itself.

What a plan remembers follows from its snapshot, so that planning again gives the texts: of those only the hash is written, to compare with.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

REF = "$ref"
BLOBS = "blobs"
LONG = 512
"""A text of so many characters is cut out of its record."""
PIECE = 768
MAX_KNOWN = 20_000
MAX_KEPT = 200_000

Record = dict[str, Any]


def address(piece: str) -> str:
    return "sha256:" + hashlib.sha256(piece.encode()).hexdigest()[:32]


def hashed(plan: Record) -> Record:
    """The plan with the hash of each long text that it remembers, in place of the text."""
    return {**plan, "memory": _hashed(plan.get("memory", {}))}


def _hashed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hashed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_hashed(item) for item in value]
    return {REF: address(value)} if isinstance(value, str) and len(value) >= LONG else value


class Writer:
    """Takes records apart for one place; it knows what that place has already."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._hour = ""

    def forget(self) -> None:
        """The place is a new one."""
        self._known.clear()

    def lines(self, record: Record) -> list[Record]:
        """What to write for a record: the pieces that are not there yet, if there are any, and the record with references to its pieces."""
        hour = str(record.get("time", ""))[:13]
        if hour != self._hour:
            self._hour = hour
            self.forget()
        new: dict[str, str] = {}
        light = self._light(record | {"plan": hashed(record["plan"])}, new)
        return [*([{BLOBS: new}] if new else []), light]

    def _light(self, value: Any, new: dict[str, str]) -> Any:
        if isinstance(value, dict):
            return {key: self._light(item, new) for key, item in value.items()}
        if isinstance(value, list):
            return [self._light(item, new) for item in value]
        if isinstance(value, str) and len(value) >= LONG:
            return {REF: [self._told(value[at : at + PIECE], new) for at in range(0, len(value), PIECE)]}
        return value

    def _told(self, piece: str, new: dict[str, str]) -> str:
        name = address(piece)
        if name not in self._known:
            new[name] = piece
        self._known[name] = None
        self._known.move_to_end(name)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return name


class Reader:
    """Puts records together again from the lines of one place, in order."""

    def __init__(self) -> None:
        self._pieces: OrderedDict[str, str] = OrderedDict()

    def keep(self, pieces: dict[str, str]) -> None:
        """Takes in a line of pieces.

        Raises:
            ValueError: one is not what its name says.
        """
        for name, piece in pieces.items():
            if not isinstance(piece, str) or address(piece) != name:
                raise ValueError(f"the blob {name} is damaged: its content has another hash")
            self._pieces[name] = piece
            if len(self._pieces) > MAX_KEPT:
                self._pieces.popitem(last=False)

    def whole(self, value: Any) -> Any:
        """A record without references to pieces.

        Raises:
            LookupError: a piece was not among the lines until here.
        """
        if isinstance(value, list):
            return [self.whole(item) for item in value]
        if not isinstance(value, dict):
            return value
        names = value.get(REF)
        if len(value) == 1 and isinstance(names, list) and all(isinstance(n, str) and n.startswith("sha256:") for n in names):
            return "".join(self._piece(name) for name in names)
        return {key: self.whole(item) for key, item in value.items()}

    def _piece(self, name: str) -> str:
        if name not in self._pieces:
            raise LookupError(f"the blob {name} that it refers to is not before it: give the log from the start of the record's hour on")
        return self._pieces[name]

"""What became of a request: one definition for the gateway's records, for the demo, and for every test that counts.

*Accepted* is what is answered neither 4xx (429 is one) nor 503. *Lost* is what was accepted and did not finish: another 5xx, a body that
broke off, a stream without its end, and no answer at all.
"""

from __future__ import annotations

import re
from enum import StrEnum

TAIL_BYTES = 64
"""How much of a stream's end must be kept to tell whether it is whole."""

_DONE = re.compile(rb"data: ?\[DONE\]\s*\Z")


class Outcome(StrEnum):
    """How a request ended, for whoever sent it."""

    FINISHED = "finished"
    REFUSED = "refused"
    LOST = "lost"


def is_accepted(status: int) -> bool:
    """Whether an answer of this HTTP status takes the request on; 0 is no answer, of which only its being lost can be said."""
    return not 400 <= status < 500 and status != 503


def stream_is_whole(tail: bytes) -> bool:
    """Whether a stream came to its own end, by its last `TAIL_BYTES` bytes."""
    return _DONE.search(tail) is not None


def outcome(status: int, *, whole: bool) -> Outcome:
    """What became of a request, by its status (0 where there was no answer) and whether its body came to its end."""
    if not is_accepted(status):
        return Outcome.REFUSED
    return Outcome.FINISHED if whole and 0 < status < 500 else Outcome.LOST

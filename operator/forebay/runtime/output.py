"""What a command says, on standard output and on standard error. Either may be read by somebody who leaves early, such as `head -1`.

Whoever leaves changes nothing of what the command does, nor of its exit code: the rest goes nowhere.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO


def say(text: str) -> None:
    """Prints a line of what was asked for, at once.

    Raises:
        OSError: the output takes no more, as on a full disk.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        nobody_reads(sys.stdout)


def complain(text: str) -> None:
    """Prints a line of what is wrong, to standard error."""
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        nobody_reads(sys.stderr)


def nobody_reads(stream: TextIO) -> None:
    """From here on the stream goes nowhere: what it still holds would fail again, at the latest when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

"""Values of options, read so that what is wrong is said in words: argparse shows only the message of its own error."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from forebay.api.durations import parse_duration


def duration(text: str) -> float:
    """Seconds of a duration such as `250ms`, for an option's `type`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def some_time(text: str) -> float:
    """Seconds of a duration that is longer than nothing."""
    seconds = duration(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError("must be longer than nothing")
    return seconds


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within these bounds."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number between {least} and {most}")
        return int(text)

    return read


PORT = whole(0, 65535)

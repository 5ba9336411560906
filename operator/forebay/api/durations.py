"""Durations as people write them: `250ms`, `30s`, `1h30m`. Needs nothing but the standard library, so every role may read them."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

_WHOLE = {"h": 3600, "m": 60, "s": 1}
_FRACTIONS = {"ms": 3, "us": 6, "ns": 9}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|us|ns|m|s)")
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(h|ms|us|ns|m|s))+$"


def parse_duration(text: str | float) -> float:
    """Seconds in a Go duration such as `250ms` or `1h30m`, the nearest there are; a number is taken as seconds already.

    Raises:
        ValueError: the text is not a duration.
    """
    if isinstance(text, int | float):
        return float(text)
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration: write it as 250ms, 30s or 1h30m")
    return float(sum(Decimal(number) * _seconds(unit) for number, unit in _DURATION_PART.findall(text)))


def _seconds(unit: str) -> Decimal:
    return Decimal(_WHOLE[unit]) if unit in _WHOLE else Decimal(1).scaleb(-_FRACTIONS[unit])


@lru_cache(16384)
def format_duration(seconds: float) -> str:
    """The shortest Go duration to six significant digits; where those do not say it exactly, all digits in seconds.

    What is written is read back as the same number: a recorded decision is planned again from it.
    """
    text = _short(seconds)
    return text if parse_duration(text) == seconds else f"{Decimal(repr(float(seconds))):f}s"


def _short(seconds: float) -> str:
    if seconds == 0:
        return "0s"
    if seconds < 1:
        unit, digits = next((u, d) for u, d in _FRACTIONS.items() if seconds >= 10**-d or u == "ns")
        return f"{Decimal(f'{seconds * 10**digits:.6g}'):f}{unit}"
    hours, rest = divmod(seconds, 3600)
    minutes, secs = divmod(rest, 60)
    parts = [f"{int(hours)}h" if hours else "", f"{int(minutes)}m" if minutes else "", f"{secs:.6g}s" if secs else ""]
    return "".join(parts)

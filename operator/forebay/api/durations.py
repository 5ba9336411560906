"""Durations as people write them: `250ms`, `30s`, `1h30m`. Needs nothing but the standard library, so every role may read them."""

from __future__ import annotations

import re

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|us|ns|m|s)")
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(h|ms|us|ns|m|s))+$"


def parse_duration(text: str | float) -> float:
    """Seconds in a Go duration such as `250ms` or `1h30m`; a number is taken as seconds already.

    Raises:
        ValueError: the text is not a duration.
    """
    if isinstance(text, int | float):
        return float(text)
    if not re.match(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration: write it as 250ms, 30s or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def format_duration(seconds: float) -> str:
    """The shortest Go duration for a number of seconds, to three significant digits below a second."""
    if seconds == 0:
        return "0s"
    if seconds < 1:
        unit = next(u for u in ("ms", "us", "ns") if seconds >= _SECONDS[u] or u == "ns")
        return f"{seconds / _SECONDS[unit]:.6g}{unit}"
    hours, rest = divmod(seconds, 3600)
    minutes, secs = divmod(rest, 60)
    parts = [f"{int(hours)}h" if hours else "", f"{int(minutes)}m" if minutes else "", f"{secs:.6g}s" if secs else ""]
    return "".join(parts)

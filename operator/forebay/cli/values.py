"""Values of options, read so that what is wrong is said in words: argparse shows only the message of its own error."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from forebay.api.durations import parse_duration
from forebay.runtime.errors import ForebayError

if TYPE_CHECKING:
    from forebay.api.shared_limits import SharedLimit


def duration(text: str) -> float:
    """Seconds of a duration such as `250ms`, for an option's `type`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def some_time(text: str) -> float:
    """Seconds of a duration that is longer than nothing."""
    if (found := duration(text)) <= 0:
        raise argparse.ArgumentTypeError("must be longer than nothing")
    return found


def seconds(text: str) -> float:
    """Seconds of a duration of at least one."""
    if (found := duration(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1s")
    return found


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within these bounds."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number between {least} and {most}")
        return int(text)

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """Reads a number within these bounds."""

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not least <= found <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number between {least:g} and {most:g}")
        return found

    return read


def given(text: str) -> str:
    """A text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def path(text: str) -> Path:
    """A path that is not empty: of an empty one pathlib makes the folder that one is in."""
    return Path(given(text))


def namespace(text: str) -> str:
    """A name that a namespace may have."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no namespace: small letters, digits and hyphens, at most 63")
    return text


def matcher(text: str) -> tuple[str, str]:
    """A label of series and the value that it is to have, such as cluster=eu-1."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,62}", name):
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL=VALUE, such as cluster=eu-1")
    if name in ("namespace", "pod", "forebay_pool", "batch_class", "outcome", "token_type", "met", "le", "hash"):
        raise argparse.ArgumentTypeError(f"pools and classes are told apart by {name}: match another label, such as cluster")
    if not value or len(value) > 253 or not value.isprintable():
        raise argparse.ArgumentTypeError(f"the value of {name} must be 1 to 253 printable characters")
    return name, value


_LIMITS = "a list of {name, namespaces, gpus, usdPerHour} in YAML"


def add_shared_limits(parser: argparse.ArgumentParser) -> None:
    """The option of whoever runs an operator's loop."""
    what = f"limits that several pools keep together: {_LIMITS}"
    parser.add_argument("--shared-limits", type=Path, metavar="FILE", help=what)


def shared_limits(path: Path | None) -> tuple[SharedLimit, ...]:
    """The limits of --shared-limits; none without a file.

    Raises:
        ForebayError: it cannot be read, or something in it is wrong.
    """
    from forebay.api.shared_limits import read_shared_limits

    try:
        return read_shared_limits(path.read_text(encoding="utf-8"), str(path)) if path else ()
    except UnicodeDecodeError:
        raise ForebayError(f"--shared-limits {path}: not UTF-8 text: {_LIMITS} is expected") from None
    except OSError as error:
        raise ForebayError(f"--shared-limits {path}: {error.strerror}") from error
    except ValueError as error:
        raise ForebayError(f"--shared-limits {error}") from error


def objective(text: str) -> tuple[str, float, float]:
    """A promise as METRIC=pQ:TARGET, such as timeToFirstToken=p95:1s: the metric, the quantile, the target in seconds."""
    metric, _, rest = text.partition("=")
    quantile, _, target = rest.partition(":")
    metrics = ("timeToFirstToken", "interTokenLatency", "endToEnd")
    if metric not in metrics or not re.fullmatch(r"p[0-9]{1,2}(\.[0-9]{1,3})?", quantile) or float(quantile[1:]) <= 0.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not METRIC=pQ:TARGET, such as timeToFirstToken=p95:1s, of {', '.join(metrics)}")
    return metric, round(float(quantile[1:]) / 100.0, 6), some_time(target)


def url(text: str) -> str:
    """The address of something on the web to which paths are added, such as http://prometheus:9090."""
    found = _url(text, "http://prometheus:9090")
    if {"?", "#"} & set(found):
        raise argparse.ArgumentTypeError(f"{text!r}: a URL of a host, and perhaps a path, is needed, without ? and #")
    return found


def engine_url(text: str) -> str:
    """The address of an engine, such as http://127.0.0.1:8000."""
    return _url(text, "http://127.0.0.1:8000")


def _url(text: str, example: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as {example}")
    return text


PORT = whole(0, 65535)


def writable(option: str, path: Path) -> None:
    """Raises ForebayError where a file cannot be written, which is better known before minutes of work than after."""
    there = path.exists()
    try:
        path.open("a").close()
        if not there:
            path.unlink()
    except OSError as error:
        raise ForebayError(f"{option} {path}: {error.strerror}") from error

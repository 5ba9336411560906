"""How far a bench is, for whoever waits: on standard error, for figures alone go to standard output."""

from __future__ import annotations

import sys


def progress(bench: str, what: str) -> None:
    print(f"{bench}: {what}", file=sys.stderr, flush=True)

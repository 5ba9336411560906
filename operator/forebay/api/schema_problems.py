"""What is wrong with an object: where, what, and how to mend it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    path: the field, such as `spec.rules[0].route`.
    message: what is wrong and what would be right, in the API server's words where it has some.
    blocking: rules are not evaluated on an object with such a problem, for they could not make sense of it.
    """

    path: str
    message: str
    blocking: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def show(value: Any) -> str:
    """A value as messages quote it; a whole float without its `.0`."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

"""The ground every kind stands on: the model base, units, and the markers that become CRD schema.

A docstring here is what `kubectl explain` prints; a `cel(...)` marker is a rule the API server enforces. Models ignore unknown
fields, so that an older operator can read what a newer CRD admitted; the API server and `forebay` on a folder refuse them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP = "forebay.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(h|ms|us|ns|m|s)")
DURATION_PATTERN = r"^([0-9]+(\.[0-9]+)?(h|ms|us|ns|m|s))+$"


class K8sModel(BaseModel):
    """Base of everything that is read from or written to a Kubernetes object: camelCase outside, snake_case inside, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


def listmap(*keys: str) -> dict[str, Any]:
    """A list whose entries are merged by these keys under server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def cel(rule: str, message: str) -> dict[str, str]:
    """A validation rule that the API server evaluates; the message says how to mend what breaks it."""
    return {"rule": rule, "message": message}


def rules(*checks: dict[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-validations": list(checks)}


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


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": 32,
            **rules(cel(f"self.matches(r'{DURATION_PATTERN}')", "must be a duration such as 250ms, 30s or 1h30m")),
        }
    ),
]
"""Seconds inside, a Go/GEP-2257 duration string outside."""

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=NAME_PATTERN)]
"""A DNS label: what Kubernetes allows for names of most objects."""


class ObjectMeta(K8sModel):
    """The parts of Kubernetes object metadata that are read."""

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

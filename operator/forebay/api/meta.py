"""The ground every kind stands on: the model base, units, and the markers that become CRD schema.

A docstring here is what `kubectl explain` prints; a `cel(...)` marker is a rule the API server enforces. Models ignore unknown
fields, so that an older operator can read what a newer CRD admitted; the API server and `forebay` on a folder refuse them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from forebay.api.durations import DURATION_PATTERN as DURATION_PATTERN
from forebay.api.durations import format_duration as format_duration
from forebay.api.durations import parse_duration as parse_duration

GROUP = "forebay.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


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


BOUNDED_DURATION = r"^([0-9]{1,9}(\.[0-9]{1,9})?(h|ms|us|ns|m|s))+$"
"""What users may write: what is summed up and multiplied from it stays finite."""


def _duration_schema(*further: dict[str, str]) -> dict[str, Any]:
    form = cel(
        f"self.matches(r'{BOUNDED_DURATION}')",
        "must be a duration such as 250ms, 30s or 1h30m, of at most 9 digits a unit; days are written in hours, such as 336h for two weeks",
    )
    return {"type": "string", "maxLength": 32, **rules(form, *further)}


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_duration_schema()),
]
"""Seconds inside, a Go/GEP-2257 duration string outside."""

PositiveDuration = Annotated[Duration, WithJsonSchema(_duration_schema(cel("self.matches('[1-9]')", "must be longer than 0s")))]
"""A duration longer than nothing."""

BatchWindow = Annotated[
    Duration,
    WithJsonSchema(
        _duration_schema(
            cel(f"!self.matches(r'{BOUNDED_DURATION}') || duration(self) <= duration('1m')", "must be at most 1m: requests wait for it")
        )
    ),
]
"""A duration of at most a minute."""

HistoryDuration = Annotated[
    Duration,
    WithJsonSchema(
        _duration_schema(
            cel(
                f"!self.matches(r'{BOUNDED_DURATION}') || (duration(self) >= duration('1h') && duration(self) <= duration('1440h'))",
                "must be from 1h to 1440h (60 days)",
            )
        )
    ),
]
"""A duration from an hour to 60 days."""

ModelId = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[!-~]([ -~]*[!-~])?$")]
"""What a model may be called: it stands in headers, so it is printable ASCII without spaces around it."""

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

"""Limits that several pools share: what whoever runs the operator allows them together. Read from a file, no resource of its own."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from forebay.api.inference_pool import NodeLimits
from forebay.api.meta import K8sModel
from forebay.api.yaml import read_value

Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class SharedLimit(K8sModel):
    """Bounds that the pools of these namespaces keep together, beside those of each; of all namespaces where none is named."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="Its name in status and messages.")]
    namespaces: Annotated[tuple[Namespace, ...], Field(max_length=256)] = ()
    gpus: Annotated[int | None, Field(ge=0, le=10**9)] = None
    usd_per_hour: Annotated[float | None, Field(ge=0, le=1e9, allow_inf_nan=False)] = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.gpus is None and self.usd_per_hour is None:
            raise ValueError("gives no bound: set gpus, usdPerHour or both")
        return self

    @property
    def bounds(self) -> NodeLimits:
        return NodeLimits(gpus=self.gpus, usd_per_hour=self.usd_per_hour)

    def binds(self, namespace: str) -> bool:
        """Whether pools of this namespace share it."""
        return not self.namespaces or namespace in self.namespaces

    def __str__(self) -> str:
        return f"shared limit {self.name} ({self.bounds})"


_LIMITS = TypeAdapter(Annotated[tuple[SharedLimit, ...], Field(max_length=64)])


def read_shared_limits(text: str, file: str = "<input>") -> tuple[SharedLimit, ...]:
    """The limits of a file in YAML or JSON: a list of them.

    Raises:
        ValueError: what is wrong, and where.
    """
    try:
        found = _LIMITS.validate_python(read_value(text, file) or [])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{file}: {where}: {first['msg'].removeprefix('Value error, ')}".replace(": : ", ": ")) from error
    names = [limit.name for limit in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{file}: two limits are named {', '.join(twice)}: give each a name of its own")
    return found

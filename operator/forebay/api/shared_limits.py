"""Limits that several pools share: what whoever runs the operator allows them together. Read from a file, no resource of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from forebay.api.crd import schema_of
from forebay.api.inference_pool import NodeLimits
from forebay.api.meta import K8sModel
from forebay.api.schema_check import check
from forebay.api.schema_fill import fill
from forebay.api.schema_problems import Problem
from forebay.api.yaml import read_value

Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class SharedLimit(K8sModel):
    """Bounds that the pools of these namespaces keep together, beside those of each; of all namespaces where none is named."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", description="Its name in status and messages.")]
    namespaces: Annotated[tuple[Namespace, ...], Field(max_length=256)] = ()
    gpus: Annotated[int | None, Field(ge=0, le=10**9)] = None
    usd_per_hour: Annotated[float | None, Field(ge=0, le=1e9, allow_inf_nan=False)] = None

    @property
    def bounds(self) -> NodeLimits:
        return NodeLimits(gpus=self.gpus, usd_per_hour=self.usd_per_hour)

    def binds(self, namespace: str) -> bool:
        """Whether pools of this namespace share it."""
        return not self.namespaces or namespace in self.namespaces

    def __str__(self) -> str:
        return f"shared limit {self.name} ({self.bounds})"


_SCHEMA = {"type": "array", "maxItems": 64, "items": schema_of(SharedLimit)}


def read_shared_limits(text: str, file: str = "<input>") -> tuple[SharedLimit, ...]:
    """The limits of a file in YAML or JSON: a list of them.

    Raises:
        ValueError: what is wrong, and where, in the words that resources are refused in.
    """
    found = read_value(text, file)
    if found is None:
        return ()
    if not isinstance(found, list):
        raise ValueError(f"{file}: must be a list of limits, such as `- {{name: team, gpus: 8}}`")
    problems: list[Problem] = []
    filled = fill(found, _SCHEMA, problems, drop_nulls=True)
    problems += check(filled, _SCHEMA)
    if problems:
        raise ValueError(f"{file}: {problems[0]}")
    limits = tuple(SharedLimit.model_validate(limit) for limit in filled)
    if unbound := [i for i, limit in enumerate(limits) if limit.gpus is None and limit.usd_per_hour is None]:
        raise ValueError(f"{file}: [{unbound[0]}]: gives no bound: set gpus, usdPerHour or both")
    names = [limit.name for limit in limits]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{file}: two limits are named {', '.join(twice)}: give each a name of its own")
    return limits

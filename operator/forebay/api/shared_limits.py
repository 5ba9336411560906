"""Limits that several pools share: what whoever runs the operator allows them together. Read from a file, no resource of its own."""

from __future__ import annotations

import re
from typing import Annotated, Any

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

_EXAMPLE = "`- {name: team, gpus: 8}`"
_WRITE = {
    "name": "write small letters, digits and hyphens, such as `name: team`",
    "namespaces": "write a list of names, such as `namespaces: [ml, eval]`, or leave it out for all",
    "gpus": "write a whole number of GPUs, such as `gpus: 8`, or leave it out where they are not bounded",
    "usdPerHour": "write dollars per hour as a number, such as `usdPerHour: 40`, or leave it out where they are not bounded",
}
"""What may stand in each field of a limit."""


def read_shared_limits(text: str, file: str = "<input>") -> tuple[SharedLimit, ...]:
    """The limits of a file in YAML or JSON: a list of them.

    Raises:
        ValueError: what is wrong, and where, in the words that resources are refused in.
    """
    found = read_value(text, file)
    if found is None:
        return ()
    if not isinstance(found, list):
        raise ValueError(f"{file}: must be a list of limits, such as {_EXAMPLE}{_rather(found)}")
    problems: list[Problem] = []
    filled = fill(found, _SCHEMA, problems, drop_nulls=True)
    problems += check(filled, _SCHEMA)
    if problems:
        raise ValueError(f"{file}: {str(problems[0]).removesuffix('.')}{_instead(problems[0])}")
    limits = tuple(SharedLimit.model_validate(limit) for limit in filled)
    if unbound := [i for i, limit in enumerate(limits) if limit.gpus is None and limit.usd_per_hour is None]:
        raise ValueError(f"{file}: [{unbound[0]}]: gives no bound: set gpus, usdPerHour or both")
    names = [limit.name for limit in limits]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{file}: two limits are named {', '.join(twice)}: give each a name of its own")
    return limits


def _rather(found: Any) -> str:
    """What to do with something that is no list."""
    if found == {}:
        return "; for no limits leave the file empty, or write []"
    if isinstance(found, dict) and (around := next((key for key in ("operator", "sharedLimits") if key in found), None)):
        return f"; {around!r} is how the chart's values begin: write what is below sharedLimits alone"
    return ""


def _instead(problem: Problem) -> str:
    """What to write instead, where the problem does not say it itself."""
    if "; did you mean" in problem.message or "; put quotes" in problem.message:
        return ""
    if problem.message.startswith("unknown field"):
        return f"; a limit has the fields {', '.join(_WRITE)}"
    where = re.match(r"\[\d+\](?:\.(\w+))?", problem.path)
    if where is None:
        return ""
    return f"; {_WRITE[where[1]]}" if where[1] in _WRITE else f"; write a limit such as {_EXAMPLE}"

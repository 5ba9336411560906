"""What this machine pretends to be: the slots that nodes come from, read from an object `kind: Machine` beside the resources.

    apiVersion: local.forebay.dev/v1
    kind: Machine
    metadata: {name: laptop}
    spec:
      slots:
        - {name: spot, capacityType: spot, zone: z-a, gpus: 4, count: 3, provisionAfter: 2s, labels: {node.kubernetes.io/instance-type: p5}}

A cluster knows nothing of it. Where there is none, every accelerator of every pool gets slots of both capacity types.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from forebay.api.inference_pool import InferencePool, Operator, Requirement
from forebay.api.meta import Duration, K8sModel, Name, ObjectMeta

API_VERSION = "local.forebay.dev/v1"
KIND = "Machine"
_SLOTS_EACH = 8


class CapacityType(StrEnum):
    SPOT = "spot"
    ON_DEMAND = "on-demand"


class _Strict(K8sModel):
    """Nobody else checks this object: an unknown field is a mistake."""

    model_config = ConfigDict(extra="forbid")


class Slot(_Strict):
    """Room for up to `count` nodes of one kind, each of which comes `provisionAfter` its need is seen."""

    name: Name
    capacity_type: CapacityType = CapacityType.ON_DEMAND
    zone: Annotated[str, Field(max_length=63)] = "local"
    labels: dict[str, str] = {}
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    pods: Annotated[int, Field(ge=1, le=1000)] = 110
    provision_after: Duration = 2.0
    return_after: Annotated[Duration, Field(description="How long a reclaimed slot gives no new node.")] = 30.0


class MachineSpec(_Strict):
    slots: Annotated[list[Slot], Field(min_length=1, max_length=64)]
    empty_after: Annotated[Duration, Field(description="How long a node without pods stays.")] = 30.0


class Machine(_Strict):
    """See the module."""

    api_version: Literal["local.forebay.dev/v1"]
    kind: Literal["Machine"]
    metadata: ObjectMeta
    spec: MachineSpec


def default_machine(pools: Iterable[InferencePool]) -> MachineSpec | None:
    """Slots on which all pools can stand; None where no pool names an accelerator."""
    slots: dict[str, Slot] = {}
    for pool in pools:
        for accelerator in pool.spec.capacity.accelerators:
            for capacity_type in CapacityType:
                name = f"{accelerator.name}-{capacity_type}"[:63]
                labels = dict(map(_label, accelerator.requirements))
                gpus = accelerator.gpus_per_node if any(p.gpus for p in pool.spec.profiles if p.accelerator == accelerator.name) else 0
                slots.setdefault(name, Slot(name=name, capacity_type=capacity_type, labels=labels, gpus=gpus, count=_SLOTS_EACH))
    return MachineSpec(slots=list(slots.values())) if slots else None


def _label(requirement: Requirement) -> tuple[str, str]:
    """A label that meets a requirement on node labels, where one label can."""
    match requirement.operator:
        case Operator.IN:
            return requirement.key, requirement.values[0]
        case Operator.GT:
            return requirement.key, str(int(requirement.values[0]) + 1)
        case Operator.LT:
            return requirement.key, str(int(requirement.values[0]) - 1)
        case _:
            return requirement.key, "local"

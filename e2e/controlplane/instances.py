"""The cloud that Karpenter sees: instance types with GPUs, their prices per zone, and what can be had right now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ZONES = ("z-a", "z-b")
ON_DEMAND, SPOT = "on-demand", "spot"


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A machine to be had. Prices in US dollars per hour."""

    name: str
    cpu: int
    memory_gi: int
    gpus: int
    on_demand_usd: float
    spot_usd: float


INSTANCE_TYPES = (
    InstanceType("h100x8", cpu=192, memory_gi=2048, gpus=8, on_demand_usd=55.0, spot_usd=20.0),
    InstanceType("a100x8", cpu=96, memory_gi=1152, gpus=8, on_demand_usd=32.8, spot_usd=12.0),
    InstanceType("l4x1", cpu=8, memory_gi=32, gpus=1, on_demand_usd=0.98, spot_usd=0.35),
    InstanceType("cpu", cpu=16, memory_gi=64, gpus=0, on_demand_usd=0.68, spot_usd=0.25),
)


@dataclass(frozen=True, slots=True)
class Outage:
    """Offerings that cannot be had; None stands for all."""

    capacity_type: str | None = None
    zone: str | None = None
    instance_type: str | None = None

    def covers(self, instance_type: str, capacity_type: str, zone: str) -> bool:
        wanted = ((self.instance_type, instance_type), (self.capacity_type, capacity_type), (self.zone, zone))
        return all(mine in (None, its) for mine, its in wanted)


def catalogue(outages: Sequence[Outage] = ()) -> list[dict[str, Any]]:
    """The instance types in the form that Karpenter's KWOK provider reads.

    It takes every offering for available, whatever its `Available` says, so what cannot be had is left out.
    """
    documents = [_document(kind, outages) for kind in INSTANCE_TYPES]
    return [document for document in documents if document["offerings"]]


def _document(kind: InstanceType, outages: Sequence[Outage]) -> dict[str, Any]:
    resources = {"cpu": str(kind.cpu), "memory": f"{kind.memory_gi}Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    if kind.gpus:
        resources["nvidia.com/gpu"] = str(kind.gpus)
    offerings = [
        {
            # Zones differ a little in price, so that the cheapest offering is one and not any of two.
            "Price": price * (1 + index / 100),
            "Requirements": [_is("karpenter.sh/capacity-type", capacity_type), _is("topology.kubernetes.io/zone", zone)],
        }
        for capacity_type, price in ((SPOT, kind.spot_usd), (ON_DEMAND, kind.on_demand_usd))
        for index, zone in enumerate(ZONES)
        if not any(outage.covers(kind.name, capacity_type, zone) for outage in outages)
    ]
    return {"name": kind.name, "architecture": "amd64", "operatingSystems": ["linux"], "resources": resources, "offerings": offerings}


def _is(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": [value]}

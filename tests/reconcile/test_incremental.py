"""What one change of a fleet replans: the pools that it concerns, and no other."""

from __future__ import annotations

from typing import Any

from tests.reconcile.worlds import Lab, Operator, a_class, a_pool, in_lab

from forebay.adapters import cluster as kinds
from forebay.adapters.cluster import Object
from forebay.adapters.metrics import MetricsInMemory, Target
from forebay.planning.measured import Demand
from forebay.reconcile.keys import pool_key

POOLS = 25


class AskedMetrics(MetricsInMemory):
    """Says which pools were asked about: every plan begins with that."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def demand(self, namespace: str, pool: str, targets: list[Target], now: float) -> Demand | None:
        self.asked.append(pool)
        return await super().demand(namespace, pool, targets, now)


def fleet_pool(number: int, **spec: Any) -> Object:
    """One in five serves the class `steady`, the others `interactive`."""
    return a_pool(f"p{number}", classes=["steady" if number % 5 == 0 else "interactive"], **spec)


async def changes(lab: Lab, operator: Operator, what: str) -> None:
    node = "node-of-p9-h100-on-demand"
    match what:
        case "spec":
            await lab.apply(fleet_pool(7, scaling={"minReplicas": 2, "maxReplicas": 20}))
        case "node":
            await lab.cluster.patch(kinds.NODES, None, node, {"spec": {"unschedulable": True}})
        case "heartbeat":
            beat = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2027-01-15T08:00:00Z"}
            await lab.cluster.patch(kinds.NODES, None, node, {"status": {"conditions": [beat]}}, subresource="status")
        case "pod":
            pod = next(p for p in await lab.cluster.list(kinds.PODS) if p["metadata"]["name"].startswith("p11-"))
            await lab.cluster.delete(kinds.PODS, "default", pod["metadata"]["name"], grace_s=0)
        case "class":
            await lab.apply(a_class("steady", priority=7))
        case "demand":
            lab.demand(pool="p3", rps=50)
            await operator.again(pool_key("default", "p3"))


REPLANNED: dict[str, set[str]] = {
    "spec": {"p7"},
    "node": {"p9"},
    "heartbeat": set(),
    "pod": {"p11"},
    "class": {f"p{number}" for number in range(0, POOLS, 5)},
    "demand": {"p3"},
}


def test_a_change_replans_only_what_it_touches() -> None:
    async def test(lab: Lab) -> None:
        lab.metrics = metrics = AskedMetrics()
        async with lab.operator() as operator:
            await lab.apply(a_class(), a_class("steady"), *(fleet_pool(number) for number in range(POOLS)))
            await operator.quiet()
            await lab.run_pods()
            await operator.quiet()
            assert len(set(metrics.asked)) == POOLS
            for what, replanned in REPLANNED.items():
                metrics.asked.clear()
                await changes(lab, operator, what)
                await operator.quiet()
                assert set(metrics.asked) == replanned, what
                assert len(metrics.asked) <= 4 * len(replanned), f"{what}: again only for what its own writes changed"

    in_lab(test)

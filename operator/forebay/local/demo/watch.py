"""The machine while the load runs: replicas of every pool once a second, and what they cost by the pool's own prices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from forebay.adapters.cluster import INFERENCE_POOLS, PODS, Cluster, Object
from forebay.api.inference_pool import InferencePoolSpec
from forebay.local.rollout import is_over
from forebay.planning.limits import bill
from forebay.planning.snapshot import ON_DEMAND, SPOT, PodView
from forebay.planning.variants import LABEL_POOL, Variant, preferred_profile
from forebay.reconcile.observe import pod_view

EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class PoolSample:
    """Replicas of a pool that stand on a node, by capacity type; `usd_per_hour` is None where a price is missing."""

    desired: int
    ready: int
    on_demand: int
    spot: int
    usd_per_hour: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment, in seconds since the load began. `sent` counts requests from its beginning."""

    at_s: float
    sent: int
    in_flight: int
    pools: dict[str, PoolSample]


@dataclass
class Watch:
    """Takes samples until it is cancelled. `counts` gives requests sent and in flight."""

    cluster: Cluster
    pools: dict[str, InferencePoolSpec]
    counts: Callable[[], tuple[int, int]]
    samples: list[Sample] = field(default_factory=list)

    async def run(self, began: float) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            self.samples.append(await self.sample(clock() - began))
            await asyncio.sleep(EVERY_S - (clock() - began) % EVERY_S)

    async def sample(self, at_s: float) -> Sample:
        found = {name: await self._pool(name, spec) for name, spec in self.pools.items()}
        return Sample(round(at_s, 2), *self.counts(), found)

    async def _pool(self, name: str, spec: InferencePoolSpec) -> PoolSample:
        namespace, _, short = name.partition("/")
        obj = await self.cluster.get(INFERENCE_POOLS, namespace, short)
        pods = await replicas(self.cluster, name)
        desired = ((obj or {}).get("status") or {}).get("desired", {})
        return PoolSample(
            desired=desired.get("onDemand", 0) + desired.get("spot", 0),
            ready=sum(pod.ready and not pod.deleting for pod in pods),
            on_demand=sum(pod.capacity_type == ON_DEMAND for pod in pods),
            spot=sum(pod.capacity_type == SPOT for pod in pods),
            usd_per_hour=usd_per_hour(spec, pods),
        )


async def replicas(cluster: Cluster, pool: str) -> list[PodView]:
    """Replicas of a pool that stand on a node, those that are leaving it included: all that must be paid."""
    namespace, _, name = pool.partition("/")
    bodies: list[Object] = await cluster.list(PODS, namespace, {LABEL_POOL: name})
    return [pod_view(body) for body in bodies if body["spec"].get("nodeName") and not is_over(body)]


def usd_per_hour(spec: InferencePoolSpec, pods: list[PodView]) -> float | None:
    """Price of the nodes behind these replicas; None where one is not known."""
    listed = [Variant(ct, accelerator, profile) for accelerator, profile in preferred_profile(spec) for ct in (ON_DEMAND, SPOT)]
    prices = [bill(spec, variant, sum(pod.variant == variant.name for pod in pods)).usd_per_hour for variant in listed]
    known = [price for price in prices if price is not None]
    return sum(known) if listed and len(known) == len(prices) else None

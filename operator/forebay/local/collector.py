"""Removes pods whose node is gone, for `forebay up`: what the pod garbage collector does in a cluster."""

from __future__ import annotations

from forebay.adapters.cluster import NODES, PODS, Cluster
from forebay.local.control_loop import follow


async def run_collector(cluster: Cluster) -> None:
    """Runs until it is cancelled."""

    async def step() -> None:
        nodes = {node["metadata"]["name"] for node in await cluster.list(NODES)}
        for pod in await cluster.list(PODS):
            metadata = pod["metadata"]
            if pod["spec"].get("nodeName", "") not in nodes | {""}:
                await cluster.delete(PODS, metadata["namespace"], metadata["name"], uid=metadata["uid"], grace_s=0)

    await follow(cluster, (NODES, PODS), step)

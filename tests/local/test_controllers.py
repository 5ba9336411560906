"""The small controllers together, with real processes: from a Deployment to endpoints that answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.local.nodes import PORT, Cluster, Object, condition, is_ready, kubelet, running_below, server
from tests.local.waiting import eventually

from forebay.adapters.cluster import DEPLOYMENTS, ENDPOINT_SLICES, NODES, PODS, SERVICES, NotFound
from forebay.api.meta import ObjectMeta
from forebay.local.collector import run_collector
from forebay.local.deployments import run_deployments
from forebay.local.endpoint_slices import run_endpoint_slices
from forebay.local.machine import CapacityType, Machine, MachineSpec, Slot
from forebay.local.scheduler import run_scheduler
from forebay.local.slots import Slots
from forebay.local.waiting import beside

MACHINE = MachineSpec(
    slots=[
        Slot(name="spot", capacity_type=CapacityType.SPOT, zone="z-a", gpus=2, count=2, provision_after=0.05, return_after=60),
        Slot(name="base", zone="z-b", gpus=2, count=2, provision_after=0.05),
    ],
    empty_after=0.3,
)


def deployment(replicas: int, *, version: str = "1", gpus: int = 1, **spec: Any) -> Object:
    container = server(env=[{"name": "VERSION", "value": version}], resources={"limits": {"nvidia.com/gpu": str(gpus)}} if gpus else {})
    template = {"metadata": {"labels": {"app": "m"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec}}
    metadata = {"name": "m", "namespace": "default"}
    wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": "m"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": wanted}


async def pods(cluster: Cluster) -> list[Object]:
    return await cluster.list(PODS, labels={"app": "m"})


async def until_available(cluster: Cluster, count: int) -> Object:
    async def settled() -> Object | None:
        found = await cluster.get(DEPLOYMENTS, "default", "m")
        status = (found or {}).get("status", {})
        counts = [status.get(field) for field in ("replicas", "readyReplicas", "updatedReplicas")]
        done = found is not None and counts == [count] * 3 and status["observedGeneration"] == found["metadata"]["generation"]
        return status if done and len(await pods(cluster)) == count else None

    return await eventually(settled)


def on_a_machine(folder: Path, test: Callable[[Cluster, Slots], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(25), kubelet(folder) as cluster:
            await cluster.delete(NODES, None, "n1")
            slots = Slots(cluster, MACHINE)
            controllers = (run_deployments, run_scheduler, run_endpoint_slices, run_collector)
            async with beside(slots.run(), *(controller(cluster) for controller in controllers)):
                await test(cluster, slots)

    asyncio.run(main())


async def ready_addresses(cluster: Cluster) -> set[str]:
    pieces = await cluster.list(ENDPOINT_SLICES, labels={"kubernetes.io/service-name": "m"})
    return {endpoint["addresses"][0] for piece in pieces for endpoint in piece["endpoints"] if endpoint["conditions"]["ready"]}


def test_a_deployment_gets_nodes_processes_and_endpoints(tmp_path: Path) -> None:
    async def test(cluster: Cluster, slots: Slots) -> None:
        service = {"selector": {"app": "m"}, "ports": [{"name": "http", "port": 80, "targetPort": PORT}]}
        await cluster.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m", "namespace": "default"}, "spec": service})
        await cluster.create(deployment(3))
        status = await until_available(cluster, 3)
        assert condition(status, "Available") == "True"
        found = await pods(cluster)
        assert {pod["spec"]["nodeName"] for pod in found} == {"spot-1", "spot-2"}
        assert {pod["metadata"]["ownerReferences"][0]["name"] for pod in found} == {"m"}
        await eventually(lambda: has_length(ready_addresses(cluster), 3))
        await cluster.patch(DEPLOYMENTS, "default", "m", {"spec": {"replicas": 1}})
        await until_available(cluster, 1)
        await eventually(lambda: has_length(ready_addresses(cluster), 1))
        await eventually(lambda: has_length(cluster.list(NODES), 2))
        await cluster.delete(SERVICES, "default", "m")
        await eventually(lambda: has_length(cluster.list(ENDPOINT_SLICES), 0))
        await cluster.delete(DEPLOYMENTS, "default", "m")
        await eventually(lambda: has_length(pods(cluster), 0))
        await eventually(lambda: not list(running_below(tmp_path)))

    on_a_machine(tmp_path, test)


async def has_length(things: Coroutine[Any, Any, Any], length: int) -> bool:
    return len(await things) == length


def test_a_rollout_never_drops_below(tmp_path: Path) -> None:
    async def test(cluster: Cluster, slots: Slots) -> None:
        await cluster.create(deployment(3, gpus=0))
        await until_available(cluster, 3)
        fewest = 3
        await cluster.patch(DEPLOYMENTS, "default", "m", {"spec": deployment(3, version="2", gpus=0)["spec"]})
        versions: set[str] = set()
        while versions != {"2"} or len(await pods(cluster)) != 3:
            found = await pods(cluster)
            fewest = min(fewest, sum(is_ready(pod["status"]) for pod in found))
            versions = {pod["spec"]["containers"][0]["env"][1]["value"] for pod in found}
            await asyncio.sleep(0.01)
        await until_available(cluster, 3)
        assert fewest == 3

    on_a_machine(tmp_path, test)


def test_a_reclaimed_node_is_replaced(tmp_path: Path) -> None:
    """Notice by taint, then the machine is gone with its processes; the slot does not come back at once."""

    async def test(cluster: Cluster, slots: Slots) -> None:
        await cluster.create(deployment(2))
        await until_available(cluster, 2)
        (before,) = {pod["spec"]["nodeName"] for pod in await pods(cluster)}
        old = set(running_below(tmp_path))
        reclaiming = asyncio.create_task(slots.reclaim(before, notice_s=0.3))

        async def tainted() -> bool:
            node = await cluster.get(NODES, None, before)
            return node is not None and node["spec"].get("taints") == [{"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}]

        await eventually(tainted)
        assert all(is_ready(pod["status"]) for pod in await pods(cluster))
        await reclaiming
        await eventually(lambda: not old & set(running_below(tmp_path)))

        async def moved() -> bool:
            return [is_ready(pod["status"]) and pod["spec"]["nodeName"] != before for pod in await pods(cluster)] == [True] * 2

        await eventually(moved)

    on_a_machine(tmp_path, test)


def test_a_pod_that_fits_nowhere_says_why(tmp_path: Path) -> None:
    async def test(cluster: Cluster, slots: Slots) -> None:
        await cluster.create(deployment(1, gpus=16))

        async def refused() -> str | None:
            scheduled = [one for pod in await pods(cluster) for one in pod["status"].get("conditions", []) if one["type"] == "PodScheduled"]
            return scheduled[0]["message"] if scheduled else None

        assert await eventually(refused) == "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
        assert len(await cluster.list(NODES)) == 1
        await cluster.patch(DEPLOYMENTS, "default", "m", {"spec": deployment(1, gpus=2)["spec"]})
        await until_available(cluster, 1)

    on_a_machine(tmp_path, test)


def test_declared_slots_are_a_bound(tmp_path: Path) -> None:
    async def test(cluster: Cluster, slots: Slots) -> None:
        await cluster.create(deployment(5, nodeSelector={"karpenter.sh/capacity-type": "spot"}))

        async def four_ready() -> bool:
            return sum(is_ready(pod["status"]) for pod in await pods(cluster)) == 4

        await eventually(four_ready)
        nodes = {node["metadata"]["name"] for node in await cluster.list(NODES)}
        assert nodes == {"machine", "spot-1", "spot-2"}
        assert len(await pods(cluster)) == 5

    on_a_machine(tmp_path, test)


def test_there_is_no_node_to_reclaim(tmp_path: Path) -> None:
    async def test(cluster: Cluster, slots: Slots) -> None:
        with pytest.raises(NotFound, match="there is no node spot-9"):
            await slots.reclaim("spot-9", 0)

    on_a_machine(tmp_path, test)


def test_a_machine_is_read_strictly() -> None:
    text = {"apiVersion": "local.forebay.dev/v1", "kind": "Machine", "metadata": {"name": "m"}}
    slot = {"name": "spot", "capacityType": "spot", "gpus": 4, "count": 3, "provisionAfter": "2s", "zone": "z-a", "labels": {"a": "b"}}
    machine = Machine.model_validate({**text, "spec": {"slots": [slot]}})
    assert machine.spec.slots[0].provision_after == 2.0
    assert machine.metadata == ObjectMeta(name="m")
    for wrong in ({"capacityType": "Spot"}, {"cuont": 3}, {"provisionAfter": "soon"}, {"gpus": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Machine.model_validate({**text, "spec": {"slots": [{**slot, **wrong}]}})

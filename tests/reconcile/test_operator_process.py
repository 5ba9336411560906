"""`forebay operator` as a process, over HTTP, against the cluster in memory: what the loop's own tests do not go through is kopf's part."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from bench.support.fleet import CLASSES, a_pool
from bench.support.kube_api import kube_api
from bench.support.process import HOST, free_port, listening, running
from tests.local.waiting import eventually

from forebay.adapters.cluster import DEPLOYMENTS, LEASES
from forebay.adapters.memory import MemoryCluster
from forebay.local.up import write_kubeconfig

POOLS = 40


def test_more_objects_than_kopf_has_workers(tmp_path: Path) -> None:
    """kopf's worker of each object waits until every object is indexed: with a limit of 32 workers, the 33rd pool or node stopped all."""

    async def test() -> None:
        cluster = MemoryCluster()
        for name, spec in CLASSES.items():
            await cluster.create({"apiVersion": "forebay.dev/v1alpha1", "kind": "BatchClass", "metadata": {"name": name}, "spec": spec})
        for number in range(POOLS):
            await cluster.create(a_pool(number))
            await cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}"}})
        async with kube_api(cluster) as url:
            write_kubeconfig(tmp_path / "kubeconfig", url)
            argv = [sys.executable, "-m", "forebay", "operator", "--image", "forebay:1", "--kubeconfig", str(tmp_path / "kubeconfig")]
            argv += ["--host", HOST, "--port", str(port := free_port()), "--decisions", str(tmp_path / "decisions.jsonl")]
            async with running("operator", argv, tmp_path, core=-1) as process:
                await listening(process, port, tmp_path)
                with suppress(AssertionError):
                    await eventually(lambda: all_are_deployed(cluster), 30)
                assert await all_are_deployed(cluster), (tmp_path / "operator.log").read_text()[-2000:]
        lease = await cluster.get(LEASES, "forebay-system", "forebay-operator")
        assert lease is not None and not lease["spec"].get("holderIdentity"), "given back when it was told to stop"

    asyncio.run(test())


async def all_are_deployed(cluster: MemoryCluster) -> bool:
    return len({obj["metadata"]["labels"]["forebay.dev/pool"] for obj in await cluster.list(DEPLOYMENTS)}) == POOLS

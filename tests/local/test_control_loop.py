"""The loop of the small controllers."""

from __future__ import annotations

import asyncio

import pytest

from forebay.adapters.cluster import NODES
from forebay.adapters.memory import MemoryCluster
from forebay.local.control_loop import follow


@pytest.mark.parametrize("turns", range(8))
def test_a_cancellation_that_comes_together_with_a_change_is_not_lost(turns: int) -> None:
    """bpo-37658: `wait_for` gave the change back and forgot the cancellation; `forebay up` then hung on Ctrl-C now and then."""

    async def run() -> None:
        cluster, seen = MemoryCluster(), asyncio.Event()

        async def step() -> float:
            seen.set()
            return 60.0

        following = asyncio.create_task(follow(cluster, (NODES,), step))
        await seen.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        await cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
        for _ in range(turns):
            await asyncio.sleep(0)
        following.cancel()
        done, _ = await asyncio.wait((following,), timeout=2)
        following.cancel()
        assert done

    asyncio.run(run())

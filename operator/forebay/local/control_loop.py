"""The loop of every small controller here: after any change of some kinds, look at everything and do what is missing.

A watch only says that something changed; the step reads afresh. So a step never acts on a copy older than its own last write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from forebay.adapters.cluster import Cluster, ClusterError, Kind

log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[float | None]]
"""Does what is missing; gives the seconds after which it is to be called again even without a change."""

_RETRY_S = 0.1


async def follow(cluster: Cluster, kinds: Sequence[Kind], step: Step) -> None:
    """Runs until it is cancelled. A step that met a conflict or no answer is run again shortly after."""
    changed = asyncio.Event()

    async def watch(kind: Kind) -> None:
        async for _ in cluster.watch(kind):
            changed.set()

    async with asyncio.TaskGroup() as group:
        for kind in kinds:
            group.create_task(watch(kind))
        while True:
            changed.clear()
            delay_s = await _tried(step)
            try:
                # Not wait_for: until Python 3.12 it loses a cancellation that comes together with what it waits for.
                async with asyncio.timeout(delay_s):
                    await changed.wait()
            except TimeoutError:
                continue


async def _tried(step: Step) -> float | None:
    try:
        return await step()
    except ClusterError as error:
        log.info("a step is tried again", extra={"step": getattr(step, "__qualname__", ""), "problem": str(error)})
        return _RETRY_S

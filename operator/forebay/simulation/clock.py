"""Time as a simulation sets it, for the code of the operator."""

from __future__ import annotations

import asyncio

EPOCH_S = 1_767_225_600.0
"""The virtual clock's zero: midnight UTC of a Thursday, so that days begin where they do."""


class VirtualClock:
    """Time as the simulation sets it."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> float:
        return EPOCH_S + self.elapsed

    def monotonic(self) -> float:
        return self.elapsed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

"""An operator that dies at a write of a test's choice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from forebay.adapters.cluster import Object
from forebay.adapters.memory import MemoryCluster


class Killed(Exception):
    """The process is gone; nothing it does arrives any more."""


class Mortal:
    """A cluster as seen by an operator that dies right after its n-th write, or right before it arrives."""

    def __init__(self, cluster: MemoryCluster, lives: int, *, arrives: bool = True) -> None:
        self._cluster, self._left, self._arrives = cluster, lives, arrives
        self.dead = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def _write(self, write: Callable[..., Awaitable[Any]], *where: Any, **options: Any) -> Any:
        if self.dead.is_set():
            raise Killed
        self._left -= 1
        if self._left > 0:
            return await write(*where, **options)
        self.dead.set()
        if self._arrives:
            await write(*where, **options)
        raise Killed

    async def create(self, obj: Object) -> Any:
        return await self._write(self._cluster.create, obj)

    async def apply(self, obj: Object, **options: Any) -> Any:
        return await self._write(self._cluster.apply, obj, **options)

    async def patch(self, *where: Any, **options: Any) -> Any:
        return await self._write(self._cluster.patch, *where, **options)

    async def delete(self, *where: Any, **options: Any) -> Any:
        return await self._write(self._cluster.delete, *where, **options)

    async def evict(self, *where: Any) -> Any:
        return await self._write(self._cluster.evict, *where)

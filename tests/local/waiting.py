"""Waiting for a condition instead of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(condition: Callable[[], Awaitable[T | None]], timeout_s: float = 15.0) -> T: ...
@overload
async def eventually(condition: Callable[[], T | None], timeout_s: float = 15.0) -> T: ...
async def eventually(condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """The first true value that the condition gives."""
    until = time.monotonic() + timeout_s
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"never came true: {condition}")
        await asyncio.sleep(0.02)

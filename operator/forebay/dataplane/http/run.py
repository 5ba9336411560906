"""Runs a role until it is told to stop: uvloop where there is one, SIGTERM and SIGINT as an event."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable

if sys.platform == "win32":
    new_event_loop = asyncio.new_event_loop
else:
    from uvloop import new_event_loop


def on_signals(then: Callable[[], None]) -> None:
    """SIGTERM and SIGINT call `then`, and nothing else that was to be called."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, then)


def run(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Runs `main(stop)` and returns its exit code. The first signal sets `stop`; a second one cancels what is left."""

    async def guarded() -> int:
        stop = asyncio.Event()
        task = asyncio.ensure_future(main(stop))

        def signalled() -> None:
            if stop.is_set():
                task.cancel()
            stop.set()

        on_signals(signalled)
        try:
            return await task
        except asyncio.CancelledError:
            return 1

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(guarded())

"""Engines that serve from a thread of their own, for commands that a test calls as a user does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.engines.engine_harness import a_simulator

from forebay.cli.main import main
from forebay.dataplane.http.message import Handler
from forebay.dataplane.http.server import serve
from forebay.engines.sim.engine import Generation
from forebay.engines.sim.stepping import Profile

SLOW = Profile(0.03, 0.0003, 0.000003, 8)


@contextmanager
def beside(profile: Profile | None = None, handler: Handler | None = None, busy: int = 0, host: str = "127.0.0.1") -> Iterator[int]:
    """A simulator, or whatever else, that serves from a thread of its own; with so many requests of others in it."""
    port, ready, loop = 0, threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def work() -> None:
        nonlocal port
        if handler is not None:
            server = await serve(handler, host, 0)
            port = server.port
            ready.set()
            await stop.wait()
            await server.close(0)
            return
        async with a_simulator(profile or SLOW) as engine:
            for _ in range(busy):
                engine.engine.batch.running[Generation(10, 10**6, 0.0)] = None
            port = engine.port
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(work()), daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def profile(port: int, *args: str) -> int:
    return main(["profile", f"http://127.0.0.1:{port}", *args])

"""Replicas whose sidecars are read over real sockets and planned for: from the text of their metrics to the count that is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from tests.adapters.served import Served
from tests.planning.builders import NOW, a_snapshot, a_spec, running

from forebay.adapters.metrics import Target
from forebay.adapters.scrape import ScrapedMetrics
from forebay.dataplane.http.client import Client
from forebay.planning.decision import Plan
from forebay.planning.measured import Demand
from forebay.planning.memory import Memory
from forebay.planning.planner import plan

LONG_AGO = NOW - 90_000
SPEC = a_spec(scaling={"minReplicas": 1, "maxReplicas": 20, "scaleDown": {"stabilization": "60s"}})
"""A minute of less is enough for fewer replicas."""
EXPOSITION = """\
forebay_sidecar_arrivals_total{{batch_class="interactive"}} {served}
forebay_sidecar_arrived_input_tokens_total{{batch_class="interactive"}} {inputs}
forebay_sidecar_requests_total{{batch_class="interactive",outcome="ok"}} {served}
forebay_sidecar_tokens_total{{batch_class="interactive",token_type="input"}} {inputs}
forebay_sidecar_tokens_total{{batch_class="interactive",token_type="output"}} {outputs}
forebay_sidecar_tokens_squared_total{{batch_class="interactive",token_type="input"}} {input_squares}
forebay_sidecar_tokens_squared_total{{batch_class="interactive",token_type="output"}} {output_squares}
forebay_sidecar_queue_depth{{batch_class="interactive"}} 0
forebay_sidecar_in_flight{{batch_class="interactive"}} 4
forebay_sidecar_config_info{{hash="abc"}} 1
"""
"""Of a replica that answers requests of 200 and 100 tokens as they come."""


class Replica(Served):
    """A sidecar. `said` makes of the text what it says."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.served = 0.0
        self.said: Callable[[str], str] = lambda text: text

    def text(self) -> str:
        n = self.served
        return self.said(EXPOSITION.format(served=n, inputs=200 * n, outputs=100 * n, input_squares=200**2 * n, output_squares=100**2 * n))


class Fleet:
    """A pool that `rps` requests/s come to, looked at every 15 s; `now` is the calendar, `passed_s` the time that really passed."""

    def __init__(self, client: Client, replicas: list[Replica], rps: float) -> None:
        self.replicas, self.rps, self.now, self.passed_s = replicas, rps, NOW, 0.0
        self.metrics = ScrapedMetrics(client, monotonic=lambda: self.passed_s)
        self.memory = Memory()
        self.demand: Demand | None = None
        self.counts: list[int] = []
        """What was decided at each look."""

    async def look(self, times: int = 1, after_s: float = 15.0) -> Plan:
        for _ in range(times):
            self.now, self.passed_s = self.now + after_s, self.passed_s + after_s
            for replica in self.replicas:
                replica.served += self.rps * after_s / len(self.replicas)
            targets = [Target(r.name, "127.0.0.1", r.port, LONG_AGO) for r in self.replicas]
            self.demand = await self.metrics.demand("default", "llama", targets, self.now)
            there = running(len(self.replicas), created_at=LONG_AGO)
            decision = plan(a_snapshot(now=self.now, spec=SPEC, demand=self.demand, memory=self.memory, **there))
            self.memory = decision.memory
            self.counts.append(decision.replicas)
        return decision


def fleet_of(count: int, rps: float, test: Callable[[Fleet], Awaitable[None]]) -> None:
    """Runs a test with so many replicas that were there for long."""

    async def main() -> None:
        client = Client()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(client.close)
            replicas = [await stack.enter_async_context(Replica(f"llama-h100-on-demand-{i}")) for i in range(count)]
            async with asyncio.timeout(60):
                await test(Fleet(client, replicas, rps))

    asyncio.run(main())

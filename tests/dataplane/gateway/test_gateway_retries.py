"""Retries: on another replica, before the first byte, within the class's attempts and the policy's budget."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule
from tests.dataplane.gateway.gateway_fakes import SSE, answers
from tests.dataplane.gateway.gateway_world import World, counted, run, until

from forebay.dataplane.gateway.budget import BURST, RetryBudget
from forebay.dataplane.http.message import Request, Response


async def hang_up(request: Request, response: Response) -> None:
    response.abort()


async def head_and_nothing(request: Request, response: Response) -> None:
    response.start(200, SSE)
    response.abort()


def a_free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_replica_that_hangs_up_is_followed_by_another(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={"chat": 2}) as world:
            for failing in (hang_up, answers(502), answers(503)):
                bad, good = world.sidecars["chat"]
                bad.answer, good.answer = failing, good.usual
                before = len(bad.seen)
                for _ in range(4):
                    assert (await world.chat()).status == 200
                assert len(bad.seen) > before, "the failing replica was never asked"
                await until(lambda: not any(endpoint.draining for endpoint in world.role.fleet.endpoints()))
            retried = [record for record in await world.decisions(12) if record["attempts"] == 2]
            assert {reason for record in retried for reason in record["reasons"]} >= {"retry-closed", "retry-status"}
            assert not any(record["lost"] for record in await world.decisions(12))

    run(test)


def test_a_stream_that_dies_before_its_first_byte_is_retried(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={"chat": 2}) as world:
            world.sidecars["chat"][0].answer = head_and_nothing
            for _ in range(4):
                got = await world.chat(stream=True)
                assert got.status == 200
                assert got.body.endswith(b"data: [DONE]\n\n")
            assert len(world.sidecars["chat"][0].seen) > 0

    run(test)


def test_a_replica_that_is_gone_is_left_alone_after_one_try(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={"chat": 1}) as world:
            port = a_free_port()
            world.api.put("chat-forebay", [world.sidecar.port, port])
            await until(lambda: len(world.role.fleet.endpoints()) == 2)
            for _ in range(10):
                assert (await world.chat()).status == 200
            records = await world.decisions(10)
            assert sum("retry-connect" in record["reasons"] for record in records) <= 1

    run(test)


def test_answers_that_blame_the_request_are_not_retried(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={"chat": 2}) as world:
            for status in (400, 404, 422, 429, 500):
                before = world.seen()
                for sidecar in world.sidecars["chat"]:
                    sidecar.answer = answers(status)
                assert (await world.chat()).status == status
                assert world.seen() == before + 1

    run(test)


def test_a_full_queue_is_retried_only_where_the_replica_drains(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={"chat": 2}) as world:
            one, two = world.sidecars["chat"]
            one.answer = answers(429)
            one.load = {**one.load, "draining": True}
            two.answer = answers(429)
            two.load = {**two.load, "draining": True}
            await until(lambda: all(endpoint.draining for endpoint in world.role.fleet.endpoints()))
            got = await world.chat()
            assert (got.status, got.header("retry-after"), world.seen()) == (429, "1", 2)

    run(test)


def test_attempts_end_with_the_class_and_pass_on_the_last_answer(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, replicas={"chat": 5}) as world:
            for sidecar in world.sidecars["chat"]:
                sidecar.answer = answers(503, (b"retry-after", b"7"))
            with counted("forebay_gateway_retries_total", 2, reason="retry-status"):
                got = await world.chat()
            assert (got.status, got.header("retry-after"), world.seen()) == (503, "7", 3)
            assert (got.header("x-decision") or "").endswith("retry-status,retry-status,attempts-spent")

    run(test)


def test_replicas_that_are_going_cost_no_attempt_and_no_budget(tmp_path: Path) -> None:
    """A pool that shrinks by several at once: a request met two of them, and its class's two attempts were spent."""

    async def test() -> None:
        async with World(tmp_path, a_document(a_policy(retryBudget=0)), {"chat": 4}) as world:
            *going, _ = world.sidecars["chat"]
            for sidecar in going:
                sidecar.answer = answers(503, (b"x-forebay-draining", b"1"))
            for endpoint in world.role.fleet.endpoints():
                endpoint.since = 0 if endpoint.port in {sidecar.port for sidecar in going} else 100
            got = await world.chat()
            assert (got.status, world.seen()) == (200, 4)
            assert (got.header("x-decision") or "").endswith("retry-draining,retry-draining,retry-draining")
            for sidecar in world.sidecars["chat"]:
                sidecar.answer = answers(503, (b"x-forebay-draining", b"1"))
            got = await world.chat()
            assert (got.status, world.seen()) == (503, 8)

    run(test)


def test_an_outage_does_not_multiply_the_load(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, a_document(a_policy(retryBudget=0.1)), {"chat": 2}) as world:
            for sidecar in world.sidecars["chat"]:
                sidecar.answer = answers(502)
            for _ in range(200):
                assert (await world.chat()).status == 502
            assert world.seen() - 200 <= BURST + 0.1 * 200
            assert "retry-budget-spent" in (await world.decisions(200))[-1]["reasons"]

    run(test)


def test_a_budget_of_nothing_means_no_retry(tmp_path: Path) -> None:
    async def test() -> None:
        async with World(tmp_path, a_document(a_policy(retryBudget=0)), {"chat": 2}) as world:
            for sidecar in world.sidecars["chat"]:
                sidecar.answer = answers(502)
            assert (await world.chat()).status == 502
            assert world.seen() == 1

    run(test)


def test_a_retry_may_leave_the_pool_and_takes_the_other_models_name(tmp_path: Path) -> None:
    async def test() -> None:
        document = a_document(
            a_policy(rules=[a_rule(pools={"default/chat": 1000, "default/other": 1})]), pools=[a_pool("chat"), a_pool("other", model="m2")]
        )
        async with World(tmp_path, document, {"chat": 1, "other": 1}) as world:
            world.sidecar.answer = answers(502)
            got = await world.chat(temperature=0)
            assert (got.status, got.header("x-model-served"), got.json["model"]) == (200, "m2", "m2")
            assert "stored" not in (got.header("cache-status") or ""), "another model's answer under the first one's key"

    run(test)


def test_a_replica_that_never_answers_is_504_and_not_retried(tmp_path: Path) -> None:
    async def test() -> None:
        document = a_document(a_policy(timeouts={"firstByteSeconds": 0.05, "idleSeconds": 5.0}))
        async with World(tmp_path, document, {"chat": 2}) as world:
            for sidecar in world.sidecars["chat"]:
                sidecar.answer = _never
            got = await world.chat()
            assert (got.status, got.error["code"], world.seen()) == (504, "gateway_timeout", 1)
            got = await world.chat(stream=True)
            assert (got.status, world.seen()) == (504, 2)
            await until(lambda: sum(sidecar.cancelled for sidecar in world.sidecars["chat"]) == 2)

    run(test)


async def _never(request: Request, response: Response) -> None:
    if b'"stream"' in request.body:
        response.start(200, SSE)
    await asyncio.Event().wait()


def test_garbage_from_a_replica_is_502(tmp_path: Path) -> None:
    async def test() -> None:
        async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"what?\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(garbage, "127.0.0.1", 0)
        async with World(tmp_path, replicas={}) as world:
            world.api.put("chat-forebay", [server.sockets[0].getsockname()[1]])
            await until(lambda: world.role.fleet.endpoints())
            got = await world.chat()
            assert (got.status, got.error["code"]) == (502, "bad_gateway")
            assert (await world.decisions(1))[0]["lost"]
        server.close()

    run(test)


@given(ratio=st.floats(0.01, 1), outcomes=st.lists(st.integers(0, 4), max_size=300))
def test_retries_never_exceed_the_ratio_of_requests_and_the_burst(ratio: float, outcomes: list[int]) -> None:
    """Each request wants so many retries."""
    budget, retries = RetryBudget(ratio), 0
    for wanted in outcomes:
        budget.deposit()
        retries += sum(budget.withdraw() for _ in range(wanted))
    assert retries <= BURST + ratio * len(outcomes) + 1e-6

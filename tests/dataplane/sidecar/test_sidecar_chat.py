"""Requests to an engine that batches itself: streams, usage, queues, priorities, and engines and clients that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from tests.dataplane.sidecar.sidecar_world import World, a_chunk, a_class, a_document, a_world, event, p95, run
from tests.dataplane.wires import soon, until

from forebay.dataplane.http.server import Request, Response
from forebay.dataplane.sidecar import app
from forebay.dataplane.sidecar.limit import Pace

CHAT = "/v1/chat/completions"
STREAMED = [(b"content-type", b"text/event-stream")]


async def until_queued(world: World, count: int) -> None:
    await until(lambda: world.sidecar._queues.queued == count)


def in_class(name: str) -> tuple[bytes, bytes]:
    return b"x-forebay-class", name.encode()


def test_a_stream_passes_through_and_its_tokens_come_from_the_engine(tmp_path: Path) -> None:
    async def main() -> None:
        objectives = {"timeToFirstToken": p95(5), "interTokenLatency": p95(0.000001), "endToEnd": p95(5)}
        async with a_world(a_document(a_class(objectives=objectives)), tmp_path) as world:
            reply = await world.post(CHAT, {"stream": True, "max_tokens": 4, "seed": 12345678901234567890})
            text = await reply.read()
            assert reply.header(b"content-type") == b"text/event-stream"
            assert float(reply.header(b"x-forebay-queue-ms") or b"-1") >= 0
            assert text.count(b'"content":"t') == 4 and text.endswith(event(b"[DONE]")) and b"usage" not in text
            sent = world.engine.seen[0].body
            assert orjson.loads(sent)["stream_options"] == {"include_usage": True} and b'"seed":12345678901234567890' in sent
            await until(lambda: world.outcome("ok") == 1)
            own = {"batch_class": "interactive"}
            assert world.metric("forebay_sidecar_tokens_total", token_type="input", **own) == 7
            assert world.metric("forebay_sidecar_tokens_total", token_type="output", **own) == 4
            assert world.metric("forebay_sidecar_tokens_squared_total", token_type="input", **own) == 49
            assert world.metric("forebay_sidecar_tokens_squared_total", token_type="output", **own) == 16
            for name in ("gen_ai_server_time_to_first_token", "gen_ai_server_time_per_output_token", "gen_ai_server_request_duration"):
                assert world.metric(f"{name}_seconds_count", **own) == 1
            assert world.metric("forebay_sidecar_objective_total", objective="timeToFirstToken", met="true", **own) == 1
            assert world.metric("forebay_sidecar_objective_total", objective="interTokenLatency", met="false", **own) == 1
            assert world.metric("forebay_sidecar_objective_total", objective="endToEnd", met="true", **own) == 1

    run(main)


def test_who_asks_for_usage_gets_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            text = await world.stream({"stream_options": {"include_usage": True}})
            assert b'"completion_tokens":3' in text
            text = await world.stream({"stream_options": {"include_usage": False, "other": 1}})
            assert b"completion_tokens" not in text
            assert world.engine.bodies()[1]["stream_options"] == {"include_usage": True, "other": 1}
            await until(lambda: world.metric("forebay_sidecar_tokens_total", batch_class="interactive", token_type="output") == 6)

    run(main)


def test_an_answer_that_is_not_streamed_is_not_touched(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            raw = b'{ "max_tokens": 2 }'
            status, answer = await world.answer(CHAT, raw, (b"x-forebay-tenant", b"acme"), (b"x-request-id", b"r1"))
            assert (status, answer["choices"][0]["message"]["content"]) == (200, "xx")
            seen = world.engine.seen[0]
            assert seen.body == raw and seen.header(b"x-request-id") == b"r1" and seen.header(b"x-forebay-tenant") is None
            assert world.metric("forebay_sidecar_tokens_total", batch_class="interactive", token_type="output") == 2
            assert world.metric("gen_ai_server_time_to_first_token_seconds_count", batch_class="interactive") == 0

    run(main)


def test_an_engine_that_knows_no_stream_options_still_streams(tmp_path: Path) -> None:
    async def old(request: Request, response: Response) -> None:
        if b"stream_options" in request.body:
            response.send(400, b'{"error":{"message":"extra fields not permitted"}}')
            return
        response.start(200, STREAMED)
        await response.write(event(a_chunk("a")) + event(b"[DONE]"))
        response.end()

    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.answer = old
            for asked in (2, 3):
                assert await world.stream({}) == event(a_chunk("a")) + event(b"[DONE]")
                assert len(world.engine.seen) == asked
            await until(lambda: world.metric("forebay_sidecar_usage_missing_total", batch_class="interactive") == 2)
            assert world.metric("forebay_sidecar_tokens_total", batch_class="interactive", token_type="output") == 0

    run(main)


def test_a_request_that_is_wrong_gets_the_engines_own_answer(tmp_path: Path) -> None:
    async def picky(request: Request, response: Response) -> None:
        response.send(400, b'{"error":{"message":"temperature is too high"}}', [(b"x-engine", b"1")])

    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.answer = picky
            assert await world.answer(CHAT, {"stream": True}) == (400, {"error": {"message": "temperature is too high"}})
            assert not world.sidecar._generator._no_usage
            assert world.outcome("client_error") == 1

    run(main)


DEEP = b"[" * 500 + b"]" * 500
"""As deep as can be read, and deeper than can be written."""


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff\xfe", b'{"stream": true, "stream_options": {}, "x": ' + DEEP + b"}"])
def test_a_body_that_is_no_json_object_is_refused_here(tmp_path: Path, body: bytes) -> None:
    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            status, answer = await world.answer(CHAT, body)
            assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
            assert not world.engine.seen

    run(main)


def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            status, answer = await world.answer(CHAT, b"x" * (33 * 1024 * 1024))
            assert (status, answer["error"]["code"]) == (413, "request_too_large")

    run(main)


ENDS = {
    "cut": lambda response: response.abort(),
    "ended politely without its last event": lambda response: response.end(),
}


@pytest.mark.parametrize("how", ENDS)
def test_an_engine_that_dies_amid_a_stream_is_told_to_the_client(tmp_path: Path, how: str) -> None:
    async def dies(request: Request, response: Response) -> None:
        response.start(200, STREAMED)
        await response.write(event(a_chunk("a")) + b'data: {"cho')
        await asyncio.sleep(0.02)
        ENDS[how](response)

    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.answer = dies
            text = await world.stream({})
            first, last, rest = text.split(b"\n\n")
            assert first + b"\n\n" == event(a_chunk("a"))
            assert orjson.loads(last.removeprefix(b"data: "))["error"]["code"] == "stream_broken"
            assert rest == b"" and b"[DONE]" not in text
            await until(lambda: world.outcome("broken_stream") == 1)
            assert (await world.load())["inFlight"] == 0

    run(main)


def test_an_engine_that_fails_before_its_first_byte_is_a_502(tmp_path: Path) -> None:
    async def cuts(request: Request, response: Response) -> None:
        response.abort()

    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.answer = cuts
            status, answer = await world.answer(CHAT, {"stream": True})
            assert (status, answer["error"]["code"]) == (502, "bad_gateway")
            await world.engine_server.close(0)
            status, _ = await world.answer(CHAT, {})
            assert status == 502
            assert world.outcome("engine_error") == 2
            await until(lambda: "does not answer" in world.sidecar.not_ready())
            assert (await world.get("/readyz"))[0] == 503
            assert (await world.get("/healthz"))[0] == 200

    run(main)


def test_an_engine_that_is_overloaded_says_when_to_come_back(tmp_path: Path) -> None:
    async def overloaded(request: Request, response: Response) -> None:
        response.send(503, b"{}")

    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.answer = overloaded
            reply = await world.post(CHAT, {})
            assert (reply.status, reply.header(b"retry-after")) == (503, b"1")
            reply.close()
            listed = await world.client.send("127.0.0.1", world.sidecar.port, "GET", "/v1/models")
            assert (listed.status, listed.header(b"retry-after")) == (503, b"1")
            listed.close()

    run(main)


def test_a_client_that_leaves_is_left_by_the_engine_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(a_class(maxBatchSize=1)), tmp_path) as world:
            world.engine.release.clear()
            running = await world.post(CHAT, {"stream": True})
            queued = asyncio.ensure_future(world.post(CHAT, {}))
            await until(lambda: world.sidecar._queues.queued == 1)
            queued.cancel()
            await until(lambda: world.sidecar._queues.queued == 0)
            running.close()
            await soon(world.engine.gone.acquire())
            await until(lambda: world.outcome("cancelled") == 2)
            assert len(world.engine.seen) == 1
            assert await world.load() == {"queued": 0, "inFlight": 0, "limit": 1, "draining": False}

    run(main)


def test_how_long_prompts_are_is_known_before_any_is_answered(tmp_path: Path) -> None:
    """A pool whose requests are long would otherwise grow only once the first of them have ended."""

    async def main() -> None:
        async with a_world(a_document(a_class()), tmp_path) as world:
            world.engine.release.clear()
            asked = asyncio.ensure_future(world.post(CHAT, {"messages": [{"role": "user", "content": "word " * 6400}]}))
            await until(lambda: world.metric("forebay_sidecar_arrivals_total", batch_class="interactive") == 1)
            tokens = world.metric("forebay_sidecar_arrived_input_tokens_total", batch_class="interactive")
            assert tokens == pytest.approx(8000, rel=0.05), "four bytes are a token"
            assert world.metric("forebay_sidecar_tokens_total", batch_class="interactive", token_type="input") in (None, 0)
            world.engine.release.set()
            assert (await soon(asked)).status == 200

    run(main)


def test_no_more_than_the_limit_run_and_no_more_than_the_queue_wait(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(a_class(maxBatchSize=2, maxDepth=3)), tmp_path) as world:
            world.engine.release.clear()
            waiting = [asyncio.ensure_future(world.post(CHAT, {})) for _ in range(5)]
            await until(lambda: world.sidecar._queues.queued == 3)
            reply = await world.post(CHAT, {})
            error = orjson.loads(await reply.read())["error"]
            assert (reply.status, error["code"]) == (429, "rate_limit_exceeded")
            assert int(reply.header(b"retry-after") or b"0") >= 1
            assert await world.load() == {"queued": 3, "inFlight": 2, "limit": 2, "draining": False}
            assert world.metric("forebay_sidecar_queue_depth", batch_class="interactive") == 3
            world.engine.release.set()
            assert [reply.status for reply in await soon(asyncio.gather(*waiting))] == [200] * 5
            assert world.engine.most_running == 2
            await until(lambda: world.outcome("ok") == 5)
            assert world.outcome("rejected_full") == 1
            assert world.metric("forebay_sidecar_arrivals_total", batch_class="interactive") == 6

    run(main)


def test_who_waits_too_long_is_turned_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(a_class(maxBatchSize=1, maxWaitSeconds=0.1)), tmp_path) as world:
            world.engine.release.clear()
            running = asyncio.ensure_future(world.post(CHAT, {}))
            await until(lambda: world.sidecar._queues.in_flight == 1)
            answers = await soon(asyncio.gather(*(world.answer(CHAT, {}) for _ in range(3))))
            assert [status for status, _ in answers] == [429] * 3
            assert world.outcome("rejected_wait") == 3
            assert (await world.load())["queued"] == 0
            world.engine.release.set()
            assert (await soon(running)).status == 200

    run(main)


def test_the_class_with_the_higher_priority_goes_first_and_each_in_its_order(tmp_path: Path) -> None:
    async def main() -> None:
        classes = (a_class("batch", priority=-5, maxBatchSize=1), a_class("interactive", priority=10, maxBatchSize=1))
        async with a_world(a_document(*classes), tmp_path) as world:
            world.engine.release.clear()
            tasks = [asyncio.ensure_future(world.post(CHAT, {"user": "first"}))]
            await until(lambda: world.sidecar._queues.in_flight == 1)
            for n, name in enumerate(["batch", "nobody-knows", "interactive", "batch", "interactive"]):
                tasks.append(asyncio.ensure_future(world.post(CHAT, {"user": f"{name} {n}"}, in_class(name))))
                await until_queued(world, n + 1)
            world.engine.release.set()
            await soon(asyncio.gather(*tasks))
            order = [body["user"] for body in world.engine.bodies()]
            assert order == ["first", "interactive 2", "interactive 4", "batch 0", "nobody-knows 1", "batch 3"]
            await until(lambda: world.outcome("ok", "batch") == 4)

    run(main)


def test_a_class_that_is_not_batched_does_not_wait(tmp_path: Path) -> None:
    async def main() -> None:
        classes = (a_class("interactive", maxBatchSize=1), a_class("free", mode="Disabled"))
        async with a_world(a_document(*classes), tmp_path) as world:
            world.engine.release.clear()
            tasks = [asyncio.ensure_future(world.post(CHAT, {}, in_class("free"))) for _ in range(5)]
            await until(lambda: world.engine.running == 5)
            world.engine.release.set()
            await soon(asyncio.gather(*tasks))

    run(main)


def test_what_is_no_work_does_not_queue(tmp_path: Path) -> None:
    async def models(request: Request, response: Response) -> None:
        response.send(200, b'{"data":[]}')

    async def main() -> None:
        async with a_world(a_document(a_class(maxBatchSize=1)), tmp_path) as world:
            world.engine.release.clear()
            running = asyncio.ensure_future(world.post(CHAT, {}))
            await until(lambda: world.engine.running == 1)
            world.engine.answer = models
            assert await world.get("/v1/models?x=1") == (200, b'{"data":[]}')
            assert world.engine.seen[-1].query == "x=1"
            assert (await world.get("/elsewhere"))[0] == 404
            world.engine.release.set()
            await soon(running)

    run(main)


def test_a_configuration_that_changes_takes_effect_and_a_bad_one_does_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_world(a_document(a_class(maxBatchSize=1)), tmp_path) as world:
            world.engine.release.clear()
            tasks = [asyncio.ensure_future(world.post(CHAT, {})) for _ in range(3)]
            await until(lambda: world.sidecar._queues.queued == 2)
            world.config.write_text("{")
            await until(lambda: bool(world.sidecar._config.refused))
            assert (await world.get("/readyz"))[0] == 200
            document = a_document(a_class("other", maxBatchSize=3))
            world.config.write_bytes(orjson.dumps(document))
            await until(lambda: world.metric("forebay_sidecar_config_info", hash=document["hash"]) == 1)
            # What waits in a class that is gone still goes its way.
            world.engine.release.set()
            assert [reply.status for reply in await soon(asyncio.gather(*tasks))] == [200] * 3
            assert (await world.answer(CHAT, {}))[0] == 200
            await until(lambda: world.outcome("ok", "other") == 1)

    run(main)


def test_a_drain_waits_for_what_runs_and_holds_until_the_pod_is_not_stopped_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's preStop hook: also run when its liveness probe failed, and then the pod goes on."""
    monkeypatch.setattr(app, "_RESUME_AFTER_S", -4.0)

    async def main() -> None:
        async with a_world(a_document(), tmp_path) as world:
            world.engine.release.clear()
            running = await world.post(CHAT, {"stream": True})
            for other in ("", "?token=", "?token=t0ke", "?token=%C3%A9"):
                assert (await world.get(f"/drain{other}"))[0] == 403
            assert not world.sidecar.not_ready()
            hooks = [asyncio.ensure_future(world.get("/drain?token=t0ken")) for _ in range(2)]
            await until(lambda: world.sidecar.not_ready() == "draining")
            turned_away = await world.post(CHAT, {})
            assert (turned_away.status, turned_away.header(b"x-forebay-draining")) == (503, b"1")
            turned_away.close()
            assert not any(hook.done() for hook in hooks)
            world.engine.release.set()
            assert (await soon(running.read())).endswith(event(b"[DONE]"))
            assert await soon(asyncio.gather(*hooks)) == [(200, b"drained\n")] * 2
            await until(lambda: not world.sidecar.not_ready())
            assert (await world.answer(CHAT, {}))[0] == 200

    run(main)


def test_the_limit_follows_a_real_engine(tmp_path: Path, figures: Callable[[str], None]) -> None:
    """Twenty streams want to run; 30 ms between tokens are promised. At 5 ms + 2.5 ms a stream ten fit, at twice that four."""

    async def keep_asking(world: World) -> None:
        while True:
            await world.stream({"max_tokens": 6})

    async def main() -> None:
        adaptive = a_class(mode="Adaptive", maxBatchSize=20, objectives={"interTokenLatency": p95(0.030)})
        pace = Pace(least_s=0.1, most_s=0.5, hold_s=0.3)
        async with a_world(a_document(adaptive), tmp_path, pace=pace) as world:
            world.engine.token_s = lambda running: 0.005 + 0.0025 * running
            askers = [asyncio.ensure_future(keep_asking(world)) for _ in range(20)]
            before = await steady(world, 2.0)
            world.engine.token_s = lambda running: 2 * (0.005 + 0.0025 * running)
            after = await steady(world, 2.0)
            world.engine.token_s = lambda running: 0.002
            again = await steady(world, 2.0)
            figures(f"limit of a real engine: {before:.1f} before, {after:.1f} at half the speed, {again:.1f} when fast")
            for asker in askers:
                asker.cancel()
            assert after < before < again

    run(main)


async def steady(world: World, seconds: float) -> float:
    """The mean limit over the later half of a time."""
    limits = []
    for _ in range(int(seconds / 0.05)):
        await asyncio.sleep(0.05)
        limits.append(world.sidecar.limiter.limit)
    later = limits[len(limits) // 2 :]
    return sum(later) / len(later)

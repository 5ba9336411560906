"""The simulator over real sockets, by the unchanged client of OpenAI and byte by byte."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Any

import openai
import pytest
from tests.engines.engine_harness import FAST, a_simulator, ask, client, encoded, eventually, samples

from forebay.engines.sim.engine import Clock, Engine
from forebay.engines.sim.stepping import Profile
from forebay.engines.sim.words import tokens_in

SLOW = Profile(base_s=30.0, per_token_s=0.0, per_kv_token_s=0.0, max_concurrency=1)
HELLO: list[Any] = [{"role": "user", "content": "hello world, how are you?"}]


def events(body: bytes) -> list[str]:
    """The data of a chunked event stream."""
    content, rest = b"", body
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        content, rest = content + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return [line.removeprefix("data: ") for line in content.decode().split("\n\n") if line]


def test_openai_client_gets_whole_and_streamed_chats() -> None:
    async def main() -> None:
        async with a_simulator() as sim, client(sim.port) as api:
            whole = await api.chat.completions.create(model="sim", messages=HELLO, max_tokens=5)
            text = whole.choices[0].message.content or ""
            assert len(text.split()) == 5 and whole.choices[0].finish_reason == "length"
            assert whole.usage and (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (7, 5, 12)
            assert whole.system_fingerprint == "forebay-simulator"
            chunks = [c async for c in await api.chat.completions.create(model="sim", messages=HELLO, max_completion_tokens=5, stream=True)]
            assert chunks[0].choices[0].delta.role == "assistant"
            assert "".join(c.choices[0].delta.content or "" for c in chunks) == text
            assert [c.choices[0].finish_reason for c in chunks] == [None] * 6 + ["length"]
            assert all(c.usage is None for c in chunks)

    asyncio.run(main())


def test_openai_client_gets_completions_and_models() -> None:
    async def main() -> None:
        async with a_simulator() as sim, client(sim.port) as api:
            whole = await api.completions.create(model="sim", prompt="once upon a time")
            assert len(whole.choices[0].text.split()) == 8 and whole.choices[0].finish_reason == "stop"
            stream = await api.completions.create(model="sim", prompt=[1, 2, 3], stream=True, stream_options={"include_usage": True})
            chunks = [c async for c in stream]
            assert chunks[-1].usage and chunks[-1].usage.prompt_tokens == 3 and chunks[-1].choices == []
            assert [(m.id, m.owned_by) async for m in api.models.list()] == [("sim", "forebay-simulator")]

    asyncio.run(main())


def test_openai_client_gets_embeddings() -> None:
    async def main() -> None:
        async with a_simulator() as sim, client(sim.port) as api:
            # The client asks for base64 unless it is told otherwise.
            packed = await api.embeddings.create(model="sim", input=["a text", "another"], dimensions=16)
            plain = await api.embeddings.create(model="sim", input=["a text", "another"], dimensions=16, encoding_format="float")
            for one, other in zip(packed.data, plain.data, strict=True):
                assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
                assert math.hypot(*other.embedding) == pytest.approx(1.0)
            assert plain.data[0].embedding != plain.data[1].embedding
            assert plain.usage.prompt_tokens == 4

    asyncio.run(main())


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {}])
def test_usage_is_in_a_stream_only_when_it_is_asked_for(options: dict[str, bool] | None) -> None:
    async def main() -> None:
        async with a_simulator() as sim:
            asked = {"model": "sim", "messages": HELLO, "max_tokens": 2, "stream": True}
            _, headers, body = await ask(sim.port, "POST", "/v1/chat/completions", {**asked, "stream_options": options})
            assert headers["content-type"].startswith("text/event-stream")
            *chunks, done = events(body)
            assert done == "[DONE]" and all("usage" not in json.loads(chunk) for chunk in chunks)
            with_usage = {**asked, "stream_options": {"include_usage": True}}
            *chunks, last, done = events((await ask(sim.port, "POST", "/v1/chat/completions", with_usage))[2])
            assert done == "[DONE]" and all(json.loads(chunk)["usage"] is None for chunk in chunks)
            assert json.loads(last)["choices"] == []
            assert json.loads(last)["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}

    asyncio.run(main())


def test_the_same_prompt_gets_the_same_words_and_they_count_as_their_tokens() -> None:
    async def main() -> None:
        async with a_simulator() as sim, client(sim.port) as api:
            first, again, other = [
                (await api.completions.create(model="sim", prompt=prompt, max_tokens=40)).choices[0].text for prompt in ("a", "a", "b")
            ]
            assert first == again != other
            assert tokens_in(first) == 40

    asyncio.run(main())


def test_a_client_that_goes_away_frees_its_place_at_once() -> None:
    async def main() -> None:
        async with a_simulator(Profile(0.002, 0.0, 0.0, max_concurrency=1)) as sim:
            body = {"model": "sim", "prompt": "x", "max_tokens": 100_000, "stream": True}
            reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
            writer.write(encoded("POST", "/v1/completions", body))
            await reader.readuntil(b"data: ")
            waiting = asyncio.create_task(ask(sim.port, "POST", "/v1/completions", {"model": "sim", "prompt": "y", "max_tokens": 1}))
            await eventually(lambda: len(sim.engine.batch.waiting) == 1)
            writer.close()
            assert (await waiting)[0] == 200
            assert not sim.engine.batch

    asyncio.run(main())


def test_a_waiting_client_that_goes_away_leaves_the_queue() -> None:
    async def main() -> None:
        async with a_simulator(SLOW) as sim:
            connections = [await asyncio.open_connection("127.0.0.1", sim.port) for _ in range(3)]
            for _, writer in connections:
                writer.write(encoded("POST", "/v1/completions", {"model": "sim", "prompt": "x"}))
            await eventually(lambda: (len(sim.engine.batch.running), len(sim.engine.batch.waiting)) == (1, 2))
            for _, writer in connections:
                writer.close()
            await eventually(lambda: not sim.engine.batch)

    asyncio.run(main())


def test_a_cancelled_embedding_lets_the_next_one_go_first() -> None:
    async def main() -> None:
        async with a_simulator(SLOW) as sim:
            _, writer = await asyncio.open_connection("127.0.0.1", sim.port)
            writer.write(encoded("POST", "/v1/embeddings", {"model": "sim", "input": "x"}))
            await eventually(lambda: sim.engine.embedding_running == 1)
            sim.engine.profile = FAST
            following = asyncio.create_task(ask(sim.port, "POST", "/v1/embeddings", {"model": "sim", "input": "y"}))
            await eventually(lambda: sim.engine.embedding_waiting == 1)
            writer.close()
            assert (await following)[0] == 200

    asyncio.run(main())


def test_metrics_speak_vllm() -> None:
    async def main() -> None:
        async with a_simulator() as sim:
            for stream in (False, True):
                await ask(sim.port, "POST", "/v1/completions", {"model": "sim", "prompt": "12345678", "max_tokens": 5, "stream": stream})
            await ask(sim.port, "POST", "/v1/completions", {"model": "sim", "prompt": "12345678"})
            found = await samples(sim.port)
            assert found["vllm:prompt_tokens_total"] == 6 and found["vllm:generation_tokens_total"] == 18
            assert found["vllm:request_success_total{finished_reason=length}"] == 2
            assert found["vllm:request_success_total{finished_reason=stop}"] == 1
            assert found["vllm:time_to_first_token_seconds_count"] == 3 and found["vllm:inter_token_latency_seconds_count"] == 15
            assert found["vllm:num_requests_running"] == found["vllm:num_requests_waiting"] == found["vllm:kv_cache_usage_perc"] == 0
            assert found["vllm:inter_token_latency_seconds_bucket{le=+Inf}"] == 15

    asyncio.run(main())


def test_metrics_show_who_runs_and_who_waits() -> None:
    async def main() -> None:
        async with a_simulator(SLOW) as sim:
            held = [asyncio.create_task(ask(sim.port, "POST", "/v1/completions", {"model": "sim", "prompt": "x"})) for _ in range(3)]
            await eventually(lambda: len(sim.engine.batch.waiting) == 2)
            found = await samples(sim.port)
            assert found["vllm:num_requests_running"] == 1 and found["vllm:num_requests_waiting"] == 2
            assert 0 < found["vllm:kv_cache_usage_perc"] < 1
            for task in held:
                task.cancel()
            await eventually(lambda: not sim.engine.batch)

    asyncio.run(main())


def test_not_ready_until_startup_is_over() -> None:
    async def main() -> None:
        async with a_simulator(ready_at_s=time.monotonic() + 0.4) as sim:
            paths = ["/health", "/readyz", "/v1/models"]
            assert [(await ask(sim.port, "GET", path))[0] for path in paths] == [503] * 3
            status, headers, _ = await ask(sim.port, "POST", "/v1/completions", {"model": "sim", "prompt": "x"})
            assert status == 503 and headers["retry-after"] == "1"

            async def ready() -> bool:
                return (await ask(sim.port, "GET", "/health"))[0] == 200

            await eventually(ready)
            assert [(await ask(sim.port, "GET", path))[0] for path in paths] == [200] * 3

    asyncio.run(main())


def test_the_profile_changes_while_it_runs() -> None:
    async def main() -> None:
        async with a_simulator() as sim:
            status, _, body = await ask(sim.port, "PUT", "/sim/profile", {"base": "2ms", "perKvToken": "0.5us", "maxConcurrency": 3})
            expected = {"base": "2ms", "perToken": "0s", "perKvToken": "500ns", "maxConcurrency": 3}
            assert status == 200 and json.loads(body) == expected
            assert sim.engine.profile == Profile(0.002, 0.0, 5e-7, 3)
            assert json.loads((await ask(sim.port, "GET", "/sim/profile"))[2]) == expected

    asyncio.run(main())


def test_faults_refuse_and_kill() -> None:
    async def main() -> None:
        async with a_simulator() as sim, client(sim.port) as api:
            await ask(sim.port, "PUT", "/sim/faults", {"refuse": True})
            with pytest.raises(openai.InternalServerError, match="told to refuse"):
                await api.completions.create(model="sim", prompt="x")
            assert (await ask(sim.port, "GET", "/health"))[0] == 503
            await ask(sim.port, "PUT", "/sim/faults", {"dieAfterTokens": 5})
            await api.completions.create(model="sim", prompt="x", max_tokens=4)
            assert not sim.died
            await api.completions.create(model="sim", prompt="x", max_tokens=1)
            assert sim.died

    asyncio.run(main())


class LateClock:
    """Time that moves only by sleeping, and always wakes late."""

    def __init__(self, late_s: float) -> None:
        self.time_s = 0.0
        self.late_s = late_s

    async def sleep(self, seconds: float) -> None:
        self.time_s += seconds + self.late_s if seconds else 0.0
        await asyncio.sleep(0)

    def clock(self) -> Clock:
        return Clock(lambda: self.time_s, self.sleep)


def test_lateness_does_not_add_up() -> None:
    async def main() -> None:
        time_ = LateClock(late_s=0.003)
        engine = Engine(Profile(0.010, 0.0, 0.0, 8), die=lambda: None, clock=time_.clock())
        steps = asyncio.create_task(engine.run())
        await engine.submit(1, 1000).reach(1000)
        steps.cancel()
        assert time_.time_s == pytest.approx(1000 * 0.010, abs=0.004)

    asyncio.run(main())


def test_a_process_that_was_stopped_does_not_pour_out_what_it_missed() -> None:
    async def main() -> None:
        time_ = LateClock(late_s=0.0)
        engine = Engine(Profile(0.010, 0.0, 0.0, 8), die=lambda: None, clock=time_.clock())
        steps = asyncio.create_task(engine.run())
        generation = engine.submit(1, 1000)
        await generation.reach(100)
        time_.time_s += 3600.0
        await generation.reach(1000)
        steps.cancel()
        assert 3600 + 10 - 0.3 < time_.time_s < 3600 + 10 + 0.1

    asyncio.run(main())


def test_embedding_batches_run_one_after_the_other() -> None:
    async def main() -> None:
        time_ = LateClock(late_s=0.0)
        engine = Engine(Profile(0.010, 0.001, 0.0, 8), die=lambda: None, clock=time_.clock())
        await asyncio.gather(engine.embed(10), engine.embed(30))
        assert time_.time_s == pytest.approx(0.010 + 0.010 + 0.010 + 0.030)

    asyncio.run(main())

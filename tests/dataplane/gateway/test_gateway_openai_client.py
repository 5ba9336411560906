"""The unchanged `openai` client against the gateway: what people really use."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from tests.dataplane.gateway.gateway_documents import a_document, a_policy, a_pool, a_rule
from tests.dataplane.gateway.gateway_fakes import answers, chat_event, speaks
from tests.dataplane.gateway.gateway_world import KEY, World, run

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


def a_client(world: World, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=f"http://127.0.0.1:{world.role.port}/v1", max_retries=0)


def a_world(folder: Path) -> World:
    document = a_document(
        a_policy(models=["chat", "embed"], rules=[a_rule("chat"), a_rule("embed", pools={"default/embed": 1})]),
        pools=[a_pool("chat"), a_pool("embed", task="Embeddings")],
    )
    return World(folder, document, {"chat": 1, "embed": 1})


def test_every_operation(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world, a_client(world) as client:
            chat = await client.chat.completions.create(model="chat", messages=HELLO, service_tier="flex")
            assert chat.choices[0].message.content == "hi"
            assert chat.usage is not None and chat.usage.total_tokens == 10
            for _ in range(2):  # the second one comes from the cache
                stream = await client.chat.completions.create(model="chat", messages=HELLO, stream=True, temperature=0)
                assert "".join([str(part.choices[0].delta.content) async for part in stream if part.choices]) == "hello"
            text = await client.completions.create(model="chat", prompt="say hi")
            assert text.choices[0].text == "hi"
            embedded = await client.embeddings.create(model="embed", input=["a", "b"], encoding_format="float")
            assert embedded.data[0].embedding == [0.25, -0.5]
            assert [model.id for model in (await client.models.list()).data] == ["chat", "embed"]
            assert (await client.models.retrieve("chat")).object == "model"
            assert world.seen("chat") == 3

    run(test)


def test_errors_are_the_clients_own(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world, a_client(world) as client:
            with pytest.raises(openai.AuthenticationError):
                await a_client(world, "wrong").models.list()
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(model="nope", messages=HELLO)
            assert missing.value.code == "model_not_found"
            with pytest.raises(openai.BadRequestError) as bad:
                await client.chat.completions.create(model="chat", messages=[])
            assert bad.value.param == "messages"
            world.sidecar.answer = answers(429)
            with pytest.raises(openai.RateLimitError):
                await client.chat.completions.create(model="chat", messages=HELLO)
            world.sidecar.answer = speaks(chat_event("m", "hel"), broken=True)
            stream = await client.chat.completions.create(model="chat", messages=HELLO, stream=True)
            with pytest.raises(openai.APIError, match="broke off"):
                [part async for part in stream]

    run(test)

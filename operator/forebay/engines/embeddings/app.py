"""The embeddings engine's HTTP face: OpenAI's API, and metrics under the names that text-embeddings-inference uses.

The model runs in one worker thread (onnxruntime lets go of the interpreter while it computes), so the server answers health checks and
refuses what is too much while it works.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from forebay.dataplane.http.admin import ADMIN_PATHS, admin
from forebay.dataplane.http.message import Handler, Request, Response
from forebay.engines import openai
from forebay.engines.embeddings.model import DIMENSIONS, Job, Model
from forebay.engines.openai import Refused, send_json
from forebay.engines.routes import routed
from forebay.engines.serving import serve_until

OWNER = "sentence-transformers"

MAX_REQUESTS = 128
"""Requests that may be under way or wait; more are answered 429."""


class _Metrics:
    def __init__(self, server: EmbeddingsServer) -> None:
        self.registry = CollectorRegistry()
        queue = Gauge("te_queue_size", "Requests that wait for the model.", registry=self.registry)
        queue.set_function(lambda: max(0, server.under_way - 1))
        sizes = [float(2**power) for power in range(12)]
        self.batch = Histogram("te_batch_next_size", "Texts computed in one step.", buckets=sizes, registry=self.registry)
        self.duration = Histogram("te_request_duration", "Seconds from a request's arrival to its answer.", registry=self.registry)
        self.tokens = Counter("te_request_tokens", "Tokens of answered requests.", registry=self.registry)


class EmbeddingsServer:
    """Serves one loaded model under one name."""

    def __init__(self, model: Model, name: str) -> None:
        self._model = model
        self._name = name
        self._started = int(time.time())
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self.under_way = 0
        self._metrics = _Metrics(self)
        self._admin = admin(self._metrics.registry, lambda: "")

    def handler(self) -> Handler:
        return routed(
            {
                "/v1/embeddings": {"POST": self._embeddings},
                "/v1/models": {"GET": self._models},
                "/health": {"GET": self._health},
                **{path: {"GET": self._admin} for path in sorted(ADMIN_PATHS)},
            }
        )

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _embeddings(self, request: Request, response: Response) -> None:
        document = openai.json_object(request.body)
        openai.check_model(document, self._name)
        texts, in_base64 = openai.embedding_texts(document), openai.encoded_as_base64(document)
        if openai.whole_number(document, "dimensions", 1, 2**31) not in (None, DIMENSIONS):
            raise Refused(f"this model's vectors have {DIMENSIONS} dimensions, always", "dimensions")
        if self.under_way >= MAX_REQUESTS:
            raise Refused(f"{MAX_REQUESTS} requests wait already", status=429)
        started_s = time.monotonic()
        self.under_way += 1
        try:
            job = await self._work(texts)
        finally:
            self.under_way -= 1
        vectors = [vector.astype("<f4").tobytes() for vector in job.vectors] if in_base64 else job.vectors
        send_json(response, openai.embeddings_document(self._name, vectors, job.tokens))
        self._metrics.duration.observe(time.monotonic() - started_s)
        self._metrics.tokens.inc(job.tokens)

    async def _work(self, texts: list[str]) -> Job:
        job = Job(self._model, texts)
        loop = asyncio.get_running_loop()
        left, more = len(texts), True
        while more:
            # A step at a time: a client that goes away ends its list here, and short lists get their turn between a long one's steps.
            before, left = left, await loop.run_in_executor(self._worker, job.step)
            self._metrics.batch.observe(before - left)
            more = left > 0
        return job

    async def _models(self, request: Request, response: Response) -> None:
        send_json(response, openai.models_document(self._name, OWNER, self._started))

    async def _health(self, request: Request, response: Response) -> None:
        send_json(response, {"status": "ok"})


async def serve_embeddings(stop: asyncio.Event, model: Model, name: str, host: str, port: int) -> None:
    """Serves a model until `stop` is set."""
    server = EmbeddingsServer(model, name)
    try:
        await serve_until(stop, server.handler(), host, port, model=name)
    finally:
        server.close()

"""BatchClass: what a kind of request is owed. Cluster-scoped, like StorageClass and PriorityClass."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from forebay.api.conditions import Conditions, ObservedGeneration
from forebay.api.meta import BatchWindow, Duration, K8sModel, ObjectMeta, PositiveDuration, cel, rules


class Tier(StrEnum):
    """How soon the caller needs the answer. A request's `service_tier` picks among a pool's classes by it."""

    INTERACTIVE = "Interactive"
    NEAR_REAL_TIME = "NearRealTime"
    DEFERRED = "Deferred"


class Objective(K8sModel):
    """A tail promise: `quantile` of requests see at most `target`."""

    quantile: Annotated[float, Field(ge=0.5, lt=1, description="Share of requests that must meet the target, such as 0.95.")] = 0.95
    target: Annotated[PositiveDuration, Field(description="Longest time that still counts as met, such as 500ms.")]


class Objectives(K8sModel):
    """Latency promises, each on a tail quantile. They are what replicas are sized for."""

    time_to_first_token: Annotated[Objective | None, Field(description="From arrival at the sidecar to the first token out.")] = None
    inter_token_latency: Annotated[Objective | None, Field(description="Between two tokens of one answer.")] = None
    end_to_end: Annotated[Objective | None, Field(description="From arrival at the sidecar to the last token out.")] = None
    miss_usd_per_1k: Annotated[
        float | None,
        Field(
            ge=0,
            le=1e6,
            alias="missUsdPer1k",
            description="US dollars that 1,000 requests which miss an objective cost. With prices of the pool's nodes it sets how much of"
            " what demand may become is provided for, where scaling.forecast.coverage does not.",
        ),
    ] = None


class BatchingMode(StrEnum):
    """How requests of a class reach the engine."""

    ADAPTIVE = "Adaptive"
    FIXED = "Fixed"
    DISABLED = "Disabled"


class Batching(K8sModel):
    """How the sidecar groups requests for the engine.

    For an engine that batches itself the sidecar limits concurrency: `Adaptive` moves the limit towards the class's objective,
    `Fixed` keeps it at `maxBatchSize`. For an engine that takes a list (embeddings) it forms batches. `Disabled` passes requests on.
    """

    mode: Annotated[BatchingMode, Field(description="Adaptive, Fixed or Disabled.")] = BatchingMode.ADAPTIVE
    max_batch_size: Annotated[int, Field(ge=1, le=4096, description="Most requests in the engine, or inputs in one batch.")] = 256
    window: Annotated[BatchWindow, Field(description="Longest wait for company before a batch of inputs is sent.")] = 0.005
    max_batch_tokens: Annotated[int, Field(ge=1, le=16777216, description="Most input tokens in one batch of inputs.")] = 32768


class Queue(K8sModel):
    """How many requests may wait in a replica's sidecar, and how long. Beyond either the caller gets 429 with Retry-After."""

    max_depth: Annotated[int, Field(ge=0, le=100000, description="Most requests that wait in one replica.")] = 512
    max_wait: Annotated[Duration, Field(description="Longest wait before a request is turned away.")] = 30.0


class Retry(K8sModel):
    """Retries at the gateway, on another replica, and only before the first byte of an answer."""

    max_attempts: Annotated[int, Field(ge=1, le=10, description="Tries in all, the first one included.")] = 2


class ClassCapacity(K8sModel):
    """What capacity this class may stand on."""

    max_spot_share: Annotated[
        float,
        Field(ge=0, le=1, description="Largest share of replicas on spot nodes. The stricter of this and the pool's `spot.maxShare` wins."),
    ] = 1.0


class BatchClassSpec(K8sModel):
    """What a kind of request is owed."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.objectives) || has(self.objectives.timeToFirstToken) || has(self.objectives.interTokenLatency)"
                " || has(self.objectives.endToEnd)",
                "objectives is empty: set timeToFirstToken, interTokenLatency or endToEnd, or leave objectives out",
            ),
            cel(
                "self.tier == 'Deferred' || has(self.objectives)",
                "a class of tier Interactive or NearRealTime needs objectives, for they are what its replicas are sized for",
            ),
        )
    )

    tier: Annotated[Tier, Field(description="Interactive, NearRealTime or Deferred: which `service_tier` means this class.")]
    priority: Annotated[int, Field(ge=-1000, le=1000, description="Order among classes in one queue; higher goes first.")] = 0
    objectives: Objectives | None = None
    batching: Batching = Batching()
    queue: Queue = Queue()
    retry: Retry = Retry()
    capacity: ClassCapacity = ClassCapacity()


class BatchClassStatus(K8sModel):
    """Observed state, written by the operator."""

    observed_generation: ObservedGeneration = None
    pools: Annotated[int, Field(ge=0, description="Pools that serve this class.")] = 0
    conditions: Conditions


class BatchClass(K8sModel):
    """A BatchClass says what a kind of request is owed: its latency objectives, queue, batching and the capacity it may stand on."""

    metadata: ObjectMeta
    spec: BatchClassSpec
    status: BatchClassStatus = BatchClassStatus(conditions=[])

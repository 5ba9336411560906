"""InferencePool: one model, wherever it runs, and the capacity it may use."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from forebay.api.meta import Duration, K8sModel, ModelId, Name, ObjectMeta, cel, listmap, rules
from forebay.api.pod_template import checked
from forebay.api.pool_capacity import (
    FULL,
    PARTITION_PATTERN,
    Accelerator,
    Backend,
    Capacity,
    NodeLimits,
    Operator,
    Partitioning,
    PartitioningMode,
    Requirement,
)
from forebay.api.pool_scaling import Scaling
from forebay.api.pool_status import (
    DemandStatus,
    DesiredStatus,
    InferencePoolStatus,
    ObjectiveStatus,
    RateStatus,
    StageStatus,
    VariantStatus,
)


class Mode(StrEnum):
    """Whether plans are carried out."""

    ENFORCE = "Enforce"
    RECOMMEND = "Recommend"


class Task(StrEnum):
    """What the model answers."""

    CHAT = "Chat"
    EMBEDDINGS = "Embeddings"


class Engine(StrEnum):
    """Which metric names the model server speaks; `OpenAI` is any compatible server, of which only answers are read."""

    VLLM = "VLLM"
    SGLANG = "SGLang"
    TGI = "TGI"
    TEI = "TEI"
    LLAMA_CPP = "LlamaCpp"
    OPENAI = "OpenAI"


class Model(K8sModel):
    """The model that every replica of the pool serves."""

    name: Annotated[ModelId, Field(description="The name the model server knows the model by; requests are sent on with it.")]
    task: Annotated[
        Task, Field(description="Chat: the server batches tokens itself. Embeddings: it takes lists, and the sidecar makes the batches.")
    ] = Task.CHAT


class Server(K8sModel):
    """The model server that runs in every replica."""

    engine: Annotated[Engine, Field(description="VLLM, SGLang, TGI, TEI, LlamaCpp or OpenAI (any compatible server).")] = Engine.OPENAI
    port: Annotated[
        int, Field(ge=1, le=65535, description="Port on the pod's address that the server listens on; the sidecar stands before it.")
    ] = 8000
    template: Annotated[
        dict[str, Any],
        AfterValidator(checked),
        Field(
            description="Pod template of one replica. Forebay adds the batching sidecar, node selection and the variant's GPU resource.",
            json_schema_extra={
                "x-kubernetes-preserve-unknown-fields": True,
                **rules(
                    cel(
                        "has(self.spec) && has(self.spec.containers) && size(self.spec.containers) > 0",
                        "server.template needs spec.containers with the model server's container first",
                    )
                ),
                "properties": {
                    "spec": {
                        "type": "object",
                        "description": "Spec of the pod, as `kubectl explain pod.spec` has it.",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "properties": {
                            "containers": {
                                "type": "array",
                                "description": "Containers of the pod, the model server's first.",
                                "maxItems": 64,
                                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            }
                        },
                    }
                },
            },
        ),
    ]


class Iteration(K8sModel):
    """Time of one engine step with n requests in it: `base + n * (perToken * c + perKvToken * m)`.

    c is the mean number of tokens a request computes per step, m its mean context. For embeddings, a batch of n inputs takes
    `base + n * perToken * inputTokens`. Model: docs/planning/queueing.md.
    """

    base: Annotated[Duration, Field(description="Fixed time of a step, such as 7.1ms.")]
    per_token: Annotated[Duration, Field(description="Added by each token computed in the step, such as 0.05ms.")]
    per_kv_token: Annotated[Duration, Field(description="Added by each token of context held by a request, such as 0.4us.")] = 0.0


class Tuning(StrEnum):
    """What becomes of a declared profile."""

    AUTO = "Auto"
    DISABLED = "Disabled"


class Profile(K8sModel):
    """How fast one replica is on one kind of GPU, or on one MIG partition of it."""

    accelerator: Annotated[Name, Field(description="Name of an entry in capacity.accelerators.")]
    partition: Annotated[str, Field(pattern=PARTITION_PATTERN, max_length=32, description="`full`, or a MIG profile such as 3g.40gb.")] = (
        FULL
    )
    gpus: Annotated[
        int, Field(ge=0, le=64, description="GPUs (or partitions) of one replica, all on one node; 0 for a server that runs on the CPU.")
    ] = 1
    max_concurrency: Annotated[int, Field(ge=1, le=4096, description="Most requests one replica works on at once.")]
    iteration: Iteration
    tuning: Annotated[
        Tuning,
        Field(
            description="Auto takes the declared times as a first guess and learns from what replicas are seen to do;"
            " Disabled sizes by the declared ones alone. status.profiles shows what was learned."
        ),
    ] = Tuning.AUTO


class From(StrEnum):
    """Which namespaces are meant."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class PolicyNamespaces(K8sModel):
    """Namespaces whose policies may route here."""

    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra=rules(
            cel("self.from != 'Selector' || has(self.matchLabels)", "from Selector needs matchLabels of the namespaces"),
            cel("self.from == 'Selector' || !has(self.matchLabels)", "matchLabels goes with from Selector only"),
        ),
    )

    from_: Annotated[From, Field(alias="from", description="Same, All or Selector.")] = From.SAME
    match_labels: Annotated[
        dict[str, Annotated[str, Field(max_length=63)]] | None,
        Field(description="Labels of the namespaces, with from Selector.", json_schema_extra={"maxProperties": 16}),
    ] = None


class AllowedPolicies(K8sModel):
    """Who may route to this pool."""

    namespaces: PolicyNamespaces = PolicyNamespaces()


class InferencePoolSpec(K8sModel):
    """Desired state of a pool."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.profiles) || self.profiles.all(p, has(self.capacity.accelerators)"
                " && self.capacity.accelerators.exists(a, a.name == p.accelerator))",
                "every profile's accelerator must be the name of an entry in capacity.accelerators",
            ),
            cel(
                "self.partitioning.mode != 'Static' || !has(self.profiles)"
                " || self.profiles.all(p, p.partition == 'full' || p.partition in self.partitioning.layout)",
                "a profile's partition must be in partitioning.layout",
            ),
            cel(
                "self.partitioning.mode == 'Static' || !has(self.profiles) || self.profiles.all(p, p.partition == 'full')",
                "a profile with a MIG partition needs partitioning.mode Static",
            ),
            cel(
                "!has(self.profiles) || !has(self.capacity.accelerators) || self.profiles.all(p, self.capacity.accelerators.all(a,"
                " a.name != p.accelerator || p.gpus <= (p.partition == 'full' ? a.gpusPerNode"
                " : has(self.partitioning.layout) && p.partition in self.partitioning.layout"
                " ? a.gpusPerNode * self.partitioning.layout[p.partition] : 64)))",
                "a replica stands on one node, so a profile's gpus must not exceed its accelerator's gpusPerNode (of a partition: times its"
                " count in partitioning.layout): set gpusPerNode to what such a node has, or lower gpus",
            ),
        )
    )

    mode: Annotated[Mode, Field(description="Enforce acts; Recommend plans and reports, and touches nothing.")] = Mode.ENFORCE
    model: Model
    server: Server
    classes: Annotated[
        list[Name],
        Field(
            min_length=1,
            max_length=16,
            description="BatchClasses that this pool serves; their objectives are what it is sized for.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ]
    profiles: Annotated[
        list[Profile],
        Field(
            default_factory=list,
            max_length=32,
            description="How fast a replica is, per accelerator and partition. Without one the pool stays at minReplicas.",
            json_schema_extra=listmap("accelerator", "partition"),
        ),
    ]
    scaling: Scaling = Scaling()
    capacity: Capacity = Capacity(accelerators=[])
    partitioning: Partitioning = Partitioning(layout={})
    allowed_policies: AllowedPolicies = AllowedPolicies()


class InferencePool(K8sModel):
    """An InferencePool is one model, its server and the capacity it may use; it gets as many replicas as its classes' objectives need."""

    metadata: ObjectMeta
    spec: InferencePoolSpec
    status: InferencePoolStatus = InferencePoolStatus(variants=[], profiles=[], conditions=[])


__all__ = [
    "FULL",
    "Accelerator",
    "Backend",
    "Capacity",
    "DemandStatus",
    "DesiredStatus",
    "InferencePool",
    "InferencePoolSpec",
    "InferencePoolStatus",
    "NodeLimits",
    "ObjectiveStatus",
    "Operator",
    "PartitioningMode",
    "RateStatus",
    "Requirement",
    "StageStatus",
    "VariantStatus",
]

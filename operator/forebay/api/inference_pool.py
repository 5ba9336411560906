"""InferencePool: one model, wherever it runs, and the capacity it may use."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from forebay.api.conditions import Condition
from forebay.api.meta import NAME_PATTERN, Duration, K8sModel, Name, ObjectMeta, cel, listmap, rules
from forebay.api.pod_template import checked

FULL = "full"
"""The partition that means a whole GPU."""

PARTITION_PATTERN = r"^(full|[1-7]g\.[0-9]+gb(\+me)?)$"


class Mode(StrEnum):
    ENFORCE = "Enforce"
    RECOMMEND = "Recommend"


class Task(StrEnum):
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

    name: Annotated[
        str, Field(min_length=1, max_length=253, description="The name the model server knows the model by; requests are sent on with it.")
    ]
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
                        "x-kubernetes-preserve-unknown-fields": True,
                        "properties": {
                            "containers": {
                                "type": "array",
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


class Profile(K8sModel):
    """How fast one replica is on one kind of GPU, or on one MIG partition of it."""

    accelerator: Annotated[Name, Field(description="Name of an entry in capacity.accelerators.")]
    partition: Annotated[str, Field(pattern=PARTITION_PATTERN, max_length=32, description="`full`, or a MIG profile such as 3g.40gb.")] = (
        FULL
    )
    gpus: Annotated[int, Field(ge=0, le=64, description="GPUs (or partitions) of one replica; 0 for a server that runs on the CPU.")] = 1
    max_concurrency: Annotated[int, Field(ge=1, le=4096, description="Most requests one replica works on at once.")]
    iteration: Iteration


class ScaleDown(K8sModel):
    """When capacity may be given back."""

    stabilization: Annotated[
        Duration, Field(description="How long less must have been enough. Never shorter than the measured start time of a replica.")
    ] = 300.0


class Scaling(K8sModel):
    """Bounds and pace of the replica count."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas: lower the first or raise the second")
        )
    )

    min_replicas: Annotated[
        int, Field(ge=1, le=10000, description="Fewest replicas, also when nothing is asked. `kubectl scale` moves it.")
    ] = 1
    max_replicas: Annotated[int, Field(ge=1, le=10000, description="Most replicas, whatever is asked.")] = 10
    paused: Annotated[bool, Field(description="Hold everything as it is; status goes on being reported.")] = False
    scale_down: ScaleDown = ScaleDown()


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class Requirement(K8sModel):
    """A condition on a node's label, in Karpenter's terms."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.operator in ['Exists', 'DoesNotExist'] ? (!has(self.values) || size(self.values) == 0)"
                " : (has(self.values) && size(self.values) > 0)",
                "values goes with In, NotIn, Gt and Lt, and must be left out with Exists and DoesNotExist",
            )
        )
    )

    key: Annotated[str, Field(min_length=1, max_length=316, description="Label of the node, such as node.kubernetes.io/instance-type.")]
    operator: Annotated[Operator, Field(description="In, NotIn, Exists, DoesNotExist, Gt or Lt.")]
    values: Annotated[list[Annotated[str, Field(max_length=63)]], Field(default_factory=list, max_length=64)]


class UsdPerHour(K8sModel):
    """Price of one node per hour. Absent is unknown, and shown as unknown."""

    on_demand: Annotated[float | None, Field(ge=0, description="US dollars per on-demand node and hour.")] = None
    spot: Annotated[float | None, Field(ge=0, description="US dollars per spot node and hour.")] = None


class Accelerator(K8sModel):
    """A kind of GPU, and which nodes carry it."""

    name: Annotated[Name, Field(description="Name that profiles refer to.")]
    requirements: Annotated[
        list[Requirement], Field(default_factory=list, max_length=32, description="Labels of the nodes that carry this accelerator.")
    ]
    gpus_per_node: Annotated[int, Field(ge=1, le=64, description="GPUs of one such node.")] = 1
    usd_per_hour: Annotated[UsdPerHour, Field(description="Price of one such node.")] = UsdPerHour()


class OnDemand(K8sModel):
    """Capacity that is not reclaimed."""

    base_replicas: Annotated[int, Field(ge=0, le=10000, description="Replicas that always stand on on-demand nodes.")] = 0


class Spot(K8sModel):
    """Capacity that is cheaper and may be reclaimed."""

    enabled: Annotated[bool, Field(description="Whether spot nodes are used at all.")] = False
    max_share: Annotated[
        float, Field(ge=0, le=1, description="Largest share of replicas on spot. A class's maxSpotShare can lower it.")
    ] = 1.0
    return_after: Annotated[
        Duration, Field(description="How long no more spot is asked for after some did not come, before it is tried again.")
    ] = 1800.0


class Backend(StrEnum):
    KARPENTER = "Karpenter"
    NONE = "None"


class NodeClassRef(K8sModel):
    """The cloud's node class that Karpenter makes nodes from."""

    group: Annotated[str, Field(min_length=1, max_length=253)]
    kind: Annotated[str, Field(min_length=1, max_length=63)]
    name: Annotated[str, Field(min_length=1, max_length=253)]


class NodeLimits(K8sModel):
    """Bounds that no plan exceeds. A bound that cannot be checked (a price that is unknown) stops growth."""

    gpus: Annotated[int | None, Field(ge=0, description="Most GPUs of the pool's nodes together.")] = None
    usd_per_hour: Annotated[float | None, Field(ge=0, description="Most dollars per hour for the pool's nodes together.")] = None


class Nodes(K8sModel):
    """Where nodes come from."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.backend != 'Karpenter' || has(self.nodeClassRef)",
                "backend Karpenter needs nodeClassRef: the cloud's node class to make nodes from",
            )
        )
    )

    backend: Annotated[Backend, Field(description="Karpenter makes nodes on demand; None uses those that exist.")] = Backend.NONE
    node_class_ref: NodeClassRef | None = None
    limits: NodeLimits = NodeLimits()


class Capacity(K8sModel):
    """Which nodes, at which price, within which bounds."""

    accelerators: Annotated[
        list[Accelerator],
        Field(default_factory=list, max_length=16, description="Kinds of GPU, in order of preference.", json_schema_extra=listmap("name")),
    ]
    on_demand: OnDemand = OnDemand()
    spot: Spot = Spot()
    nodes: Nodes = Nodes()


class PartitioningMode(StrEnum):
    DISABLED = "Disabled"
    STATIC = "Static"


class Partitioning(K8sModel):
    """MIG layout of every GPU on the pool's own nodes, which are those labelled `forebay.dev/pool=<namespace>.<name>`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.mode != 'Static' || (has(self.layout) && size(self.layout) > 0)", "mode Static needs layout, such as {3g.40gb: 2}"),
            cel(
                f"!has(self.layout) || self.layout.all(p, p != 'full' && p.matches(r'{PARTITION_PATTERN}'))",
                "layout names MIG profiles such as 3g.40gb or 1g.10gb+me",
            ),
            cel(
                "self.mode != 'Disabled' || !has(self.layout) || size(self.layout) == 0",
                "layout has no effect with mode Disabled: set mode to Static",
            ),
        )
    )

    mode: Annotated[PartitioningMode, Field(description="Disabled or Static.")] = PartitioningMode.DISABLED
    layout: Annotated[
        dict[str, Annotated[int, Field(ge=1, le=7)]],
        Field(default_factory=dict, description="How many of each MIG profile one GPU holds.", json_schema_extra={"maxProperties": 8}),
    ]


class From(StrEnum):
    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class PolicyNamespaces(K8sModel):
    """Namespaces whose policies may route here."""

    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra=rules(
            cel("self.from != 'Selector' || has(self.matchLabels)", "from Selector needs matchLabels of the namespaces")
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


class DesiredStatus(K8sModel):
    """What the last plan asks for."""

    on_demand: int = 0
    spot: int = 0
    partitions: dict[str, int] = {}


class VariantStatus(K8sModel):
    """Replicas of one kind: one Deployment."""

    name: str
    accelerator: str = ""
    partition: str = FULL
    capacity_type: str = ""
    desired: int = 0
    ready: int = 0
    pending: int = 0
    usd_per_hour: float | None = None


class DemandStatus(K8sModel):
    """What the sidecars measured."""

    requests_per_second: float = 0.0
    input_tokens_per_second: float = 0.0
    output_tokens_per_second: float = 0.0
    queued: int = 0
    in_flight: int = 0


class ObjectiveStatus(K8sModel):
    """How well the objectives are met, worst class first."""

    p95_time_to_first_token: Annotated[str, Field(description="p95 time to first token over the last window.")] = ""
    attainment: float | None = None


class RateStatus(K8sModel):
    """What the pool costs now."""

    usd_per_hour: Annotated[str, Field(description="Dollars per hour, or `unknown` where a price is missing.")] = "unknown"


class PlanStatus(K8sModel):
    """The last decision."""

    id: str = ""
    summary: str = ""
    decided_at: str = ""
    why: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(default_factory=list, max_length=64)]


class InferencePoolStatus(K8sModel):
    """Observed state, written by the operator."""

    observed_generation: int | None = None
    replicas: Annotated[int, Field(ge=0, description="Replicas that exist.")] = 0
    ready_replicas: Annotated[int, Field(ge=0, description="Replicas that answer.")] = 0
    selector: Annotated[str, Field(description="Label selector of the pool's pods.")] = ""
    desired: DesiredStatus = DesiredStatus()
    variants: Annotated[list[VariantStatus], Field(default_factory=list, max_length=128, json_schema_extra=listmap("name"))]
    demand: DemandStatus = DemandStatus()
    objective: ObjectiveStatus = ObjectiveStatus()
    rate: RateStatus = RateStatus()
    plan: PlanStatus = PlanStatus(why=[])
    conditions: Annotated[list[Condition], Field(default_factory=list, max_length=32, json_schema_extra=listmap("type"))]


class InferencePool(K8sModel):
    """An InferencePool is one model, its server and the capacity it may use; it gets as many replicas as its classes' objectives need."""

    metadata: ObjectMeta
    spec: InferencePoolSpec
    status: InferencePoolStatus = InferencePoolStatus(variants=[], conditions=[])


__all__ = ["FULL", "NAME_PATTERN", "InferencePool", "InferencePoolSpec", "InferencePoolStatus"]

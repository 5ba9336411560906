"""What an InferencePool says of its capacity: kinds of GPU, node pools, prices, limits and MIG layouts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from forebay.api.meta import Duration, K8sModel, Name, cel, listmap, rules

FULL = "full"
"""The partition that means a whole GPU."""

LABEL_VALUE_PATTERN = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
LABEL_PATTERN = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$"
PARTITION_PATTERN = r"^(full|[1-7]g\.[0-9]+gb(\+me)?)$"


class Operator(StrEnum):
    """How a node's label is compared."""

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
            ),
            cel(
                "!(self.operator in ['Gt', 'Lt']) || !has(self.values) || size(self.values) == 0"
                " || (size(self.values) == 1 && self.values[0].matches('^[0-9]{1,9}$'))",
                "Gt and Lt compare with one whole number, such as ['4']",
            ),
        )
    )

    key: Annotated[
        str, Field(max_length=316, pattern=LABEL_PATTERN, description="Label of the node, such as node.kubernetes.io/instance-type.")
    ]
    operator: Annotated[Operator, Field(description="In, NotIn, Exists, DoesNotExist, Gt or Lt.")]
    values: Annotated[
        list[Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)]],
        Field(default_factory=list, max_length=64, description="What the label is compared with; one number with Gt and Lt."),
    ]


class UsdPerHour(K8sModel):
    """Price of one node per hour. Absent is unknown, and shown as unknown."""

    on_demand: Annotated[float | None, Field(ge=0, le=1e6, description="US dollars per on-demand node and hour.")] = None
    spot: Annotated[float | None, Field(ge=0, le=1e6, description="US dollars per spot node and hour.")] = None


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
        Duration,
        Field(
            description="How long no more spot is asked for after some found no node in time, before it is tried again. What is reclaimed"
            " is replaced on spot at once, and on on-demand only where that does not come."
        ),
    ] = 1800.0


class Backend(StrEnum):
    """What makes nodes."""

    KARPENTER = "Karpenter"
    NONE = "None"


class NodeClassRef(K8sModel):
    """The cloud's node class that Karpenter makes nodes from."""

    group: Annotated[str, Field(min_length=1, max_length=253, description="API group of the node class, such as karpenter.k8s.aws.")]
    kind: Annotated[str, Field(min_length=1, max_length=63, description="Kind of the node class, such as EC2NodeClass.")]
    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the node class.")]


class NodeLimits(K8sModel):
    """Bounds that no plan exceeds. A bound that cannot be checked (a price that is unknown) stops growth."""

    gpus: Annotated[int | None, Field(ge=0, le=10**9, description="Most GPUs of the pool's nodes together.")] = None
    usd_per_hour: Annotated[float | None, Field(ge=0, le=1e9, description="Most dollars per hour for the pool's nodes together.")] = None

    @property
    def unset(self) -> bool:
        """Whether there is no bound."""
        return self.gpus is None and self.usd_per_hour is None

    def __str__(self) -> str:
        set_ = (("gpus", self.gpus), ("usdPerHour", self.usd_per_hour))
        return ", ".join(f"{name} {value:g}" for name, value in set_ if value is not None)


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
    """Whether GPUs are partitioned."""

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

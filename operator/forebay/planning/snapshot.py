"""Everything a decision about one pool stands on: what was asked, what exists, what was measured, what is remembered.

Frozen and JSON-serialisable: a recorded snapshot planned again gives the same plan, byte for byte.
"""

from __future__ import annotations

from typing import Literal

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import FULL, InferencePoolSpec
from forebay.api.meta import K8sModel
from forebay.planning.measured import AtGateways, ClassHistory, Demand
from forebay.planning.memory import Memory

CapacityType = Literal["on-demand", "spot"]
CLOCKS_APART_S = 5.0
"""By so much the clocks of who measures and who decides may differ."""
ON_DEMAND: CapacityType = "on-demand"
SPOT: CapacityType = "spot"


class PoolIdentity(K8sModel):
    """Which pool, at which generation."""

    namespace: str
    name: str
    uid: str = ""
    generation: int = 0


class DeploymentView(K8sModel):
    """A Deployment of the pool: one variant.

    It is `rolling` while replicas of an earlier template are left; where it `yields`, one of them goes before its successor is ready.
    `trouble` says why pods cannot be made, if they cannot.
    """

    name: str
    variant: str
    capacity_type: CapacityType = ON_DEMAND
    accelerator: str = ""
    partition: str = FULL
    replicas: int
    ready: int = 0
    rolling: bool = False
    yields: bool = False
    template_hash: str = ""
    trouble: str = ""


class PodView(K8sModel):
    """A replica: when it was made, given a node, had its server's process started, and was ready.

    `loaded` says whether the server has passed its startup probe, None where it has none; `trouble` why a container does not run, if one
    does not.
    """

    name: str
    variant: str
    capacity_type: CapacityType = ON_DEMAND
    node: str = ""
    ready: bool = False
    deleting: bool = False
    routed: bool = True
    created_at: float
    scheduled_at: float | None = None
    running_at: float | None = None
    loaded: bool | None = None
    ready_at: float | None = None
    trouble: str = ""


class Taint(K8sModel):
    key: str
    value: str = ""
    effect: str = ""


class NodeView(K8sModel):
    """A node that carries the pool's replicas, or is the pool's own."""

    name: str
    own: bool = False
    capacity_type: CapacityType = ON_DEMAND
    ready: bool = True
    unschedulable: bool = False
    deleting: bool = False
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()
    allocatable: dict[str, str] = {}


class NodePoolView(K8sModel):
    """A Karpenter NodePool that carries the pool's UID."""

    name: str


class NodeClaimView(K8sModel):
    """A node that Karpenter has ordered for the pool and that has not joined yet; it is `coming` once the cloud has granted it."""

    name: str
    node_pool: str
    capacity_type: CapacityType = ON_DEMAND
    coming: bool = False


class Share(K8sModel):
    """What the pool may take of a limit that it shares with others now; `why` says what stands against more, where something does."""

    limit: str
    gpus: int | None = None
    usd_per_hour: float | None = None
    why: str = ""


class Settings(K8sModel):
    """How this operator is set up."""

    sidecar_image: str
    gateway_kubernetes: str = "in-cluster"
    interval_s: float = 15.0
    stale_after_s: float = 45.0
    partitioning_deadline_s: float = 1800.0
    mig_config_namespace: str = "gpu-operator"


class Snapshot(K8sModel):
    """The input of one decision."""

    schema_version: Literal[1] = 1
    now: float
    pool: PoolIdentity
    spec: InferencePoolSpec
    classes: dict[str, BatchClassSpec] = {}
    deployments: tuple[DeploymentView, ...] = ()
    pods: tuple[PodView, ...] = ()
    nodes: tuple[NodeView, ...] = ()
    node_pools: tuple[NodePoolView, ...] = ()
    node_claims: tuple[NodeClaimView, ...] = ()
    backend_installed: bool = True
    demand: Demand | None = None
    gateways: AtGateways | None = None
    history: dict[str, ClassHistory] = {}
    history_trouble: str = ""
    shares: tuple[Share, ...] = ()
    memory: Memory = Memory()
    settings: Settings

    @property
    def fresh(self) -> bool:
        """Whether the measured demand is young enough to act on. What is of no time, or of a time to come, says nothing about now."""
        demand = self.demand
        if demand is None or not demand.told_apart or demand.window_s <= 0.0:
            return False
        return -CLOCKS_APART_S <= self.now - demand.measured_at <= self.settings.stale_after_s

    @property
    def ready(self) -> int:
        """Replicas that answer and are to stay."""
        return sum(p.ready and not p.deleting for p in self.pods)

    @property
    def unmeasured(self) -> int:
        """Ready replicas that the demand says nothing of. Those that start or go may report too, so how many report is not enough."""
        demand = self.demand
        return min(self.ready, max(demand.unheard, self.ready - demand.replicas_reporting)) if demand is not None else self.ready

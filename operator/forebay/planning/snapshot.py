"""Everything a decision about one pool stands on: what was asked, what exists, what was measured, what is remembered.

Frozen and JSON-serialisable: a recorded snapshot planned again gives the same plan, byte for byte.
"""

from __future__ import annotations

from typing import Literal

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import FULL, InferencePoolSpec
from forebay.api.meta import K8sModel
from forebay.planning.forecast.codes import Packed
from forebay.planning.forecast.state import ForecastState

CapacityType = Literal["on-demand", "spot"]
Stage = Literal["node", "image", "load", "weights", "warmUp", "ready"]
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


class PodView(K8sModel):
    """A replica: when it was made, given a node, had its server's process started, and was ready.

    `loaded` says whether the server has passed its startup probe, None where it has none.
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


class ClassDemand(K8sModel):
    """What the sidecars of a pool measured for one class, as rates over the window.

    Tokens are of requests that were answered; those that arrived are estimated by the bytes of their prompts.
    """

    requests_per_s: float = 0.0
    arrived_input_tokens_per_s: float = 0.0
    completed_per_s: float = 0.0
    input_tokens_per_s: float = 0.0
    output_tokens_per_s: float = 0.0
    input_tokens_squared_per_s: float = 0.0
    output_tokens_squared_per_s: float = 0.0
    queued: float = 0.0
    in_flight: float = 0.0
    p95_time_to_first_token_s: float | None = None
    objectives_met: float | None = None


class StepMoments(K8sModel):
    """Sums over observations of a replica's mean step: its seconds, the tokens computed in it, the tokens of context held."""

    count: float = 0.0
    tokens: float = 0.0
    context: float = 0.0
    tokens_tokens: float = 0.0
    tokens_context: float = 0.0
    context_context: float = 0.0
    seconds: float = 0.0
    seconds_tokens: float = 0.0
    seconds_context: float = 0.0
    seconds_seconds: float = 0.0


class Demand(K8sModel):
    """What is asked of the pool. No demand at all (None in the snapshot) is not zero demand.

    `in_flight_variance` is the variance between replicas of the requests that each has, waiting ones included.
    `strangers` are replicas that report as if they were the pool's, and are left out; where they are not `told_apart`, nothing is believed.
    `steps` are what its replicas' steps took over the window, by variant; of variants that cannot be told apart, under an empty name.
    """

    measured_at: float
    window_s: float
    source: str
    replicas_reporting: int
    in_flight_variance: float | None = None
    strangers: int = 0
    told_apart: bool = True
    classes: dict[str, ClassDemand] = {}
    config_hashes: dict[str, int] = {}
    steps: dict[str, StepMoments] = {}


class AtGateways(K8sModel):
    """What the gateway replicas that route to the pool say: how many were asked and answered, and the requests they hold for it, by class.

    `passed_over` says that other pools of a rule answer in this one's turn, for it has no replica.
    """

    asked: int = 0
    answered: int = 0
    held: dict[str, int] = {}
    passed_over: bool = False


class DemandPoint(K8sModel):
    """One measured moment, kept for the trend."""

    at: float
    requests_per_s: float


class Shape(K8sModel):
    """Tokens of a request: their means, their squared coefficients of variation, and how many requests the latter were seen on."""

    input_tokens: float
    output_tokens: float
    input_cv2: float = 0.0
    output_cv2: float = 0.0
    seen: float = 0.0


class ClassForecast(K8sModel):
    """What was learned of one class's load: prefill and decode, in tokens per second."""

    input_tokens: ForecastState
    output_tokens: ForecastState
    read_s: float | None = None
    """How long a past was read of it from a store of metrics; None where none has answered yet."""


class MeasuredPast(K8sModel):
    """Rates of one class in steps of `step_s` seconds from `start`, each a mean over its step, packed as `codes` has it.

    `requests` arrived, `completed` were answered; tokens are of the latter. A step of which nothing is known is MISSING, not zero.
    """

    start: float
    step_s: float
    requests: Packed
    completed: Packed
    input_tokens: Packed
    output_tokens: Packed


class ClassHistory(K8sModel):
    """What a store of metrics knows of one class since then, which was asked for; the finest steps last."""

    since: float
    source: str
    parts: tuple[MeasuredPast, ...] = ()


class Spread(K8sModel):
    """An average of something random, and how many seconds of samples are in it."""

    value: float
    seconds: float


class Saturation(K8sModel):
    """So many replicas have no place left and requests wait, since then; `finished_per_s` is the most that each has finished meanwhile."""

    since: float
    replicas: int
    finished_per_s: float = 0.0


class TunedProfile(K8sModel):
    """What was learned of a profile: its three times, the covariance of their logarithms, and the sums that they were fitted to.

    `rejected` measurements in a row did not fit; `at` is when the last one did, `looked_at` when the last one was looked at.
    """

    base_s: float
    per_token_s: float
    per_kv_token_s: float
    covariance: tuple[tuple[float, ...], ...]
    moments: StepMoments
    rejected: int = 0
    at: float
    looked_at: float


class Recommendation(K8sModel):
    """How many replicas were wanted at a moment."""

    at: float
    replicas: int


class Unavailable(K8sModel):
    """A variant whose nodes did not come, for so many times in a row: it is not asked for until then."""

    since: float
    until: float
    times: int = 1
    reason: str = ""


class Partitioning(K8sModel):
    """Progress of one node's change of layout."""

    config: str
    phase: Literal["Draining", "Applying", "Failed", "Stuck"]
    since: float


class Rest(K8sModel):
    """Since when nobody asks (None while somebody does, or it is not known), and how long earlier pauses were, seconds."""

    idle_since: float | None = None
    pauses_s: tuple[float, ...] = ()


class Memory(K8sModel):
    """What the planner carries from one decision to the next; persisted over restarts.

    `target` is the count that was decided, `mix` of which kinds, `placed` what the limits let through of it, `step` when replicas began
    to be given back and how many there were then. `dispersion` is that of each class's arrivals, `router` how evenly requests are shared
    out (planning/burstiness.py). `starts` holds seconds by variant and stage, `start_times_s` those of all variants together. It was
    looked at the pool without a break since `looking_since`, at `looked_at` last.
    """

    history: dict[str, tuple[DemandPoint, ...]] = {}
    shapes: dict[str, Shape] = {}
    forecasts: dict[str, ClassForecast] = {}
    dispersion: dict[str, Spread] = {}
    router: Spread | None = None
    saturation: Saturation | None = None
    throughput_shares: dict[str, float] = {}
    profiles: dict[str, TunedProfile] = {}
    recommendations: tuple[Recommendation, ...] = ()
    observed_since: float | None = None
    step: Recommendation | None = None
    start_times_s: tuple[float, ...] = ()
    starts: dict[str, dict[Stage, tuple[float, ...]]] = {}
    started_pods: tuple[str, ...] = ()
    loaded_at: dict[str, float] = {}
    unavailable: dict[str, Unavailable] = {}
    looked_at: float = 0.0
    looking_since: float | None = None
    spot_hold_until: float = 0.0
    target: int = 0
    placed: int = 0
    mix: dict[str, int] = {}
    better_since: float | None = None
    partitioning: dict[str, Partitioning] = {}
    rest: Rest | None = None


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
    shares: tuple[Share, ...] = ()
    memory: Memory = Memory()
    settings: Settings

    @property
    def fresh(self) -> bool:
        """Whether the measured demand is young enough to act on."""
        return self.demand is not None and self.demand.told_apart and self.now - self.demand.measured_at <= self.settings.stale_after_s

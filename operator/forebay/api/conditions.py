"""Condition types and their reasons: one list, from which status, Events and the documentation are written."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from forebay.api.meta import K8sModel, listmap


class Type(StrEnum):
    """What a condition says something about."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    READY = "Ready"
    PROGRAMMED = "Programmed"
    CAPACITY_PROVISIONED = "CapacityProvisioned"
    SLO_FEASIBLE = "SloFeasible"
    METRICS_FRESH = "MetricsFresh"
    FORECAST_CALIBRATED = "ForecastCalibrated"
    BUDGET_RESPECTED = "BudgetRespected"
    PARTITIONED = "Partitioned"
    FIELD_CONFLICT = "FieldConflict"
    PAUSED = "Paused"


class Reason(StrEnum):
    """Why a condition has its status. Stable words: alerts and scripts match on them."""

    ACCEPTED = "Accepted"
    RESOLVED = "Resolved"
    UNKNOWN_CLASS = "UnknownClass"
    UNKNOWN_POOL = "UnknownPool"
    POLICY_NOT_ALLOWED = "PolicyNotAllowed"
    MODEL_CLAIMED = "ModelClaimed"
    NO_POOL_SERVES = "NoPoolServes"
    INVALID_SPEC = "InvalidSpec"
    FEASIBLE = "Feasible"
    OBJECTIVE_BELOW_SERVICE_TIME = "ObjectiveBelowServiceTime"
    NO_PROFILE = "NoProfile"
    NO_OBJECTIVE = "NoObjective"
    MAX_REPLICAS = "MaxReplicas"
    REPLICAS_READY = "ReplicasReady"
    REPLICAS_PENDING = "ReplicasPending"
    NO_REPLICAS = "NoReplicas"
    ASLEEP = "Asleep"
    RECOMMEND_ONLY = "RecommendOnly"
    PAUSED = "Paused"
    NOT_PAUSED = "NotPaused"
    PROVISIONED = "Provisioned"
    PROVISIONING = "Provisioning"
    VARIANT_UNAVAILABLE = "VariantUnavailable"
    BACKEND_MISSING = "BackendMissing"
    EXISTING_NODES = "ExistingNodes"
    FRESH = "Fresh"
    STALE = "Stale"
    NO_SAMPLES = "NoSamples"
    NO_GATEWAY = "NoGateway"
    GATEWAYS_SILENT = "GatewaysSilent"
    FOREIGN_SERIES = "ForeignSeries"
    FORECAST_CALIBRATED = "Calibrated"
    FORECAST_LEARNING = "Learning"
    FORECAST_DRIFTED = "Drifted"
    FORECAST_DISABLED = "ForecastDisabled"
    WITHIN_LIMITS = "WithinLimits"
    LIMITED = "Limited"
    SHARED_LIMIT = "SharedLimit"
    PRICE_UNKNOWN = "PriceUnknown"
    LAYOUT_APPLIED = "LayoutApplied"
    REPARTITIONING = "Repartitioning"
    PARTITIONING_FAILED = "PartitioningFailed"
    PARTITIONING_STUCK = "PartitioningStuck"
    NOT_PARTITIONED = "NotPartitioned"
    NO_CONFLICT = "NoConflict"
    CONFLICT = "Conflict"
    CONFIG_LOADED = "ConfigLoaded"
    CONFIG_PENDING = "ConfigPending"
    APPLY_FAILED = "ApplyFailed"


TOO_FEW = frozenset((Reason.LIMITED, Reason.SHARED_LIMIT, Reason.PRICE_UNKNOWN))
"""Reasons of BudgetRespected that say of bounds which hold that they allow fewer replicas than are wanted."""

CONDITIONS: dict[Type, str] = {
    Type.ACCEPTED: "the object can be worked with; False says which other object or field stands against it",
    Type.RESOLVED_REFS: "every class and pool it names exists and may be used; for a BatchClass: some pool serves it",
    Type.READY: "as many replicas answer as are wanted, else why not: the one to wait for. Asleep: none is, until somebody asks",
    Type.PROGRAMMED: "every gateway replica has loaded the configuration that holds this policy",
    Type.CAPACITY_PROVISIONED: "every replica has a node; False also where Karpenter is asked for and not installed",
    Type.SLO_FEASIBLE: "every objective can be met; False says which target can be held under the load, or how many replicas it takes",
    Type.METRICS_FRESH: "demand was measured within the last three intervals, by gateways where no replica is; else the pool is held",
    Type.FORECAST_CALIBRATED: "forecasts size the pool; False where their bounds did not hold for a day: then what is measured does",
    Type.BUDGET_RESPECTED: "nodes.limits and shared limits hold; reasons Limited and SharedLimit: they allow fewer replicas than wanted",
    Type.PARTITIONED: "every node of the pool's own shows the MIG layout; False names the node that is changing, failed or stuck",
    Type.FIELD_CONFLICT: "another field manager owns a field that Forebay needs; the message names both",
    Type.PAUSED: "nothing is touched, because of scaling.paused or mode Recommend",
}
"""What each condition says when it is True."""

EVENTS: dict[str, str] = {
    "ScaledUp": "the pool grew; the message has the figures",
    "ScaledDown": "the pool shrank after its window",
    "RecommendedUp": "mode Recommend: it would have grown",
    "RecommendedDown": "mode Recommend: it would have shrunk",
    "Interrupted": "a replica's node is about to go or gone; it is unrouted and replaced",
    "SpotUnavailable": "spot replicas did not come in time; on-demand stands in",
    "VariantUnavailable": "replicas of a variant found no node for much longer than a start takes: another is tried for a while",
    "Limited": "nodes.limits allow fewer replicas than are wanted; the message says which limits would let them through",
    "SharedLimit": "a limit that several pools share allows fewer replicas than are wanted; the message says who has the rest, and why",
    "PriceUnknown": "limits.usdPerHour cannot be checked, so the pool does not grow",
    "ObjectiveBelowServiceTime": "no profile can meet an objective; the message says which target can be held",
    "PartitioningFailed": "mig-manager answered failed for a node",
    "PartitioningStuck": "a node's layout did not change in time",
    "Drifted": "a forecast's bounds did not hold as declared for a day: what is measured sizes the pool until they do",
    "HistoryRead": "the past of a class that is new, or minutes that were missed, were read from Prometheus for its forecast",
    "UnknownClass": "a class that the pool names does not exist; without any nothing is started",
    "InvalidSpec": "the object cannot be read; nothing is done with it",
    "ApplyFailed": "the API server refuses an object that is needed; the message has its words",
    "MaxReplicas": "maxReplicas are not enough for an objective; the message says how many are",
}
"""Reasons of Events."""


class Condition(K8sModel):
    """One aspect of the object's state, in the shape of `metav1.Condition`."""

    type: Annotated[str, Field(max_length=316, description="What it says something about; docs/conditions.md lists them.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="True, False or Unknown.")]
    observed_generation: Annotated[
        Annotated[int, Field(ge=0)] | None, Field(description="Generation of the object that it was said of.")
    ] = None
    last_transition_time: Annotated[str, Field(description="When its status last changed.", json_schema_extra={"format": "date-time"})]
    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            description="Why, in one stable word.",
        ),
    ]
    message: Annotated[str, Field(max_length=32768, description="Why, and what to do, for a person.")]


Conditions = Annotated[
    list[Condition],
    Field(default_factory=list, max_length=32, description="Aspects of its state, one of each type.", json_schema_extra=listmap("type")),
]
"""The conditions of a status."""

ObservedGeneration = Annotated[int | None, Field(description="Generation of the object that this status is about.")]
"""Which version of its spec a status is about."""

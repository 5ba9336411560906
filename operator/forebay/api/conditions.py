"""Condition types and their reasons: one list, from which status, Events and the documentation are written."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from forebay.api.meta import K8sModel


class Type(StrEnum):
    """What a condition says something about."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    READY = "Ready"
    PROGRAMMED = "Programmed"
    CAPACITY_PROVISIONED = "CapacityProvisioned"
    SLO_FEASIBLE = "SloFeasible"
    METRICS_FRESH = "MetricsFresh"
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
    REPLICAS_READY = "ReplicasReady"
    REPLICAS_PENDING = "ReplicasPending"
    NO_REPLICAS = "NoReplicas"
    RECOMMEND_ONLY = "RecommendOnly"
    PAUSED = "Paused"
    NOT_PAUSED = "NotPaused"
    PROVISIONED = "Provisioned"
    PROVISIONING = "Provisioning"
    BACKEND_MISSING = "BackendMissing"
    EXISTING_NODES = "ExistingNodes"
    FRESH = "Fresh"
    STALE = "Stale"
    NO_SAMPLES = "NoSamples"
    WITHIN_LIMITS = "WithinLimits"
    LIMITED = "Limited"
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


class Condition(K8sModel):
    """One aspect of the object's state, in the shape of `metav1.Condition`."""

    type: Annotated[str, Field(max_length=316)]
    status: Literal["True", "False", "Unknown"]
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    message: Annotated[str, Field(max_length=32768)]

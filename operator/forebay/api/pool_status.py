"""What the operator says of an InferencePool."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from forebay.api.conditions import Conditions, ObservedGeneration
from forebay.api.meta import K8sModel, listmap
from forebay.api.pool_capacity import FULL


class DesiredStatus(K8sModel):
    """What the last plan asks for."""

    on_demand: Annotated[int, Field(description="Replicas on on-demand nodes.")] = 0
    spot: Annotated[int, Field(description="Replicas on spot nodes.")] = 0
    warm_standby: Annotated[int, Field(description="How many of these are kept ready beyond what the load needs.")] = 0
    partitions: Annotated[dict[str, int], Field(description="Replicas by partition: `full` or a MIG profile.")] = {}


class StageStatus(K8sModel):
    """How long one stage of a replica's start was seen to take."""

    stage: Annotated[
        str,
        Field(
            description="`node` until it has one, `image` until the server's process runs, `load` until it is ready, of which `weights` and"
            " `warmUp` before and after its startup probe is passed; `ready` is the whole."
        ),
    ]
    p50: Annotated[str, Field(description="Half of the starts took no longer.")]
    p90: Annotated[str, Field(description="Nine in ten took no longer; of `ready` it is how far ahead the pool is planned.")]
    samples: Annotated[int, Field(description="Starts that it was measured on, the last ones.")]


class VariantStatus(K8sModel):
    """Replicas of one kind: one Deployment."""

    name: Annotated[str, Field(description="Name of its Deployment.")]
    accelerator: Annotated[str, Field(description="Kind of GPU, as capacity.accelerators names it; empty for none.")] = ""
    partition: Annotated[str, Field(description="`full`, or a MIG profile.")] = FULL
    capacity_type: Annotated[str, Field(description="`on-demand` or `spot`.")] = ""
    desired: Annotated[int, Field(description="Replicas that are wanted.")] = 0
    ready: Annotated[int, Field(description="Replicas that answer.")] = 0
    pending: Annotated[int, Field(description="Replicas that do not answer yet.")] = 0
    usd_per_hour: Annotated[float | None, Field(description="Dollars per hour of one of its nodes; absent where the price is unknown.")] = (
        None
    )
    lead: Annotated[
        list[StageStatus],
        Field(default_factory=list, max_length=8, description="Learned start times, by stage.", json_schema_extra=listmap("stage")),
    ]


class TokensForecast(K8sModel):
    """Tokens per second some time ahead."""

    p50: Annotated[float, Field(description="As likely more as less.")]
    upper: Annotated[float, Field(description="Not exceeded with the coverage.")]


class ClassForecastStatus(K8sModel):
    """What is expected of one class when a replica that is asked for now could answer."""

    name: Annotated[str, Field(description="The BatchClass.")]
    horizon: Annotated[str, Field(description="How far ahead: the learned start time of a replica and one interval.")] = ""
    coverage: Annotated[float, Field(description="Share of the time that the upper bound is to hold.")] = 0.0
    observed_coverage: Annotated[
        float | None, Field(description="Share of the last day that it held; absent until enough of its forecasts came due to tell.")
    ] = None
    model: Annotated[str, Field(description="Longest season in use: `trend`, `day` or `week`.")] = ""
    history: Annotated[str, Field(description="How long the class has been seen, what was read from a Prometheus included.")] = ""
    drives: Annotated[bool, Field(description="Whether it sizes the pool; ForecastCalibrated says why not.")] = False
    doubt: Annotated[str, Field(description="Why it does not size the pool, where it does not.")] = ""
    input_tokens_per_second: Annotated[TokensForecast | None, Field(description="Prefill: tokens that are read.")] = None
    output_tokens_per_second: Annotated[TokensForecast | None, Field(description="Decode: tokens that are written.")] = None


class DemandStatus(K8sModel):
    """What the sidecars measured, of which no figure is there while nothing fresh is measured; and what is expected."""

    requests_per_second: Annotated[float | None, Field(description="Requests that arrive, per second.")] = None
    input_tokens_per_second: Annotated[float | None, Field(description="Tokens that are read, per second.")] = None
    output_tokens_per_second: Annotated[float | None, Field(description="Tokens that are written, per second.")] = None
    queued: Annotated[int | None, Field(description="Requests that wait in the sidecars.")] = None
    in_flight: Annotated[int | None, Field(description="Requests that the engines work on.")] = None
    forecast: Annotated[
        list[ClassForecastStatus],
        Field(default_factory=list, max_length=16, description="What is expected, by class.", json_schema_extra=listmap("name")),
    ]


class ObjectiveStatus(K8sModel):
    """How well the objectives are met, worst class first."""

    p95_time_to_first_token: Annotated[str, Field(description="p95 time to first token over the last window.")] = ""
    attainment: Annotated[
        float | None, Field(description="Share of answers within their objectives, 0 to 1; absent while nothing is measured.")
    ] = None


class RateStatus(K8sModel):
    """What the pool costs now."""

    usd_per_hour: Annotated[str, Field(description="Dollars per hour, or `unknown` where a price is missing.")] = "unknown"


class PlanStatus(K8sModel):
    """The last decision."""

    id: Annotated[str, Field(description="Hash of the decision, by which its record is found.")] = ""
    summary: Annotated[str, Field(description="The decision in one sentence.")] = ""
    decided_at: Annotated[str, Field(description="When it was decided, in UTC.")] = ""
    why: Annotated[
        list[Annotated[str, Field(max_length=1024)]],
        Field(default_factory=list, max_length=64, description="What it rests on, a sentence each."),
    ]


class TimeStatus(K8sModel):
    """One time of a profile."""

    value: Annotated[str, Field(description="What it was learned to be.")]
    declared: Annotated[str, Field(description="What the profile says.")]
    uncertainty: Annotated[float, Field(description="Standard deviation of the value, as a share of it.")]


class ProfileStatus(K8sModel):
    """What was learned of one profile from what its replicas were seen to do."""

    name: Annotated[str, Field(description="Accelerator and partition.")]
    use: Annotated[
        str,
        Field(
            description="What the pool is sized by: `Declared`, `Tuned`, or `Slower`: the learned times where they are longer than the"
            " declared ones, until enough was seen to trust shorter ones; `Akin`: longer than declared, as other profiles of the pool"
            " were found to be."
        ),
    ]
    base: TimeStatus
    per_token: TimeStatus
    per_kv_token: TimeStatus | None = None
    observations: Annotated[int, Field(description="How many observations it rests on; old ones fade.")] = 0
    age: Annotated[str, Field(description="Since the last measurement that went into it, in whole minutes or hours.")] = "0s"


class InferencePoolStatus(K8sModel):
    """Observed state, written by the operator."""

    observed_generation: ObservedGeneration = None
    replicas: Annotated[int, Field(ge=0, description="Replicas that exist.")] = 0
    ready_replicas: Annotated[int, Field(ge=0, description="Replicas that answer.")] = 0
    selector: Annotated[str, Field(description="Label selector of the pool's pods.")] = ""
    desired: DesiredStatus = DesiredStatus()
    variants: Annotated[
        list[VariantStatus],
        Field(default_factory=list, max_length=128, description="Replicas by kind of node.", json_schema_extra=listmap("name")),
    ]
    profiles: Annotated[
        list[ProfileStatus],
        Field(default_factory=list, max_length=32, description="Profiles that were tuned.", json_schema_extra=listmap("name")),
    ]
    demand: DemandStatus = DemandStatus(forecast=[])
    objective: ObjectiveStatus = ObjectiveStatus()
    rate: RateStatus = RateStatus()
    plan: PlanStatus = PlanStatus(why=[])
    conditions: Conditions

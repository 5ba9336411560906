"""RoutingPolicy: who may ask what, and which pool answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from forebay.api.conditions import Conditions, ObservedGeneration
from forebay.api.meta import Duration, K8sModel, ModelId, Name, ObjectMeta, PositiveDuration, cel, listmap, rules


class GatewayRef(K8sModel):
    """The gateway, of the policy's own namespace, that serves it. The operator runs it."""

    name: Annotated[Name, Field(description="Policies with the same gateway name share one gateway.")] = "default"


class ModelName(K8sModel):
    """A name that clients ask for."""

    name: Annotated[ModelId, Field(description="Unique on one gateway; the oldest policy that claims it keeps it.")]


class ApiKeysFrom(K8sModel):
    """Where the tenant's API keys are."""

    secret_ref: Annotated[Name, Field(description="Secret of the policy's namespace; every value in it is one API key.")]


class Tenant(K8sModel):
    """Who may ask. A policy without tenants answers nobody."""

    name: Annotated[Name, Field(description="Stands in metrics and decision records, and keeps caches apart.")]
    api_keys_from: ApiKeysFrom


class Classify(K8sModel):
    """Which BatchClass a request belongs to."""

    default_class: Annotated[Name, Field(description="Class of a request whose `service_tier` names no other.")]


class AnyIn(K8sModel):
    """Matches when the value is in the list."""

    in_: Annotated[list[ModelId], Field(alias="in", min_length=1, max_length=64, description="The values that match.")]


class Match(K8sModel):
    """Which requests a rule is for. Every field that is set must match; none set matches all."""

    model: Annotated[AnyIn | None, Field(description="The model name that was asked for.")] = None
    tenant: Annotated[AnyIn | None, Field(description="The tenant's name.")] = None
    batch_class: Annotated[AnyIn | None, Field(description="The request's BatchClass.")] = None


class PoolRoute(K8sModel):
    """A share of the traffic for one pool."""

    pool: Annotated[Name, Field(description="Name of an InferencePool.")]
    namespace: Annotated[Name | None, Field(description="Namespace of the pool; needs the pool's allowedPolicies when it is another.")] = (
        None
    )
    weight: Annotated[int, Field(ge=0, le=1000000, description="Share relative to the other pools of the rule.")] = 1


class ExactCacheMode(StrEnum):
    """Which answers are kept."""

    DISABLED = "Disabled"
    DETERMINISTIC = "Deterministic"
    ALWAYS = "Always"


class ExactCache(K8sModel):
    """Answers to identical requests of one tenant under one policy."""

    mode: Annotated[
        ExactCacheMode,
        Field(description="Disabled; Deterministic stores answers at temperature 0 and embeddings; Always stores every complete answer."),
    ] = ExactCacheMode.DETERMINISTIC
    ttl: Annotated[Duration, Field(description="How long an answer is served from the cache.")] = 600.0


class Cache(K8sModel):
    """What is not computed twice."""

    exact: ExactCache = ExactCache()


class Rule(K8sModel):
    """Where matching requests go. The first rule that matches wins."""

    model_config = ConfigDict(
        json_schema_extra=rules(cel("self.route.exists(r, r.weight > 0)", "at least one route needs a weight above 0"))
    )

    name: Annotated[Name, Field(description="Stands in decision records.")]
    match: Match = Match()
    route: Annotated[list[PoolRoute], Field(min_length=1, max_length=16, description="Pools that answer, by weight.")]
    cache: Annotated[Cache | None, Field(description="Replaces the policy's cache for this rule.")] = None


class Timeouts(K8sModel):
    """How long a replica may keep the gateway waiting."""

    first_byte: Annotated[PositiveDuration, Field(description="From sending a request on to the first byte of its answer.")] = 120.0
    idle: Annotated[PositiveDuration, Field(description="Between two pieces of a stream.")] = 60.0


class Resilience(K8sModel):
    """What the gateway does about replicas that fail."""

    retry_budget: Annotated[
        float, Field(ge=0, le=1, description="Retries as a share of requests: a token bucket over all of the policy's requests.")
    ] = 0.1
    timeouts: Timeouts = Timeouts()


class RoutingPolicySpec(K8sModel):
    """Who may ask what, and which pool answers."""

    gateway: GatewayRef = GatewayRef()
    models: Annotated[
        list[ModelName], Field(min_length=1, max_length=64, description="Names that clients ask for.", json_schema_extra=listmap("name"))
    ]
    tenants: Annotated[
        list[Tenant],
        Field(default_factory=list, max_length=256, description="Who may ask; none means nobody.", json_schema_extra=listmap("name")),
    ]
    classify: Classify
    rules: Annotated[
        list[Rule],
        Field(min_length=1, max_length=64, description="First match wins; no match is answered 404.", json_schema_extra=listmap("name")),
    ]
    cache: Cache = Cache()
    resilience: Resilience = Resilience()


class RoutingPolicyStatus(K8sModel):
    """Observed state, written by the operator."""

    observed_generation: ObservedGeneration = None
    config_hash: Annotated[str, Field(description="Hash of the gateway configuration that holds this policy.")] = ""
    conditions: Conditions


class RoutingPolicy(K8sModel):
    """A RoutingPolicy says who may ask for which model names, and which pools answer, with what caching and retries."""

    metadata: ObjectMeta
    spec: RoutingPolicySpec
    status: RoutingPolicyStatus = RoutingPolicyStatus(conditions=[])

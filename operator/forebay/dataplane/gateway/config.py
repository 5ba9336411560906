"""The gateway's configuration as it is used: `gateway.json` (docs/data-plane.md) read into frozen, indexed values.

Everything is checked here, once, so that a request's path looks things up and never doubts them. What is unknown is ignored: an older
gateway can read what a newer operator writes. What is wrong raises, and the document is refused as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forebay.dataplane.config import At, ConfigError

TIERS = frozenset({"Interactive", "NearRealTime", "Deferred"})
TASKS = frozenset({"Chat", "Embeddings"})
CACHE_MODES = frozenset({"Disabled", "Deterministic", "Always"})
# A folder below --keys: names only, so that no document can point out of it.
_FOLDER = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[a-z0-9]([-a-z0-9.]*[a-z0-9])?)*")

_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class BatchClass:
    name: str
    tier: str
    priority: int
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a request may wait for a pool's first replica, and how many may at once."""

    most_s: float
    most_requests: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Of a pool that may sleep: how long a replica takes to start, and what its classes may wait. `other` is of any other class."""

    start_s: float
    classes: Mapping[str, Wait]
    other: Wait

    def of(self, batch_class: str) -> Wait:
        return self.classes.get(batch_class, self.other)


@dataclass(frozen=True, slots=True)
class Pool:
    """`hold` is None where a request for which no replica is there is turned away."""

    key: str
    namespace: str
    name: str
    service: str
    model: str
    task: str
    classes: frozenset[str]
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """`models`, `tenants` and `classes` are None where the rule matches any. `routes` are pool keys with weights above 0."""

    name: str
    models: frozenset[str] | None
    tenants: frozenset[str] | None
    classes: frozenset[str] | None
    routes: tuple[tuple[str, int], ...]
    cache_mode: str
    cache_ttl_s: float


@dataclass(frozen=True, slots=True)
class Policy:
    """`tenants` maps a folder of keys to the tenant's name."""

    name: str
    hash: str
    models: tuple[str, ...]
    tenants: Mapping[str, str]
    default_class: str
    rules: tuple[Rule, ...]
    retry_budget: float
    first_byte_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    hash: str
    name: str
    policies: tuple[Policy, ...]
    pools: Mapping[str, Pool]
    classes: Mapping[str, BatchClass]
    policy_of: Mapping[str, Policy] = field(default_factory=dict)

    def key_folders(self) -> frozenset[str]:
        """Folders below --keys that some tenant refers to."""
        return frozenset(folder for policy in self.policies for folder in policy.tenants)


def parse(document: Mapping[str, Any]) -> GatewayConfig:
    """The configuration in a document whose hash and schema version were checked already.

    Raises:
        ConfigError: a field is missing, of the wrong type or refers to nothing; the message names it.
    """
    top = At(document)
    classes = {name: _batch_class(name, at) for name, at in top.entries("classes")}
    pools = {key: _pool(key, at, classes) for key, at in top.entries("pools")}
    policies = tuple(_policy(at, pools) for at in top.items("policies"))
    for policy in policies:
        # A class that somebody deleted must not stop everybody's traffic: nothing is known of it, no pool serves it, it is tried once.
        classes.setdefault(policy.default_class, BatchClass(policy.default_class, tier="", priority=0, max_attempts=1))
    policy_of: dict[str, Policy] = {}
    for policy in policies:
        for model in policy.models:
            if model in policy_of:
                raise ConfigError(f"policies {policy_of[model].name!r} and {policy.name!r} both claim model {model!r}")
            policy_of[model] = policy
    name = top.at("gateway").text("namespace") + "/" + top.at("gateway").text("name")
    return GatewayConfig(top.text("hash"), name, policies, pools, classes, policy_of)


def _batch_class(name: str, at: At) -> BatchClass:
    priority = at.number("priority", at_least=-_MOST, at_most=_MOST)
    attempts = at.number("maxAttempts", at_least=1, at_most=_MOST)
    return BatchClass(_shown(name, at.where), at.one_of("tier", TIERS), int(priority), int(attempts))


def _pool(key: str, at: At, classes: Mapping[str, BatchClass]) -> Pool:
    served = frozenset(at.texts("classes"))
    if not served <= classes.keys():
        raise ConfigError(f"{at.where}.classes: unknown class {min(served - classes.keys())!r}")
    hold = at.optional("hold")
    return Pool(
        key,
        at.text("namespace"),
        _name(at, "name"),
        at.text("service"),
        _name(at, "model"),
        at.one_of("task", TASKS),
        served,
        _hold(hold) if hold is not None else None,
    )


def _hold(at: At) -> Hold:
    start_s = at.number("startSeconds", above=0)
    classes = {
        name: Wait(one.number("maxWaitSeconds", above=0), int(one.number("maxRequests", at_least=1, at_most=_MOST)))
        for name, one in at.entries("classes")
    }
    return Hold(start_s, classes, Wait(start_s, 1))


def _policy(at: At, pools: Mapping[str, Pool]) -> Policy:
    tenants: dict[str, str] = {}
    for tenant in at.items("tenants"):
        folder = tenant.text("keys")
        if not _FOLDER.fullmatch(folder):
            raise ConfigError(f"{tenant.where}.keys: {folder!r} is not a folder below the keys folder")
        tenants.setdefault(folder, _name(tenant, "name"))
    timeouts = at.at("timeouts")
    return Policy(
        name=_name(at, "name"),
        hash=at.text("hash"),
        models=tuple(_shown(model, f"{at.where}.models") for model in at.texts("models")),
        tenants=tenants,
        default_class=_name(at, "defaultClass"),
        rules=tuple(_rule(rule, pools) for rule in at.items("rules")),
        retry_budget=at.number("retryBudget", at_least=0),
        first_byte_s=timeouts.number("firstByteSeconds", above=0),
        idle_s=timeouts.number("idleSeconds", above=0),
    )


def _rule(at: At, pools: Mapping[str, Pool]) -> Rule:
    match, cache = at.at("match"), at.at("cache").at("exact")
    routes: list[tuple[str, int]] = []
    for route in at.items("route"):
        pool, weight = route.text("pool"), int(route.number("weight", at_least=0, at_most=_MOST))
        if pool not in pools:
            raise ConfigError(f"{route.where}.pool: unknown pool {pool!r}")
        if weight:
            routes.append((pool, weight))
    return Rule(
        name=_name(at, "name"),
        models=_any_of(match, "model"),
        tenants=_any_of(match, "tenant"),
        classes=_any_of(match, "class"),
        routes=tuple(routes),
        cache_mode=cache.one_of("mode", CACHE_MODES),
        cache_ttl_s=cache.number("ttlSeconds", at_least=0),
    )


def _any_of(match: At, key: str) -> frozenset[str] | None:
    return frozenset(match.texts(key)) if key in match.value else None


def _name(at: At, key: str) -> str:
    return _shown(at.text(key), at.path(key))


def _shown(name: str, where: str) -> str:
    """A name that can stand in a header and in a log."""
    if not name.isprintable():
        raise ConfigError(f"{where}: {name!r} has characters that cannot be shown")
    return name

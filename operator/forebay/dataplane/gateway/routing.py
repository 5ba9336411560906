"""Which class a request has, which rule it falls under and which pools may answer it.

All of it depends on a handful of values (policy, model, tenant, tier, task), each from the configuration. So it is worked out once per
combination and remembered; a request's path is one look-up. The weighted turn among pools is the only thing that moves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forebay.dataplane.gateway import reasons
from forebay.dataplane.gateway.config import BatchClass, GatewayConfig, Policy, Pool, Rule


class Spread:
    """Smooth weighted round robin: shares are exact over any run of requests, not only on average."""

    __slots__ = ("_credit", "pools")

    def __init__(self, pools: tuple[tuple[Pool, int], ...]) -> None:
        self.pools = pools
        self._credit = [0] * len(pools)

    def pick(self, usable: Callable[[Pool], bool]) -> Pool | None:
        """The pool whose turn it is among the usable ones, None where none is."""
        if len(self.pools) == 1:
            pool = self.pools[0][0]
            return pool if usable(pool) else None
        best, total = -1, 0
        for index, (pool, weight) in enumerate(self.pools):
            if usable(pool):
                total += weight
                self._credit[index] += weight
                if best < 0 or self._credit[index] > self._credit[best]:
                    best = index
        if best < 0:
            return None
        self._credit[best] -= total
        return self.pools[best][0]


@dataclass(frozen=True, slots=True)
class Route:
    """How requests of one kind are answered. `reason` says how the class was chosen."""

    policy: Policy
    tenant: str
    rule: Rule
    batch_class: BatchClass
    spread: Spread
    reason: str


class Router:
    """The routes of one configuration. What it remembers is bounded by the configuration's own size."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self._routes: dict[tuple[str, str, str | None, str], Route | None] = {}
        self._spreads: dict[tuple[str, str, tuple[str, ...]], Spread] = {}

    def tenant(self, model: str, folders: frozenset[str]) -> str | None:
        """The tenant that a key asks this model as; None where it may not know of the model.

        A key that stands in several tenants' folders counts for the first of them in the policy.
        """
        policy = self.config.policy_of.get(model)
        if policy is None:
            return None
        if len(folders) == 1:
            (folder,) = folders
            return policy.tenants.get(folder)
        return next((name for folder, name in policy.tenants.items() if folder in folders), None)

    def models(self, folders: frozenset[str]) -> list[str]:
        """Names that a key may ask for, sorted."""
        found = []
        for model in self.config.policy_of:
            tenant = self.tenant(model, folders)
            if tenant is not None and any(self.route(model, tenant, None, task) for task in ("Chat", "Embeddings")):
                found.append(model)
        return sorted(found)

    def route(self, model: str, tenant: str, tier: str | None, task: str) -> Route | None:
        """How to answer; None where no rule matches that has a pool for this task. A rule without any pool matches every task."""
        key = (model, tenant, tier, task)
        try:
            return self._routes[key]
        except KeyError:
            route = self._routes[key] = self._find(model, tenant, tier, task)
            return route

    def _find(self, model: str, tenant: str, tier: str | None, task: str) -> Route | None:
        policy = self.config.policy_of[model]
        matching = [
            rule
            for rule in policy.rules
            if _allows(rule.models, model) and _allows(rule.tenants, tenant) and (self._pools(rule, task) or not rule.routes)
        ]
        if tier is not None:
            for rule in matching:
                batch_class = self._class_of(tier, rule, task)
                if batch_class is not None:
                    return self._route(policy, tenant, rule, batch_class, task, reasons.CLASS_BY_TIER)
        default = self.config.classes[policy.default_class]
        reason = reasons.CLASS_DEFAULT if tier is None else reasons.TIER_NOT_SERVED
        for rule in matching:
            if _allows(rule.classes, default.name):
                return self._route(policy, tenant, rule, default, task, reason)
        return None

    def _class_of(self, tier: str, rule: Rule, task: str) -> BatchClass | None:
        """The class of this tier that the rule matches and one of its pools serves: the highest priority, then the first name."""
        served = {name for pool, _ in self._pools(rule, task) for name in pool.classes}
        classes = [self.config.classes[name] for name in served if _allows(rule.classes, name)]
        return min((c for c in classes if c.tier == tier), key=lambda c: (-c.priority, c.name), default=None)

    def _route(self, policy: Policy, tenant: str, rule: Rule, batch_class: BatchClass, task: str, reason: str) -> Route:
        pools = self._pools(rule, task)
        serving = tuple(entry for entry in pools if batch_class.name in entry[0].classes) or pools
        key = (policy.name, rule.name, tuple(pool.key for pool, _ in serving))
        spread = self._spreads.setdefault(key, Spread(serving))
        return Route(policy, tenant, rule, batch_class, spread, reason)

    def _pools(self, rule: Rule, task: str) -> tuple[tuple[Pool, int], ...]:
        pools = self.config.pools
        return tuple((pools[key], weight) for key, weight in rule.routes if pools[key].task == task)


def _allows(names: frozenset[str] | None, name: str) -> bool:
    return names is None or name in names

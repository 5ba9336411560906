"""Pools of several variants: what our operator is given, and laws that answer counts by variant to compare it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from forebay.adapters.cluster import Object
from forebay.planning.work import EngineProfile
from forebay.simulation.fleet import Fleet
from forebay.simulation.law import Law, Observation
from forebay.simulation.outcome import replica_seconds

FAST, SLOW = "fast-on-demand", "slow-on-demand"
Counts = Mapping[str, int]


def slower(engine: EngineProfile, times: float) -> EngineProfile:
    """The same engine, every step so many times as long."""
    return replace(
        engine,
        base_s=times * engine.base_s,
        per_token_s=times * engine.per_token_s,
        per_kv_token_s=times * engine.per_kv_token_s,
    )


def objects(engines: Mapping[str, EngineProfile], prices: Mapping[str, float], target_s: float) -> tuple[Object, ...]:
    """A class that owes a first token, and a pool that may use each of these accelerators, one GPU a node."""
    api, pool, meta = "forebay.dev/v1alpha1", "InferencePool", {"name": "pool", "namespace": "default"}
    batch_class = {"tier": "Interactive", "objectives": {"timeToFirstToken": {"quantile": 0.95, "target": f"{target_s:g}s"}}}
    spec: dict[str, Any] = {
        "model": {"name": "model"},
        "server": {"template": {"spec": {"containers": [{"name": "server", "image": "engine"}]}}},
        "classes": ["default"],
        "profiles": [_profile(name, engine) for name, engine in engines.items()],
        "scaling": {"minReplicas": 1, "maxReplicas": 60},
        "capacity": {"accelerators": [{"name": name, "usdPerHour": {"onDemand": prices[name]}} for name in engines]},
    }
    return (
        {"apiVersion": api, "kind": "BatchClass", "metadata": {"name": "default"}, "spec": {**batch_class, "queue": {"maxWait": "10m"}}},
        {"apiVersion": api, "kind": pool, "metadata": meta, "spec": spec},
    )


def _profile(name: str, engine: EngineProfile) -> dict[str, Any]:
    iteration = {"base": f"{engine.base_s * 1e3:.9f}ms", "perToken": f"{engine.per_token_s * 1e6:.9f}us"}
    iteration["perKvToken"] = f"{engine.per_kv_token_s * 1e9:.9f}ns"
    return {"accelerator": name, "maxConcurrency": engine.max_concurrency, "iteration": iteration}


class Schedule:
    """Knows the load: one mix, and from a moment on another."""

    interval_s = 5.0

    def __init__(self, first: Counts, then: Counts, at_s: float) -> None:
        self.first, self._then, self._at_s = first, then, at_s

    def decide(self, seen: Observation) -> Counts:
        return self._then if seen.now >= self._at_s else self.first


class CostOrdered:
    """WVA's first analyzer with several variants, re-implemented: one more of the cheapest, one fewer of the dearest, once a minute.

    Source: llm-d-workload-variant-autoscaler, saturation_v1. A replica is saturated at 80 % of its KV cache or 5 waiting requests; one is
    added where less than 0.10 of the cache or fewer than 3 waiting requests are spare on average, and taken away where the others would
    have that to spare. Nothing is added while a replica starts. Figures are of a mean replica, where the original looks at each.
    """

    interval_s = 60.0

    def __init__(self, first: Counts, cheapest_first: Sequence[str], cache_tokens: float) -> None:
        self.first = dict(first)
        self._counts, self._order, self._cache_tokens = dict(first), list(cheapest_first), cache_tokens

    def decide(self, seen: Observation) -> Counts:
        if seen.samples and seen.ready:
            now = seen.samples[-1]
            if self._short(now.context_tokens, now.waiting, seen.ready):
                if not seen.starting:
                    self._counts[self._order[0]] += 1
            elif seen.ready > 1 and not self._short(now.context_tokens, now.waiting, seen.ready - 1):
                dearest = next(name for name in reversed(self._order) if self._counts[name])
                self._counts[dearest] -= 1
        return dict(self._counts)

    def _short(self, context_tokens: float, waiting: float, replicas: int) -> bool:
        return 0.8 - context_tokens / replicas / self._cache_tokens < 0.1 or 5.0 - waiting / replicas < 3.0


class Paid:
    """A law, and what its fleet had cost when scoring began."""

    def __init__(self, law: Law, since_s: float) -> None:
        self.interval_s, self._law, self._since_s = law.interval_s, law, since_s
        self.fleet: Fleet | None = None
        self.before_s: dict[str, float] = {}

    def decide(self, seen: Observation) -> int | Counts:
        if self.fleet is not None and not self.before_s and seen.now >= self._since_s:
            self.before_s = replica_seconds(self.fleet.paid_until(self._since_s))
        return self._law.decide(seen)

"""Configuration documents of a gateway: defaults for everything, so that a test shows only what matters to it."""

from __future__ import annotations

from typing import Any

from forebay.api.canonical import short_hash


def a_rule(
    name: str = "default", *, pools: dict[str, int] | None = None, match: dict[str, list[str]] | None = None, **cache: Any
) -> dict[str, Any]:
    route = [{"pool": pool, "weight": weight} for pool, weight in (pools or {"default/chat": 1}).items()]
    exact = {"mode": "Deterministic", "ttlSeconds": 600.0, **cache}
    return {"name": name, "match": match or {}, "route": route, "cache": {"exact": exact}}


def a_policy(name: str = "support", **changes: Any) -> dict[str, Any]:
    policy = {
        "name": name,
        "models": ["support-chat"],
        "tenants": [{"name": "acme", "keys": f"{name}/acme"}],
        "defaultClass": "interactive",
        "rules": [a_rule()],
        "retryBudget": 0.5,
        "timeouts": {"firstByteSeconds": 5.0, "idleSeconds": 5.0},
        **changes,
    }
    return {**policy, "hash": short_hash(policy)}


def a_pool(
    name: str, *, model: str = "engine-model", task: str = "Chat", classes: tuple[str, ...] = ("interactive", "nightly")
) -> dict[str, Any]:
    return {"namespace": "default", "name": name, "service": f"{name}-forebay", "model": model, "task": task, "classes": list(classes)}


def sleepy(pool: dict[str, Any], *, start_s: float = 60.0, wait_s: float = 10.0, most: int = 8) -> dict[str, Any]:
    """The pool as one that may sleep: its requests are held."""
    wait = {"maxWaitSeconds": wait_s, "maxRequests": most}
    return {**pool, "hold": {"startSeconds": start_s, "classes": dict.fromkeys(pool["classes"], wait)}}


def a_document(*policies: dict[str, Any], pools: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    document = {
        "schemaVersion": 1,
        "gateway": {"namespace": "default", "name": "default"},
        "policies": list(policies) or [a_policy()],
        "pools": {f"default/{pool['name']}": pool for pool in pools or [a_pool("chat")]},
        "classes": {
            "interactive": {"tier": "Interactive", "priority": 100, "maxAttempts": 3},
            "steady": {"tier": "NearRealTime", "priority": 50, "maxAttempts": 3},
            "nightly": {"tier": "Deferred", "priority": 0, "maxAttempts": 3},
        },
        **changes,
    }
    return {**document, "hash": short_hash(document)}

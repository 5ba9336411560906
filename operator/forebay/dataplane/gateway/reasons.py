"""Reason codes: why a request went where it went. They stand in `x-decision` and in decision records; scripts match on them."""

from __future__ import annotations

from typing import Final

CLASS_DEFAULT: Final = "class-default"
CLASS_BY_TIER: Final = "class-by-tier"
TIER_NOT_SERVED: Final = "tier-not-served"
CACHE_HIT: Final = "cache-hit"
CACHE_MISS: Final = "cache-miss"
CACHE_COLLAPSED: Final = "cache-collapsed"
CACHE_BYPASS: Final = "cache-bypass"
CACHE_REFUSED_BY_CLIENT: Final = "cache-refused-by-client"
POOL_FAILOVER: Final = "pool-failover"
NO_ENDPOINT: Final = "no-endpoint"
HELD: Final = "held"
HOLD_TIMED_OUT: Final = "hold-timed-out"
HOLD_FULL: Final = "hold-full"
RETRY_CONNECT: Final = "retry-connect"
RETRY_CLOSED: Final = "retry-closed"
RETRY_STATUS: Final = "retry-status"
RETRY_DRAINING: Final = "retry-draining"
RETRY_BUDGET_SPENT: Final = "retry-budget-spent"
ATTEMPTS_SPENT: Final = "attempts-spent"
UPSTREAM_TIMEOUT: Final = "upstream-timeout"
UPSTREAM_FAILED: Final = "upstream-failed"
STREAM_BROKEN: Final = "stream-broken"
CLIENT_GONE: Final = "client-gone"
SHUTDOWN: Final = "shutdown"
REFUSED: Final = "refused"

MEANING: Final[dict[str, str]] = {
    CLASS_DEFAULT: "the request named no tier, so the policy's default class holds",
    CLASS_BY_TIER: "`service_tier` picked the class",
    TIER_NOT_SERVED: "no routed pool serves a class of the tier asked for, so the policy's default class holds",
    CACHE_HIT: "answered from the cache",
    CACHE_MISS: "cacheable, and not in the cache",
    CACHE_COLLAPSED: "joined an identical request that was already under way",
    CACHE_BYPASS: "the rule's cache is not for this request",
    CACHE_REFUSED_BY_CLIENT: "the client sent Cache-Control no-store or no-cache",
    POOL_FAILOVER: "the pool whose turn it was had no usable replica, another pool of the rule answered",
    NO_ENDPOINT: "no pool of the rule has a replica",
    HELD: "the pool sleeps or has just woken, and the request waited for its first replica",
    HOLD_TIMED_OUT: "the first replica did not come within the time that the request may wait",
    HOLD_FULL: "as many requests wait for the pool's first replica as may, of all or of the tenant",
    RETRY_CONNECT: "a replica could not be reached and another was tried",
    RETRY_CLOSED: "a replica hung up before its answer and another was tried",
    RETRY_STATUS: "a replica answered 502, 503, or 429 while draining, and another was tried",
    RETRY_DRAINING: "a replica turned the request away because it is going, and another was asked",
    RETRY_BUDGET_SPENT: "a retry was due, but the policy's retry budget was spent",
    ATTEMPTS_SPENT: "a retry was due, but the class allows no more attempts, or no other replica is left",
    UPSTREAM_TIMEOUT: "the replica did not answer in the policy's time",
    UPSTREAM_FAILED: "the replica's answer failed before its first byte",
    STREAM_BROKEN: "the stream ended without its end",
    CLIENT_GONE: "the client hung up first",
    SHUTDOWN: "the gateway stopped before the answer was whole",
    REFUSED: "refused at the door: path, key, body or model",
}

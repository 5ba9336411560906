"""Brings a request to a replica, and to another one when the first fails before its answer begins.

Nothing is given to the client before the first byte of a stream, or the whole of any other answer, is here: until then another replica
can still answer. Retries are bounded twice, by the class (attempts) and by the policy (budget). A replica that turns a request away
because it is going has cost nobody anything: asking the next one is no retry. When a pool shrinks by several at once, a request may meet
more of them than its class has attempts.
"""

from __future__ import annotations

from collections.abc import Collection

from forebay.dataplane.gateway import metrics, reasons
from forebay.dataplane.gateway.answer import Answer
from forebay.dataplane.gateway.attempt import Call, attempt
from forebay.dataplane.gateway.budget import RetryBudget
from forebay.dataplane.gateway.config import Policy, Pool
from forebay.dataplane.gateway.fleet import Endpoint, Fleet
from forebay.dataplane.gateway.routing import Route
from forebay.dataplane.http.client import Client
from forebay.dataplane.http.errors import error_body

RETRY_AFTER_S = b"5"
"""Told to clients where no replica is there: about as long as a new one takes to be noticed."""


class Upstream:
    """Sends calls to the fleet's replicas."""

    def __init__(self, client: Client, fleet: Fleet) -> None:
        self._client, self._fleet = client, fleet
        self._budgets: dict[str, RetryBudget] = {}

    def keep(self, policies: tuple[Policy, ...]) -> None:
        """Exactly these policies have a budget from now on. One whose ratio did not change keeps what it has saved."""
        before = self._budgets
        self._budgets = {
            policy.name: before[policy.name]
            if policy.name in before and before[policy.name].ratio == policy.retry_budget
            else RetryBudget(policy.retry_budget)
            for policy in policies
        }

    def turn(self, route: Route) -> Pool | None:
        """The pool whose turn it is among those with a usable replica; without any, the first that has at least a replica, or the first."""
        pool = route.spread.pick(self._usable)
        if pool is not None or not route.spread.pools:
            return pool
        pools = [pool for pool, _ in route.spread.pools]
        return next((pool for pool in pools if self._fleet.of(pool).endpoints), pools[0])

    def _usable(self, pool: Pool) -> bool:
        return self._fleet.of(pool).usable(())

    async def answer(self, call: Call) -> Answer:
        """The answer, whatever it is: failures of replicas come back as 502, 503 and 504."""
        budget = self._budgets.get(call.route.policy.name) or RetryBudget(0)
        budget.deposit()
        chosen = self._choose(call, ())
        if chosen is None:
            return _nobody(call)
        codes = [reasons.POOL_FAILOVER] if self._lame(call.route) else []
        tried: list[Endpoint] = []
        attempts = 0
        while True:
            pool, endpoint = chosen
            tried.append(endpoint)
            answer, failure = await attempt(self._client, call, pool, endpoint)
            if not failure:
                break
            attempts += not answer.turned_away
            chosen = self._choose(call, tried) if attempts < call.route.batch_class.max_attempts else None
            if chosen is None:
                codes.append(reasons.ATTEMPTS_SPENT)
                break
            if not answer.turned_away and not budget.withdraw():
                codes.append(reasons.RETRY_BUDGET_SPENT)
                break
            codes.append(failure)
            metrics.RETRIES.labels(failure).inc()
        answer.attempts = len(tried)
        answer.reasons = codes + answer.reasons
        return answer

    def _choose(self, call: Call, tried: Collection[Endpoint]) -> tuple[Pool, Endpoint] | None:
        """A replica that was not tried: of the pool whose turn it is, of another of the rule, and only then one that looks unwell."""
        pool = call.pool
        if pool is None or not self._fleet.of(pool).usable(tried):
            pool = call.route.spread.pick(lambda other: self._fleet.of(other).usable(tried))
        for candidate in (pool,) if pool is not None else [other for other, _ in call.route.spread.pools]:
            endpoint = self._fleet.of(candidate).pick(tried)
            if endpoint is not None:
                return candidate, endpoint
        return None

    def _lame(self, route: Route) -> bool:
        """Whether a pool of several cannot take its share."""
        return len(route.spread.pools) > 1 and not all(self._usable(pool) for pool, _ in route.spread.pools)


def _nobody(call: Call) -> Answer:
    metrics.NO_ENDPOINT.labels(call.pool.key if call.pool is not None else "").inc()
    body = error_body("No replica of this model is ready; try again shortly.", "server_error", "server_is_overloaded")
    return Answer(503, body=body, retry_after=RETRY_AFTER_S, pool=call.pool, reasons=[reasons.NO_ENDPOINT])

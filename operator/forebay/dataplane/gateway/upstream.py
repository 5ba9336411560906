"""Brings a request to a replica, and to another one when the first fails before its answer begins.

Nothing is given to the client before the first byte of a stream, or the whole of any other answer, is here: until then another replica
can still answer. Retries are bounded twice, by the class (attempts) and by the policy (budget). A replica that turns a request away
because it is going has cost nobody anything: asking the next one is no retry. When a pool shrinks by several at once, a request may meet
more of them than its class has attempts. Where it was the last one of a pool that goes to sleep, the request waits for the next; so it
does where none of those that are listed could be reached, and a pool of the rule is woken by requests.
"""

from __future__ import annotations

from collections.abc import Collection

from forebay.dataplane.gateway import metrics, reasons
from forebay.dataplane.gateway.answer import Answer
from forebay.dataplane.gateway.attempt import Call, attempt
from forebay.dataplane.gateway.budget import RetryBudget
from forebay.dataplane.gateway.config import Policy, Pool
from forebay.dataplane.gateway.fleet import Endpoint, Fleet
from forebay.dataplane.gateway.holding import Holding
from forebay.dataplane.gateway.routing import Route
from forebay.dataplane.gateway.stay import Stay
from forebay.dataplane.http.client import Client
from forebay.dataplane.http.errors import error_body

RETRY_AFTER_S = b"5"
"""Told to clients where no replica is there: about as long as a new one takes to be noticed."""

_UNTOUCHED = frozenset((reasons.RETRY_DRAINING, reasons.RETRY_CONNECT))
"""Failures after which no replica has done anything with the request."""


class Upstream:
    """Sends calls to the fleet's replicas."""

    def __init__(self, client: Client, fleet: Fleet, holding: Holding) -> None:
        self._client, self._fleet, self._holding = client, fleet, holding
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
        """The pool whose turn it is among those with a usable replica.

        Without any, the first with a replica that drains, or else that is woken by requests, or that has at least a dead replica, or the
        first. One that sleeps is woken too where others answer in its turn.
        """
        pool, pools = route.spread.pick(self._usable), [pool for pool, _ in route.spread.pools]
        if pool is not None and len(pools) > 1:
            for other in pools:
                if other.hold is not None and not self._fleet.of(other).endpoints:
                    self._holding.pass_over(other)
        if pool is not None or not pools:
            return pool
        listed = next((pool for pool in pools if self._fleet.of(pool).endpoints), pools[0])
        woken = next((pool for pool in pools if pool.hold is not None), listed)
        return next((pool for pool in pools if self._fleet.of(pool).reachable), woken)

    def _usable(self, pool: Pool) -> bool:
        return self._fleet.of(pool).usable(())

    async def answer(self, call: Call) -> Answer:
        """The answer, whatever it is: failures of replicas come back as 502, 503 and 504."""
        budget = self._budgets.get(call.route.policy.name) or RetryBudget(0)
        budget.deposit()
        stay = Stay(self._holding, call)
        answer = await stay.turn() or await self._ask(call, budget, stay)
        if stay.seconds:
            answer.held_ms = round(stay.seconds * 1000, 3)
        return answer

    async def _ask(self, call: Call, budget: RetryBudget, stay: Stay) -> Answer:
        chosen = self._choose(call, (), stay)
        if chosen is None:
            return _nobody(call)
        codes = [reasons.HELD] if stay.seconds else []
        codes += [reasons.POOL_FAILOVER] if self._lame(call.route) else []
        tried: list[Endpoint] = []
        attempts = asked = 0
        while True:
            pool, endpoint = chosen
            tried.append(endpoint)
            asked += 1
            answer, failure = await attempt(self._client, call, pool, endpoint)
            self._holding.release(pool.key)
            if not failure:
                break
            attempts += not answer.turned_away
            again = attempts < call.route.batch_class.max_attempts
            chosen = self._choose(call, tried, stay) if again else None
            waits = again and chosen is None and stay.possible and failure in _UNTOUCHED
            # Before it waits: nobody should wait for a try that is then refused.
            if (chosen is not None or waits) and not answer.turned_away and not budget.withdraw():
                codes.append(reasons.RETRY_BUDGET_SPENT)
                break
            if waits:
                if (refused := await stay.another()) is not None:
                    refused.attempts, refused.reasons = asked, codes + refused.reasons
                    return refused
                codes.append(reasons.HELD)
                tried, chosen = [], self._choose(call, (), stay)
            if chosen is None:
                codes.append(reasons.ATTEMPTS_SPENT)
                break
            codes.append(failure)
            metrics.RETRIES.labels(failure).inc()
        answer.attempts = asked
        answer.reasons = codes + answer.reasons
        return answer

    def _choose(self, call: Call, tried: Collection[Endpoint], stay: Stay) -> tuple[Pool, Endpoint] | None:
        """A replica that was not tried: of the pool whose turn it is, of another of the rule, and only then one that looks unwell.

        One that is taken for dead is not tried by who can wait instead.
        """
        pool = call.pool
        if pool is None or not self._fleet.of(pool).usable(tried):
            pool = call.route.spread.pick(lambda other: self._fleet.of(other).usable(tried))
        for candidate in (pool,) if pool is not None else [other for other, _ in call.route.spread.pools]:
            endpoint = self._fleet.of(candidate).pick(tried)
            if endpoint is not None and (endpoint.healthy or not stay.possible):
                return candidate, endpoint
        return None

    def _lame(self, route: Route) -> bool:
        """Whether a pool of several cannot take its share."""
        return len(route.spread.pools) > 1 and not all(self._usable(pool) for pool, _ in route.spread.pools)


def _nobody(call: Call) -> Answer:
    metrics.NO_ENDPOINT.labels(call.pool.key if call.pool is not None else "").inc()
    body = error_body("No replica of this model is ready; try again shortly.", "server_error", "server_is_overloaded")
    return Answer(503, body=body, retry_after=RETRY_AFTER_S, pool=call.pool, reasons=[reasons.NO_ENDPOINT])

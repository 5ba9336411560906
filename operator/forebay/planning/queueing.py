"""What a request meets on a replica: how many are there already, how many come with it, and whether it must wait for a place.

A model server works in steps, and a step takes longer the more it holds, so a replica is a birth-death chain whose death rate depends on
its occupancy, not a server of fixed speed. With a step time that is linear in what the step holds that chain is a negative binomial, and
all that is asked of it has a closed form. Model, symbols, sources and limits: docs/planning/queueing.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, exp

from forebay.api.inference_pool import Task
from forebay.planning.bursts import Bursts, bursts
from forebay.planning.sharing import EVEN, Router, dispersed
from forebay.planning.tails import Points, gamma_points, gamma_tail, negative_binomial, none_at_all
from forebay.planning.work import EngineProfile, Load, Metric, Promise, Work, clump_size, clumps, mixed, work_of

__all__ = ["EngineProfile", "Load", "Metric", "Occupancy", "Promise", "Work", "mixed", "occupancy", "service_rate", "work_of"]

UNEVEN = 0.3
"""Variance that stays between the in-flight counts of replicas behind a least-loaded router: it evens out arrivals, not departures."""

UNEVEN_SHARE = 0.15
"""Share of replicas that such a router leaves idle although every replica could have a request."""

PROMPT_STEPS = 1.5
"""Steps without prompts that a prompt takes beside its own time: half of the one that it arrives in, and the one that computes it."""

_TINY = 1e-6

_INSTANT_S = 1e-9
"""A step takes at least this long, so that a profile of nothing but zeros divides nothing by zero."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What a request meets on one replica, in counts and rates per replica.

    `idle` is how often an arrival finds an idle replica. `seen` is how many decode on the replica it is sent to otherwise, `own` the mean
    of how many do while it decodes, itself included; a step with n decoding also computes `prompts(n)` prompts on average. `near` is what
    an arrival sees in flight, over the average. `share` is 1 where the router is blind, and 1/replicas where it sends each request to the
    replica with the fewest. `clumping` is the dispersion of a replica's arrivals; above 1, all counts are of clumps of requests.
    Where the router spares prompts it does so for a share `spares` of requests, but for a share `crowded` that finds prompts on every
    replica. `joined` is the rate at which a busy replica gets more.
    """

    clumping: float
    work: Work
    base_s: float
    rate: float
    share: float
    window_s: float
    pipelined: bool
    bursts: Bursts
    fluid: float
    idle: float
    near: float
    seen: Points
    own: float
    own_variance: float
    places: float
    waits: float
    mean_wait_s: float
    spares: float = 0.0
    crowded: float = 1.0
    joined: float = 0.0

    def prompts(self, decoding: float) -> float:
        """Mean number of prompts in a step with so many decoding."""
        work = self.work
        arriving = self.rate * (self.base_s + work.decode_s * decoding)
        if work.decodes <= 0.0:
            return arriving / (1.0 - self.rate * work.prompt_s)
        return self._carried(arriving) + self.bursts.slope * max(0.0, decoding - self.fluid)

    def prompts_over(self, steps: float, decoding: float) -> float:
        """Mean number of prompts in the first steps of an answer, with so many decoding: what came with it echoes soon, not late."""
        arriving = self.joined * (self.base_s + self.work.decode_s * decoding)
        prompts = max(0.05 * steps * arriving, steps * self._carried(arriving) + self.brought(steps) * (decoding - self.fluid))
        # Each of the other places is filled anew once in an answer's time.
        return min(prompts, (self.places - 1.0) * (1.0 + steps / (self.work.decodes + 1.0)))

    def brought(self, steps: float) -> float:
        """Prompts in the first steps of an answer for each one that decodes with it."""
        echo, decodes = self.bursts.echo, self.work.decodes
        return self.bursts.slope * decodes * ((1.0 - echo**steps) / (1.0 - echo**decodes) if echo > 0.0 else 1.0)

    def _carried(self, arriving: float) -> float:
        """Prompts of a step: those who arrive during its like, and those whom the prompts before it brought."""
        return arriving + self.rate * self.work.prompt_s * self.fluid / self.work.decodes

    def wait_miss(self, target_s: float) -> float:
        """P(a request waits longer than this for one of the replica's places)."""
        return self.waits * exp(-max(0.0, target_s) / self.mean_wait_s) if self.waits > 0.0 else 0.0


def service_rate(engine: EngineProfile, work: Work) -> float:
    """Requests per second that a full replica completes, mu(n_max)."""
    n = engine.max_concurrency
    return n / max((work.decodes + 1.0) * engine.base_s + n * work.total_s, 1e-12)


def _waiting(engine: EngineProfile, work: Work, rate: float, share: float) -> tuple[float, float]:
    """P(no place is free), and the mean wait of those who find none, seconds."""
    most, growth = service_rate(engine, work), rate * work.total_s
    shape = min((work.decodes + 1.0) * engine.base_s / max(share * work.total_s, 1e-12), 1e7) + 1.0
    places = engine.max_concurrency / share
    full = negative_binomial(places, shape, growth) / (1.0 - rate / most)
    mean = shape * growth / (1.0 - growth)
    room = 1.0 - gamma_tail(places, mean + 0.5, mean / (1.0 - growth) / (mean + 0.5) ** 2)
    # Equal requests would wait half as long, did they not leave together as they came.
    unequal = max(1.0, 0.5 * (1.0 + max(work.steps_cv2, work.prompt_cv2)))
    return full / (room + full) if full > 0.0 else 0.0, unequal * ((1.0 - share) / most + share / (most - rate))


def _idle(engine: EngineProfile, work: Work, rate: float, share: float) -> float:
    """P(an arrival finds an idle replica): the pool's chain, in which each runs alone while there are fewer requests than replicas."""
    pool, steps_s = 1.0 / share, (work.decodes + 1.0) * engine.base_s
    offered = rate * pool
    # A router that knows only counts leaves some replicas idle while others hold two.
    enough = pool + UNEVEN_SHARE * (pool - 1.0)
    first = int(enough)
    below, term, n = 0.0, 1.0, first
    while n > 0 and (term > _TINY * below or n > offered * (steps_s + work.total_s)):
        term *= n / (offered * (steps_s + work.total_s * max(1.0, n / pool)))
        below += term
        n -= 1
    above, term, n = 1.0, 1.0, first
    while _TINY * above < below + 1.0:
        n += 1
        growth = offered * (steps_s + work.total_s * max(1.0, n / pool)) / n
        term *= growth
        above += term
        if growth < 1.0 and term < _TINY * above:
            return min(1.0, (below + enough - first) / (below + above))
    return 0.0


def _alone(engine: EngineProfile, work: Work, rate: float) -> float:
    """Mean number in flight on a replica, if none ever met another."""
    return rate * ((work.decodes + 1.0) * engine.base_s + work.total_s)


def _joined(engine: EngineProfile, work: Work, rate: float, idle: float) -> float:
    """The rate at which a busy replica gets company: less than its own where arrivals find an idle one instead."""
    busy = min(1.0, _alone(engine, work, rate))
    return rate * min(1.0, (1.0 - idle) / busy) if busy > 0.0 else 0.0


def _in_flight(engine: EngineProfile, work: Work, rate: float, share: float, window_s: float) -> tuple[float, float]:
    """Mean number in flight on a replica, and as an arrival finds it where the router sends it."""
    steps_s, load = (work.decodes + 1.0) * engine.base_s, rate * work.total_s
    alone = _alone(engine, work, rate)
    even = max(alone, rate * (steps_s + 0.5 * engine.base_s) / (1.0 - load))
    mean = even + share * max(0.0, (alone + rate * window_s) / (1.0 - load) - even)
    # A least-loaded router fills the hole that a departure has just left: an arrival finds one fewer than there are on average.
    return mean, mean - (1.0 - share) * min(1.0, mean)


def _decoding(engine: EngineProfile, work: Work, rate: float, burst: Bursts) -> tuple[float, float, float]:
    """Numbers decoding on a replica: if all were even, the mean of a replica that stands alone, and variance over mean."""
    k, d, base_s = work.decodes, work.decode_s, engine.base_s
    prefill, load = rate * work.prompt_s, rate * work.total_s
    thinned = (1.0 - load) / (1.0 - prefill)
    even = rate * k * base_s / (1.0 - load)
    came_along = work.prompt_s * burst.covariance * (1.0 + work.prompt_cv2)
    single = rate * (k * (base_s + d) / (1.0 - prefill) + came_along) / thinned
    return even, single, burst.clumping / thinned


def _seen(mean: float, variance: float, places: float, busy: float, prompts_only: float) -> Points:
    """How many decode on the replica that an arrival is sent to, where that replica is busy: some, or none and it has prompts only."""
    if mean <= 1e-9:
        return [(0.0, busy)]
    none = none_at_all(mean, variance / mean)
    some = min(busy, max(1.0 - none, busy - prompts_only))
    mean_some, square = mean / (1.0 - none), (variance + mean * mean) / (1.0 - none)
    points = gamma_points(mean_some - 1.0, max(0.0, square - mean_some * mean_some))
    return [(0.0, busy - some), *((min(1.0 + n, places), some * weight) for n, weight in points)]


def _own(even: float, level: float, dispersion: float, share: float) -> tuple[float, float]:
    """Mean and variance of how many decode where a request does, itself included: it is met more often where there are many."""
    together = share * even + (1.0 - share) * level
    mean = together + share * (dispersion - 1.0) + 1.0 - (1.0 - share) * min(1.0, together)
    return mean, share * (even + dispersion - 1.0) * dispersion + UNEVEN * (1.0 - share) * min(1.0, mean - 1.0)


def _prompts_only(engine: EngineProfile, work: Work, rate: float, share: float, idle: float) -> float:
    """How often an arrival meets a replica that is busy with prompts while none decode there: then it is idle for the rest of the time."""
    prefilling = rate * (engine.base_s + work.prompt_s) / (1.0 - rate * work.prompt_s)
    standing = min(idle, share * idle + (1.0 - share) * (1.0 - min(1.0, _alone(engine, work, rate))))
    return standing * prefilling / (1.0 - prefilling) if prefilling < 1.0 else 1.0


def _crowded(engine: EngineProfile, work: Work, rate: float, share: float, decoding: float) -> float:
    """P(every replica has a prompt that waits or is computed), as an arrival finds it: a queue with as many servers, Erlang's C."""
    plain_s = engine.base_s + work.decode_s * decoding
    servers, offered = int(1.0 / share + _TINY), rate * (work.prompt_s + PROMPT_STEPS * plain_s)
    if offered >= 1.0:
        return 1.0
    lost = 1.0
    for number in range(1, servers + 1):
        lost = lost * offered * servers / (number + lost * offered * servers)
    return lost / (1.0 - offered * (1.0 - lost))


def _in_clumps(work: Work, engine: EngineProfile, rate: float, clumping: float) -> tuple[Work, EngineProfile, float]:
    """The same replica with clumps of requests in place of requests."""
    size = clump_size(clumping)
    return clumps(work, clumping), replace(engine, max_concurrency=ceil(engine.max_concurrency / size)), rate / size


def occupancy(
    work: Work,
    engine: EngineProfile,
    pool_rate: float,
    replicas: int,
    router: Router = EVEN,
    window_s: float = 0.0,
    dispersion: float = 1.0,
) -> Occupancy | None:
    """The state of each of `replicas` that share `pool_rate` requests/s of this work; None where they cannot keep up.

    `dispersion` says how much arrivals at the pool clump: the variance of their counts over the mean, at least 1.
    """
    if engine.base_s < _INSTANT_S:
        engine = replace(engine, base_s=_INSTANT_S)
    rate = pool_rate / replicas
    if rate >= service_rate(engine, work):
        return None
    share, clumping = dispersed(replicas, router.efficiency, dispersion)
    if clumping > 1.0:
        work, engine, rate = _in_clumps(work, engine, rate, clumping)
    flight, met = _in_flight(engine, work, rate, share, window_s)
    idle = _idle(engine, work, rate, share) if rate > 0.0 else 1.0
    joined = _joined(engine, work, rate, idle)
    burst = bursts(work, joined * work.prompt_s)
    near = min(1.0, max(met, 1.0 - idle) / flight) if flight > 0.0 else 1.0
    even, single, dispersion = _decoding(engine, work, rate, burst)
    level = max(even, rate * work.decodes * (engine.base_s + work.decode_s))
    decoding = level + share * (single - level)
    own, own_variance = _own(even, level, dispersion, share)
    waits, mean_wait_s = _waiting(engine, work, rate, share)
    places = float(engine.max_concurrency)
    seen_spread = share * decoding * dispersion + UNEVEN * (1.0 - share) * min(1.0, near * decoding)
    return Occupancy(
        clumping=clumping,
        work=work,
        base_s=engine.base_s,
        rate=rate,
        share=share,
        window_s=window_s,
        pipelined=engine.task is Task.EMBEDDINGS,
        bursts=burst,
        fluid=even,
        idle=idle,
        near=near,
        seen=_seen(near * decoding, seen_spread, places, 1.0 - idle, _prompts_only(engine, work, rate, share, idle)),
        own=min(own, places),
        own_variance=own_variance,
        places=places,
        waits=waits,
        mean_wait_s=mean_wait_s,
        joined=share * rate + (1.0 - share) * joined,
        spares=router.spares,
        crowded=_crowded(engine, work, rate, share, own) if router.spares > 0.0 else 1.0,
    )

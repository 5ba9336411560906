"""How often a request misses a latency target, given what it meets on its replica. Promises are about tails, so no mean is compared.

Model and symbols: docs/planning/queueing.md.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp

from forebay.planning.queueing import Occupancy
from forebay.planning.tails import FEW, NEGLIGIBLE, count_points, cube_root, gamma_points, gamma_tail, gamma_tail_of_either
from forebay.planning.work import Metric, Work, among_clump

STEADY = 0.85
"""Deviation of the occupancy averaged over an answer's life, as a share of its deviation at one moment."""

_PLACES = (0.21132486540518713, 0.7886751345948129)
"""Gauss-Legendre points of where in a step a request arrives; both weigh the same."""


def miss(state: Occupancy, own: Work, metric: Metric, target_s: float) -> float:
    """P(a request of `own` work takes longer than `target_s`, in the metric's sense)."""
    return _miss(state, own, metric, target_s, _first_token)


def miss_at_most(state: Occupancy, own: Work, metric: Metric, target_s: float) -> float:
    """A bound of `miss`, to within a hundredth of it, in a fraction of its time. Most pools are far from their promises."""
    return _miss(state, own, metric, target_s, _first_token_at_most)


def _miss(state: Occupancy, own: Work, metric: Metric, target_s: float, first_token: Callable[[Occupancy, Work, float], float]) -> float:
    if state.clumping > 1.0:
        own = among_clump(own, state.clumping)
    if metric == "interTokenLatency":
        return _between_tokens(state, own, target_s)
    if metric == "endToEnd" and own.decodes > 0.0:
        # An answer ends no sooner after its first token than on a replica of its own.
        rest_s = own.decodes * (state.base_s + own.decode_s)
        placed = max(_whole(state, own, target_s), first_token(state, own, target_s - rest_s))
        return _after_wait(state, own, own.decodes + 1.0, target_s, placed)
    return _after_wait(state, own, 1.0, target_s, first_token(state, own, target_s))


def _after_wait(state: Occupancy, own: Work, steps: float, target_s: float, placed: float) -> float:
    """Adds the wait for a place. Whoever finds one misses with probability `placed`; who does not has a full replica before it."""
    if state.waits <= 0.0:
        return placed
    full_step_s = state.base_s + state.places * state.work.total_s / (state.work.decodes + 1.0)
    full_s = 2.5 * full_step_s if state.pipelined else own.prompt_s + steps * full_step_s
    return (1.0 - state.waits) * placed + state.wait_miss(target_s - full_s)


# first token


def _first_token(state: Occupancy, own: Work, target_s: float) -> float:
    """An idle replica starts at once, or after the window; on any other a request arrives within a step and is computed in the next."""
    busy = sum(weight * _joining(state, own, decoding, target_s) for decoding, weight in state.seen if weight > 0.0)
    return _if_idle(state, own, target_s) + busy


def _first_token_at_most(state: Occupancy, own: Work, target_s: float) -> float:
    """The same, with as many misses where fewer decode as where the second most do, and nothing but misses where the most do."""
    if len(state.seen) < 4:
        return _first_token(state, own, target_s)
    (prompts_only, first), *others, (second, weight), (_, missed) = state.seen
    found = _if_idle(state, own, target_s) + missed
    if first > 0.0:
        found += first * _joining(state, own, prompts_only, target_s)
    return found + (weight + sum(w for _, w in others)) * _joining(state, own, second, target_s)


def _if_idle(state: Occupancy, own: Work, target_s: float) -> float:
    """P(the replica is idle, and the request misses all the same)."""
    alone = sum(
        weight * _prompts_over(target_s - state.base_s - state.window_s, own, state.work, count)
        for count, weight in count_points(state.rate * state.window_s, 1.0)
    )
    return state.idle * alone


def _joining(state: Occupancy, own: Work, decoding: float, target_s: float) -> float:
    """P(miss) where so many decode and a step is under way. A long step is met more often than a short one."""
    work = state.work
    plain_s = state.base_s + work.decode_s * decoding
    prompts = state.prompts(decoding)
    mean_s = plain_s + work.prompt_s * prompts
    # Unequal prompts are taken as fewer, longer ones of the same mean and variance.
    lump = 1.0 + work.prompt_cv2
    dispersion = (state.bursts.dispersion + work.prompt_cv2) / lump
    missed = seen = spared = spare = 0.0
    # Rare long steps are met often, so they must not be cut off.
    for count, weight in count_points(prompts / lump, dispersion, 0.2 * NEGLIGIBLE):
        if count == 0.0 and decoding <= 0.0:
            # A step that decodes nothing has a prompt.
            continue
        step_s = plain_s + work.prompt_s * lump * count
        if weight * step_s > 0.1 * NEGLIGIBLE * mean_s:
            next_s = plain_s + work.decode_s * count * lump
            late = weight * step_s * _next_step(state, own, max(step_s, state.window_s), mean_s, next_s, target_s)
            seen, missed = seen + weight * step_s, missed + late
            if count == 0.0:
                spare, spared = weight * step_s, late
    if state.spares <= 0.0 or seen <= 0.0:
        return missed / seen if seen > 0.0 else 0.0
    return _sparing(state, own, plain_s, target_s, (seen, missed), (spare, spared))


def _sparing(state: Occupancy, own: Work, plain_s: float, target_s: float, steps: tuple[float, float], plain: tuple[float, float]) -> float:
    """P(miss) where the router spares prompts. Of all steps and of those without prompts is given how often they are met, and missed in."""
    (seen, missed), (spare, spared) = steps, plain
    by_chance = 1.0 - spare / seen
    met = (1.0 - state.spares) * by_chance + state.spares * min(by_chance, state.crowded)
    with_prompts = (missed - spared) / (seen - spare) if seen > spare else 0.0
    # Nobody is sent after it before its prompt is computed, unless there is one everywhere.
    alone = _in_step(state, own, plain_s, plain_s, target_s - plain_s, kept=1.0 - state.spares)
    return met * with_prompts + (1.0 - met) * alone


def _next_step(state: Occupancy, own: Work, step_s: float, mean_s: float, next_s: float, target_s: float) -> float:
    """P(miss) of a request that arrives anywhere in a step of `step_s`; the next one, without prompts, takes `next_s`."""
    if not state.pipelined:
        return _in_step(state, own, step_s, mean_s, target_s - next_s)
    # The sidecar has a batch ready before the engine is free: who comes after it was formed waits for that one too.
    formed = 1.0 - exp(-state.rate * max(0.0, step_s - state.window_s))
    slack_s = target_s - next_s
    at_once, later = (_in_step(state, own, step_s, mean_s, slack) for slack in (slack_s, slack_s - mean_s))
    return (1.0 - formed) * at_once + formed * later


def _in_step(state: Occupancy, own: Work, step_s: float, mean_s: float, slack_s: float, kept: float = 1.0) -> float:
    """P(what is left of a step, the own prompt and those of whoever comes along together take more than the slack).

    Of those who would come along a share is `kept`.
    """
    work = state.work
    together_s = state.share * step_s + (1.0 - state.share) * max(mean_s, state.window_s) * state.near
    company = kept * min(state.rate * together_s, state.places - 1.0)
    # The hole that a router fills was left when the step began, the sooner the more arrive: the start of a step is met more often.
    shift = 0.5 * (1.0 - state.share) * (1.0 - exp(-state.rate * mean_s))
    least_s, range_s = shift * step_s, (1.0 - shift) * step_s
    each_s, missed = work.prompt_s, 0.0
    if own.prompt_cv2 + work.prompt_cv2 < 1e-9:
        for count, weight in count_points(company, 1.0):
            late_s = step_s - slack_s + own.prompt_s + count * each_s
            if late_s > 0.0:
                missed += weight * (late_s / range_s if late_s < range_s else 1.0)
        return missed
    near, far = cube_root(slack_s - least_s - _PLACES[0] * range_s), cube_root(slack_s - least_s - _PLACES[1] * range_s)
    own2, each2 = own.prompt_s**2 * own.prompt_cv2, each_s * each_s * work.prompt_cv2
    for count, weight in count_points(company, 1.0):
        mean = own.prompt_s + count * each_s
        cv2 = (own2 + count * each2) / (mean * mean)
        missed += weight * gamma_tail_of_either(near, far, mean, cv2)
    return missed


def _prompts_over(x: float, own: Work, others: Work, count: float) -> float:
    """P(the own prompt and `count` of the others' together take more than x seconds)."""
    mean = own.prompt_s + count * others.prompt_s
    if mean <= 0.0:
        return 1.0 if x < 0.0 else 0.0
    return gamma_tail(x, mean, (own.prompt_s**2 * own.prompt_cv2 + count * others.prompt_s**2 * others.prompt_cv2) / (mean * mean))


# the tokens after it


def _decoding(state: Occupancy, own: Work, steps: float) -> tuple[float, float, float, float]:
    """Of the first steps of an answer: their time without prompts and its variance, and the mean and dispersion of prompts in them."""
    work, mean = state.work, state.own
    variance = (STEADY * STEADY) * state.own_variance
    prompts = state.prompts_over(steps, mean)
    per_decoding = state.rate * work.decode_s * steps + state.brought(steps)
    plain_s, each_s = steps * (state.base_s + own.decode_s + work.decode_s * (mean - 1.0)), steps * work.decode_s
    # More that decode also means more prompts: the part of the variance that both share is counted once, here.
    together = (each_s * each_s + 2.0 * each_s * per_decoding * work.prompt_s) * variance
    return plain_s, together, prompts, state.bursts.clumping + (per_decoding**2 * variance / prompts if prompts > 0.0 else 0.0)


def _over(target_s: float, fixed_s: float, variance: float, prompts: float, dispersion: float, work: Work) -> float:
    """P(a fixed time and the time of a random number of prompts together exceed the target). Variances in square seconds."""
    one2 = work.prompt_s * work.prompt_s
    if prompts > FEW:
        mean_s = fixed_s + prompts * work.prompt_s
        return gamma_tail(target_s, mean_s, (variance + prompts * one2 * (dispersion + work.prompt_cv2)) / (mean_s * mean_s))
    missed = 0.0
    for count, weight in count_points(prompts, dispersion):
        mean_s = fixed_s + count * work.prompt_s
        missed += weight * gamma_tail(target_s, mean_s, (variance + count * one2 * work.prompt_cv2) / (mean_s * mean_s))
    return missed


def _between_tokens(state: Occupancy, own: Work, target_s: float) -> float:
    """The mean time between the tokens of one answer, as the sidecar measures it. It varies most where answers are short."""
    if own.decodes <= 0.0:
        return 0.0
    lengths = gamma_points(own.decodes, own.steps_cv2 * (own.decodes + 1.0) ** 2) if own.steps_cv2 > 0.0 else [(own.decodes, 1.0)]
    missed = 0.0
    for length, weight in lengths:
        steps = max(1.0, length)
        missed += weight * _over(steps * target_s, *_decoding(state, own, steps), state.work)
    return missed


def _whole(state: Occupancy, own: Work, target_s: float) -> float:
    """From arrival to the last token: the rest of the current step, the own prompt's step, and one for each further token."""
    plain_s, variance, prompts, dispersion = _decoding(state, own, own.decodes)
    busy = 1.0 - state.idle
    seen = sum(weight * decoding for decoding, weight in state.seen) / busy if busy > 0.0 else 0.0
    others_s, per_step = state.work.decode_s * seen, state.prompts(seen)
    step_s = state.base_s + others_s + state.work.prompt_s * per_step
    uneven = state.work.prompt_s**2 * per_step * (state.bursts.dispersion + state.work.prompt_cv2)
    met_s = step_s + state.share * uneven / step_s
    gap_s = (plain_s + prompts * state.work.prompt_s) / own.decodes
    # A longer step is waited for longer, and brings more company.
    started = busy * (met_s * met_s / 12.0 + uneven * (0.5 + state.rate * state.work.prompt_s) ** 2)
    variance += own.prompt_s**2 * own.prompt_cv2 + started + own.steps_cv2 * ((own.decodes + 1.0) * gap_s) ** 2
    # Of an idle replica nobody decodes in the step of the own prompt.
    variance += busy * state.idle * others_s * others_s
    fixed_s = 0.5 * busy * met_s + state.base_s + busy * others_s + own.prompt_s + plain_s
    return _over(target_s, fixed_s, variance, busy * state.rate * met_s + prompts, dispersion, state.work)

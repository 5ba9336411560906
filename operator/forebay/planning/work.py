"""What is asked of a pool and how fast its replicas are, and from both what one request costs a step of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from forebay.api.inference_pool import Task

_INSTANT_S = 1e-12
"""A prompt takes at least this long, so that a profile of nothing but zeros divides nothing by zero."""

Metric = Literal["timeToFirstToken", "interTokenLatency", "endToEnd"]


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """A replica's speed: seconds per step, per token computed in it, per token of context held; and how many requests it works on."""

    base_s: float
    per_token_s: float
    per_kv_token_s: float
    max_concurrency: int
    task: Task = Task.CHAT


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: requests per second of the whole pool, and mean tokens per request.

    The coefficients of variation say how unequal requests are: 0 is all alike, 1 is as unequal as a geometric distribution.
    `dispersion` says how much arrivals clump: the variance of their counts over the mean, 1 for a Poisson process.
    """

    requests_per_s: float
    input_tokens: float
    output_tokens: float
    input_cv: float = 0.0
    output_cv: float = 0.0
    dispersion: float = 1.0


@dataclass(frozen=True, slots=True)
class Promise:
    """A tail promise: `quantile` of requests see at most `target_s` seconds of `metric`."""

    metric: Metric
    quantile: float
    target_s: float


@dataclass(frozen=True, slots=True)
class Work:
    """What one request costs on average: its prompt in one step, and then a token in each of `decodes` further steps.

    Seconds are what the request adds to a step; `*_cv2` are squared coefficients of variation.
    """

    prompt_s: float
    decode_s: float
    decodes: float
    prompt_cv2: float
    steps_cv2: float

    @property
    def total_s(self) -> float:
        """Seconds of steps that one request adds, besides their fixed time."""
        return self.prompt_s + self.decodes * self.decode_s


def work_of(load: Load, engine: EngineProfile) -> Work:
    """The work of one request of this load. For embeddings a request is one input of a batch and has no tokens to decode."""
    tokens = max(load.input_tokens, 1.0)
    if engine.task is Task.EMBEDDINGS:
        return Work(max(engine.per_token_s * tokens, _INSTANT_S), 0.0, 0.0, load.input_cv**2, 0.0)
    steps, cv2 = max(load.output_tokens, 1.0), load.output_cv**2
    decodes = steps - 1.0 if steps > 1.001 else 0.0
    # Of two requests that are seen decoding, the longer one is seen more often, hence the second moment.
    context = tokens + (((1.0 + cv2) * steps * steps - steps) / (2.0 * decodes) if decodes > 0.0 else 0.0)
    return Work(
        prompt_s=max((engine.per_token_s + engine.per_kv_token_s) * tokens, _INSTANT_S),
        decode_s=engine.per_token_s + engine.per_kv_token_s * context,
        decodes=decodes,
        prompt_cv2=load.input_cv**2,
        steps_cv2=cv2,
    )


def mixed(shares: list[tuple[float, Work]]) -> Work:
    """The work of requests of several kinds in one queue, each with its rate. Differences between kinds count as spread."""
    total = sum(rate for rate, _ in shares)
    if total <= 0.0:
        shares, total = [(1.0, work) for _, work in shares], float(len(shares))
    if len(shares) == 1:
        return shares[0][1]
    prompt = sum(rate * w.prompt_s for rate, w in shares) / total
    decodes = sum(rate * w.decodes for rate, w in shares) / total
    prompt2 = sum(rate * w.prompt_s**2 * (1.0 + w.prompt_cv2) for rate, w in shares) / total
    steps2 = sum(rate * (w.decodes + 1.0) ** 2 * (1.0 + w.steps_cv2) for rate, w in shares) / total
    return Work(
        prompt_s=prompt,
        decode_s=sum(rate * w.decodes * w.decode_s for rate, w in shares) / (total * decodes) if decodes > 0.0 else 0.0,
        decodes=decodes,
        prompt_cv2=max(0.0, prompt2 / prompt**2 - 1.0),
        steps_cv2=max(0.0, steps2 / (decodes + 1.0) ** 2 - 1.0),
    )


def mixed_on(loads: Sequence[Load], engine: EngineProfile) -> Work:
    """The work of these loads together on one kind of replica."""
    return mixed([(load.requests_per_s, work_of(load, engine)) for load in loads])


def dispersion_of(loads: Sequence[Load]) -> float:
    """Of all their arrivals, at least 1. Classes arrive apart from each other, so their variances add up."""
    rate = sum(load.requests_per_s for load in loads)
    return max(1.0, sum(load.requests_per_s * load.dispersion for load in loads) / rate) if rate > 0.0 else 1.0


def clumps(work: Work, dispersion: float) -> Work:
    """The work of a clump of requests that arrive together; `dispersion` is that of arrivals at one replica, at least 1.

    Clumps arrive as a Poisson process and hold a geometric number of requests, m on average. Counts of such arrivals have the dispersion
    2m - 1 (compound Poisson: E[N^2] / E[N]).
    """
    size = clump_size(dispersion)
    return replace(
        work,
        prompt_s=size * work.prompt_s,
        decode_s=size * work.decode_s,
        prompt_cv2=(work.prompt_cv2 + size - 1.0) / size,
    )


def among_clump(own: Work, dispersion: float) -> Work:
    """What a request waits for in its own clump, itself included: a larger clump has more who see it, so this is 2m - 1 on average."""
    size = clump_size(dispersion)
    met = 2.0 * size - 1.0
    return replace(
        own,
        prompt_s=met * own.prompt_s,
        decode_s=met * own.decode_s,
        prompt_cv2=own.prompt_cv2 / met + 2.0 * size * (size - 1.0) / (met * met),
    )


def clump_size(dispersion: float) -> float:
    """Mean number of requests in a clump."""
    return 0.5 * (dispersion + 1.0)

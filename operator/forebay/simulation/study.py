"""What a folder of resources would have done with a workload: one pool's operator, its fleet and what came of it, as one document."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf

from forebay.adapters.cluster import Object
from forebay.adapters.decisions import DecisionLog
from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec, Task
from forebay.planning.capacity import capacity_rps
from forebay.planning.snapshot import SPOT
from forebay.planning.target import promises
from forebay.planning.variants import Variant, engine_profile
from forebay.planning.work import EngineProfile, Load
from forebay.reconcile.held import EVERY_S
from forebay.runtime.errors import ForebayError, UsageError
from forebay.simulation.batches import BatchingReplica
from forebay.simulation.figures import (
    Document,
    classes_of,
    events_of,
    objectives,
    prices_of,
    problems_of,
    requests_of,
    tenants_of,
    usd_of,
)
from forebay.simulation.fleet import Fleet
from forebay.simulation.fortune import NOTHING, Fortune, befall
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.outcome import Outcome
from forebay.simulation.queues import Rule
from forebay.simulation.replica import Replica
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup
from forebay.simulation.timeline import timeline

TELL_EVERY, TELL_EVERY_S = 500, 60.0
"""Progress is told every so many requests, and where they are rare every so many seconds of the virtual clock."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is simulated. Start times are drawn around `start_s`: `start_spread` is their coefficient of variation."""

    objects: tuple[Object, ...]
    namespace: str
    pool: str
    start_s: float = 110.0
    start_spread: float = 0.0
    interval_s: float = 15.0
    seed: int = 1
    fortune: Fortune = NOTHING
    slower: Mapping[str, float] = field(default_factory=dict)
    """By accelerator, how many times as long as its profile declares a step really takes."""
    decisions: DecisionLog | None = None
    """Where decision records go, as an operator writes them."""


def study(asked: Asked, workload: Iterable[Request], progress: Callable[[float, int], None] = lambda at_s, requests: None) -> Document:
    """Runs the pool's operator over the workload; `progress` hears the virtual time and the number of requests now and then.

    Raises:
        ForebayError: the pool cannot be simulated, or the workload cannot be read.
    """
    operator = SimulatedOperator(asked.objects, asked.namespace, asked.pool, asked.interval_s, asked.start_s, asked.decisions)
    try:
        variants = {name: v for name, v in operator.variants().items() if v.profile}
        has_classes(operator, asked)
        if not variants:
            raise ForebayError(f"pool {asked.namespace}/{asked.pool} has no profile of a listed accelerator: there is no speed to simulate")
        if asked.fortune.of_spot and not operator.spec.capacity.spot.enabled:
            raise UsageError(f"pool {asked.namespace}/{asked.pool} has no spot nodes: set capacity.spot.enabled, or leave --spot-* out")
        profiles = {name: engine_of(asked, operator.spec, v) for name, v in variants.items() if v.profile}
        fleet = Fleet(profiles, starts(asked), operator.counts(), replicas_of(operator), rules(operator.classes()))
        operator.attach(fleet)
        bounds = operator.spec.scaling
        first = next(iter(profiles.values()))
        setup = Setup(
            first, asked.start_s, bounds.min_replicas, bounds.max_replicas, 0,
            sample_s=min(5.0, asked.interval_s), by_class=True, wake_s=inf if bounds.min_replicas else EVERY_S, hold=operator.hold,
        )  # fmt: skip
        run = Run(setup, operator, fleet)
        befall(run, asked.fortune, [name for name, v in variants.items() if v.capacity_type == SPOT], asked.seed)
        outcome = run.through(watched(workload, operator, progress))
        return _document(asked, operator, outcome, first)
    finally:
        operator.close()


def has_classes(operator: SimulatedOperator, asked: Asked) -> None:
    """Raises ForebayError where a class that the pool serves is not among the resources: of its requests nothing would be known."""
    known = operator.classes()
    if missing := [name for name in operator.spec.classes if name not in known]:
        names = ", ".join(missing)
        raise ForebayError(
            f"pool {asked.namespace}/{asked.pool} serves {names}, and there is no such BatchClass: add it, or correct the name"
        )


def replicas_of(operator: SimulatedOperator) -> Callable[..., Replica]:
    """What makes the pool's replicas: for embeddings the sidecar forms batches, a language model's server batches by itself."""
    if operator.spec.model.task is not Task.EMBEDDINGS:
        return Replica
    return partial(BatchingReplica, batching={name: spec.batching for name, spec in operator.classes().items()})


def rules(classes: Mapping[str, BatchClassSpec]) -> dict[str, Rule]:
    """What the classes say of queues and retries."""
    return {name: Rule(spec.priority, spec.queue.max_depth, spec.queue.max_wait, spec.retry.max_attempts) for name, spec in classes.items()}


def engine_of(asked: Asked, spec: InferencePoolSpec, variant: Variant) -> EngineProfile:
    """What a replica of this variant, which has a profile, really does."""
    assert variant.profile is not None and variant.accelerator is not None
    declared, factor = engine_profile(spec, variant.profile), asked.slower.get(variant.accelerator.name, 1.0)
    times = factor * declared.base_s, factor * declared.per_token_s, factor * declared.per_kv_token_s
    return EngineProfile(*times, declared.max_concurrency, declared.task)


def starts(asked: Asked) -> Callable[[str], float]:
    """How long the next replica takes to start, drawn by the seed."""
    chance = random.Random(asked.seed)
    if asked.start_spread <= 0.0:
        return lambda _: asked.start_s
    shape = 1.0 / asked.start_spread**2
    return lambda _: max(0.001, asked.start_s * chance.gammavariate(shape, 1.0 / shape))


def watched(workload: Iterable[Request], operator: SimulatedOperator, progress: Callable[[float, int], None]) -> Iterator[Request]:
    """The workload with the waits of its classes."""
    max_wait_s, told_s = {name: spec.queue.max_wait for name, spec in operator.classes().items()}, -inf
    for number, request in enumerate(workload):
        request.gives_up_at = request.arrived + max_wait_s[request.batch_class]
        if number % TELL_EVERY == 0 or request.arrived - told_s >= TELL_EVERY_S:
            told_s = request.arrived
            progress(told_s, number)
        yield request


def _document(asked: Asked, operator: SimulatedOperator, outcome: Outcome, profile: EngineProfile) -> Document:
    answered = max(1, len(outcome.arrived))
    hours = {name: seconds / 3600.0 for name, seconds in sorted(outcome.paid_s.items())}
    usd = {name: usd_of(operator, name, counts_s) for name, counts_s in outcome.counts_s.items()}
    return {
        "schemaVersion": 1,
        "pool": f"{asked.namespace}/{asked.pool}",
        "task": operator.spec.model.task.value,
        "seed": asked.seed,
        "startSeconds": asked.start_s,
        "seconds": round(outcome.span_s, 3),
        "requests": requests_of(outcome),
        "classes": classes_of(operator, outcome),
        "tenants": tenants_of(outcome, operator.classes()),
        "meanTokens": {"input": round(outcome.input_tokens / answered, 2), "output": round(outcome.output_tokens / answered, 2)},
        "objectives": [row for name, spec in sorted(operator.classes().items()) for row in objectives(name, spec, outcome)],
        "replicas": {
            "mean": round(outcome.replicas_mean, 4),
            "most": max((n for _, _, n in outcome.replicas), default=0),
            "hours": {name: round(count, 4) for name, count in hours.items()},
        },
        "usd": None if any(v is None for v in usd.values()) else round(sum(v or 0.0 for v in usd.values()), 4),
        "events": events_of(outcome),
        "timeline": timeline(outcome, operator.course, prices_of(operator), _one_holds(operator, profile, outcome)),
        "decisions": operator.course.changes,
        "profiles": operator.status().get("profiles", []),
        "conditions": operator.status().get("conditions", []),
        "problems": problems_of(operator.course),
    }


def _one_holds(operator: SimulatedOperator, profile: EngineProfile, outcome: Outcome) -> float:
    """Prompt tokens/s that one replica alone holds within every promise, by the sizing, for requests like the mean one; 0 where none."""
    answered = max(1, len(outcome.arrived))
    mean = Load(0.0, outcome.input_tokens / answered, outcome.output_tokens / answered)
    promised = tuple(promise for spec in operator.classes().values() for promise in promises(spec))
    return capacity_rps(mean, profile, promised) * mean.input_tokens

"""The same workload under a peer's law, as it is shipped: one kind of replica, on-demand, of the pool's first profile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf, isfinite

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import InferencePoolSpec, Task
from forebay.planning.limits import bill
from forebay.planning.snapshot import ON_DEMAND
from forebay.planning.target import promises
from forebay.planning.variants import Variant, engine_profile
from forebay.runtime.errors import UsageError
from forebay.simulation.figures import Document, objectives, requests_of, usd_of
from forebay.simulation.fleet import Fleet
from forebay.simulation.fortune import befall
from forebay.simulation.laws.registry import Known, shipped
from forebay.simulation.laws.static import Static
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup
from forebay.simulation.score import Objective
from forebay.simulation.study import Asked, engine_of, has_classes, replicas_of, rules, starts, watched


def compared(
    asked: Asked, name: str, workload: Iterable[Request], means: tuple[float, float], progress: Callable[[float, int], None]
) -> Document:
    """What the law came to. `means` are the tokens of a request, which some laws are told, as they are told the profile. An embedding
    has the one output token of its answer there, as in what laws measure (laws/measured.py).

    Raises:
        UsageError: there is no such law, or the pool may not have as many replicas.
        ForebayError: as for a study.
    """
    operator = SimulatedOperator(asked.objects, asked.namespace, asked.pool, asked.interval_s)
    try:
        has_classes(operator, asked)
        variant = next(v for v in operator.variants().values() if v.capacity_type == ON_DEMAND and v.profile is not None)
        assert variant.profile is not None
        engine = engine_profile(operator.spec, variant.profile)
        outputs = max(1.0, means[1])
        law = shipped(name, Known(engine, _objective(operator.classes(), engine.task, outputs), means[0], outputs))
        most, first = _most(operator.spec, variant), operator.spec.scaling.min_replicas
        if isinstance(law, Static):
            first = law.replicas
            if first > most:
                raise UsageError(f"{name}: pool {asked.namespace}/{asked.pool} may have {most} replicas, by maxReplicas and nodes.limits")
        real = engine_of(asked, operator.spec, variant)
        fleet = Fleet({"": real}, starts(asked), {"": first}, replicas_of(operator), rules(operator.classes()))
        setup = Setup(engine, asked.start_s, operator.spec.scaling.min_replicas, most, first)
        run = Run(setup, law, fleet)
        befall(run, asked.fortune, (), asked.seed)
        outcome = run.through(watched(workload, operator, progress))
        dollars = usd_of(operator, variant.name, outcome.counts_s.get("", {}))
        return {
            "law": name,
            "kind": variant.name,
            "requests": requests_of(outcome),
            "objectives": [row for known, spec in sorted(operator.classes().items()) for row in objectives(known, spec, outcome)],
            "replicas": {"mean": round(outcome.replicas_mean, 4), "hours": round(outcome.replica_s / 3600.0, 4)},
            "usd": None if dollars is None else round(dollars, 4),
        }
    finally:
        operator.close()


def _most(spec: InferencePoolSpec, variant: Variant) -> int:
    """Replicas that the pool may have of this variant alone: its own maximum, as far as its limits allow it."""
    limits, counts = spec.capacity.nodes.limits, range(1, spec.scaling.max_replicas + 1)
    return max((count for count in counts if bill(spec, variant, count).within(limits)), default=0)


def _objective(classes: dict[str, BatchClassSpec], task: Task, output_tokens: float) -> Objective:
    """The strictest that any class is promised; an objective of the whole answer as one of each token. An embedding comes all at once."""
    first_s, per_token_s = inf, inf
    for spec in classes.values():
        for promise in promises(spec):
            match promise.metric:
                case "timeToFirstToken":
                    first_s = min(first_s, promise.target_s)
                case "interTokenLatency":
                    per_token_s = min(per_token_s, promise.target_s)
                case "endToEnd" if task is Task.EMBEDDINGS:
                    first_s = min(first_s, promise.target_s)
                case "endToEnd":
                    per_token_s = min(per_token_s, promise.target_s / output_tokens)
    # A law that divides by an objective needs one.
    return Objective(first_s if isfinite(first_s) else 1e6, per_token_s if isfinite(per_token_s) else 1e6)

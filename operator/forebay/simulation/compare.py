"""The same workload under a peer's law, as it is shipped, or under the bound."""

from __future__ import annotations

from contextlib import closing
from math import inf, isfinite

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import Task
from forebay.planning.target import promises
from forebay.runtime.errors import UsageError
from forebay.simulation.beside import Again, Beside
from forebay.simulation.bound import searched
from forebay.simulation.figures import Document
from forebay.simulation.laws.registry import CLAIRVOYANT, Known, shipped
from forebay.simulation.laws.static import Static
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.score import Objective
from forebay.simulation.study import Asked, has_classes


def compared(asked: Asked, name: str, again: Again, means: tuple[float, float]) -> Document:
    """What the law came to. `means` are the tokens of a request, which some laws are told, as they are told the profile. An embedding
    has the one output token of its answer there, as in what laws measure (laws/measured.py).

    Raises:
        UsageError: there is no such law, or the pool may not have as many replicas.
        ForebayError: as for a study.
    """
    with closing(SimulatedOperator(asked.objects, asked.namespace, asked.pool, asked.interval_s)) as operator:
        has_classes(operator, asked)
        beside = Beside(asked, operator, again)
        if name == CLAIRVOYANT:
            return searched(beside)
        outputs = max(1.0, means[1])
        objective = _objective(operator.classes(), beside.declared.task, outputs)
        law, first = shipped(name, Known(beside.declared, objective, means[0], outputs)), beside.least
        if isinstance(law, Static):
            first = law.replicas
            if first > beside.most:
                may = f"pool {asked.namespace}/{asked.pool} may have {beside.most} replicas, by maxReplicas and nodes.limits"
                raise UsageError(f"{name}: {may}")
        return beside.row(name, beside.run(name, law, first))


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

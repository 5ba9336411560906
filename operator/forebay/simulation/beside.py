"""A pool under another law than ours: one kind of replica, on-demand, of the pool's first profile, within its bounds and limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from forebay.api.inference_pool import InferencePoolSpec
from forebay.planning.limits import bill
from forebay.planning.snapshot import ON_DEMAND
from forebay.planning.variants import Variant, engine_profile
from forebay.simulation.figures import Document, objectives, requests_of, usd_of
from forebay.simulation.fleet import Fleet
from forebay.simulation.fortune import befall
from forebay.simulation.law import Law
from forebay.simulation.operator import SimulatedOperator
from forebay.simulation.outcome import Outcome
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup
from forebay.simulation.study import Asked, engine_of, replicas_of, rules, starts, watched

Tell = Callable[[float, int], None]
Again = Callable[[str], AbstractContextManager[tuple[Iterable[Request], Tell]]]
"""The workload from its beginning, for what is named, and who hears how far that is: the virtual time and the number of requests."""


class Beside:
    """One pool and workload, for as many runs as are wanted; each begins anew."""

    def __init__(self, asked: Asked, operator: SimulatedOperator, again: Again) -> None:
        self.asked, self.operator, self.again = asked, operator, again
        self.variant = next(v for v in operator.variants().values() if v.capacity_type == ON_DEMAND and v.profile is not None)
        assert self.variant.profile is not None
        self.declared = engine_profile(operator.spec, self.variant.profile)
        self.real = engine_of(asked, operator.spec, self.variant)
        self.least, self.most = operator.spec.scaling.min_replicas, _most(operator.spec, self.variant)

    def run(self, what: str, law: Law, first: int) -> Outcome:
        """What becomes of the workload under a law that begins with so many replicas."""
        fleet = Fleet({"": self.real}, starts(self.asked), {"": first}, replicas_of(self.operator), rules(self.operator.classes()))
        run = Run(Setup(self.declared, self.asked.start_s, self.least, self.most, first), law, fleet)
        befall(run, self.asked.fortune, (), self.asked.seed)
        with self.again(what) as (workload, tell):
            return run.through(watched(workload, self.operator, tell))

    def row(self, name: str, outcome: Outcome) -> Document:
        """Its figures."""
        dollars = usd_of(self.operator, self.variant.name, outcome.counts_s.get("", {}))
        classes = sorted(self.operator.classes().items())
        return {
            "law": name,
            "bound": False,
            "kind": self.variant.name,
            "requests": requests_of(outcome),
            "objectives": [row for known, spec in classes for row in objectives(known, spec, outcome)],
            "replicas": {"mean": round(outcome.replicas_mean, 4), "hours": round(outcome.replica_s / 3600.0, 4)},
            "usd": None if dollars is None else round(dollars, 4),
        }


def _most(spec: InferencePoolSpec, variant: Variant) -> int:
    """Replicas that the pool may have of this variant alone: its own maximum, as far as its limits allow it."""
    limits, counts = spec.capacity.nodes.limits, range(1, spec.scaling.max_replicas + 1)
    return max((count for count in counts if bill(spec, variant, count).within(limits)), default=0)

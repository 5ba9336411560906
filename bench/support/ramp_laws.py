"""The laws that take part in the ramp, with the settings that tuning may choose from. The first of each is as shipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from bench.support.comparison import Settings, Workload
from forebay.api.batch_class import BatchClassSpec
from forebay.planning.work import EngineProfile
from forebay.simulation.law import Law
from forebay.simulation.laws.behavior import Rule
from forebay.simulation.laws.capacity import most_rps
from forebay.simulation.laws.clairvoyant import Clairvoyant, Foresight
from forebay.simulation.laws.dynamo import Constant, Dynamo, Kalman
from forebay.simulation.laws.forebay import Forebay, pool_of
from forebay.simulation.laws.hpa import Hpa
from forebay.simulation.laws.kpa import Kpa
from forebay.simulation.laws.llmd import Llmd
from forebay.simulation.laws.sageserve import SageServe
from forebay.simulation.laws.static import Static
from forebay.simulation.laws.wva import Wva
from forebay.simulation.run import Setup
from forebay.simulation.score import Objective


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean request, tokens, and how many of them in flight a replica is taken for full with: grids of concurrency are shares of it."""

    inputs: float
    outputs: float
    full: float


@dataclass(frozen=True, slots=True)
class Engine:
    """A replica: its profile, GPUs, and what its cache holds, tokens."""

    profile: EngineProfile
    gpus: int
    cache_tokens: float

    def holding(self, mean: Mean) -> Engine:
        """The same with a cache for as many whole requests as it has places."""
        return replace(self, cache_tokens=self.profile.max_concurrency * (mean.inputs + mean.outputs))


MINUTE_S = 60.0
"""What the bound looks at as one: by seconds, chance would ask for replicas."""

CLAIRVOYANT_RPS = (1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1)
"""From what holds with ease to what misses: with 2 requests/s a replica has more than it can do."""

RAMP = Mean(4000.0, 1000.0, 100.0)


def laws(engine: Engine, setup: Setup, objective: Objective, mean: Mean = RAMP) -> dict[str, Settings]:
    """Every law that answers to what it sees, by name."""
    return {
        "forebay": _forebay(engine, setup, objective, mean),
        "llmd": _llmd(engine, objective),
        "hpa": _hpa(mean),
        "kpa": _kpa(mean),
        "wva": _wva(engine),
        "dynamo": _dynamo(engine, objective),
        "sageserve": _sageserve(engine, objective, mean),
        "static": {f"{n} replicas": blind(partial(Static, n)) for n in range(setup.max_replicas, setup.min_replicas - 1, -1)},
    }


def clairvoyants(setup: Setup) -> Settings:
    """The bound, over what one replica takes, requests/s."""
    return {f"{rps:g} rps a replica": partial(_clairvoyant, rps, setup.start_s) for rps in CLAIRVOYANT_RPS}


def blind(make: Callable[[], Law]) -> Callable[[Workload], Law]:
    """A setting of a law that does not know the workload."""
    return lambda _: make()


def _clairvoyant(rps: float, start_s: float, workload: Workload) -> Law:
    return Clairvoyant(Foresight(MINUTE_S, ((at, 1.0) for at, _, _ in workload)).needs(rps), MINUTE_S, start_s)


def _forebay(engine: Engine, setup: Setup, objective: Objective, mean: Mean) -> Settings:
    def law(quantile: float, stabilization_s: int) -> Law:
        scale_down = {"stabilization": f"{stabilization_s}s"}
        pool = pool_of(engine.profile, min_replicas=setup.min_replicas, max_replicas=setup.max_replicas, scaleDown=scale_down)
        return Forebay(pool, promised(objective, quantile, mean.outputs), setup.start_s)

    grid = [(0.95, 300), (0.95, 120), (0.95, 180), (0.95, 240), (0.99, 240)]
    return {f"p{100 * q:g}, stabilization {s} s": blind(partial(law, q, s)) for q, s in grid}


def promised(objective: Objective, quantile: float, outputs: float = RAMP.outputs) -> BatchClassSpec:
    """The class that owes this objective.

    The benchmark's time per output token is a mean over an answer, while our objective between tokens is on every gap; the end of an
    answer of this length within as many times the mean says the same.
    """
    end_s = objective.per_token_s * outputs
    objectives = {
        "timeToFirstToken": {"quantile": quantile, "target": f"{objective.first_token_s:g}s"},
        "endToEnd": {"quantile": quantile, "target": f"{end_s:g}s"},
    }
    return BatchClassSpec.model_validate({"tier": "Interactive", "objectives": objectives, "queue": {"maxWait": "10m"}})


def _llmd(engine: Engine, objective: Objective) -> Settings:
    bands = ((0.55, 0.40), (0.45, 0.30), (0.50, 0.35), (0.50, 0.45), (0.55, 0.45), (0.60, 0.50), (0.65, 0.50), (0.70, 0.60))
    return {f"up {up:g}, down {down:g}": blind(partial(Llmd, objective, engine.profile, up_at=up, down_at=down)) for up, down in bands}


def _hpa(mean: Mean) -> Settings:
    fast = Rule(120.0, ((1.0, 0, 15.0),))
    shares = [mean.full * share for share in (0.4, 0.5, 0.6, 0.7, 0.8)]
    shipped: dict[str, Callable[[Workload], Law]] = {"5 waiting": blind(Hpa)}
    waiting = {f"{n:g} waiting": blind(partial(Hpa, n)) for n in (0.5, 1.0, 2.0)}
    in_flight = {f"5 waiting or {n:g} in flight": blind(partial(Hpa, 5.0, n)) for n in shares}
    quick = {f"5 waiting or {n:g} in flight, down after 120 s": blind(partial(Hpa, 5.0, n, down=fast)) for n in shares[:4]}
    return shipped | waiting | in_flight | quick


def _kpa(mean: Mean) -> Settings:
    targets = [mean.full * share for share in (0.5, 0.65, 0.8, 0.9)]
    grid = [(100.0, 60.0), *product(targets, (60.0, 180.0, 300.0)), (100.0, 180.0)]
    return {f"target {t:g}, window {s:g} s": blind(partial(Kpa, t, stable_s=s)) for t, s in grid}


def _wva(engine: Engine) -> Settings:
    grid = [(0.85, 0.70, 60.0), *product((0.5, 0.65, 0.85), (0.35, 0.5, 0.7), (15.0, 60.0))]
    return {
        f"up {up:g}, down {down:g}, every {s:g} s": blind(
            partial(Wva, engine.cache_tokens, sequences=engine.profile.max_concurrency, up_at=up, down_at=down, interval_s=s)
        )
        for up, down, s in grid
        if down < up
    }


def _dynamo(engine: Engine, objective: Objective) -> Settings:
    def law(constant: bool, adjustment_s: float, share: float) -> Law:
        stricter = Objective(objective.first_token_s * share, objective.per_token_s * share)
        predictor = Constant() if constant else Kalman()
        return Dynamo(engine.profile, stricter, engine.cache_tokens, predictor, adjustment_s=adjustment_s)

    grid = [(False, 180.0, 1.0), *product((False, True), (60.0, 180.0), (0.4, 0.5, 0.6))]
    return {f"{'constant' if c else 'Kalman'}, every {s:g} s, {x:g} of the objective": blind(partial(law, c, s, x)) for c, s, x in grid}


def _sageserve(engine: Engine, objective: Objective, mean: Mean) -> Settings:
    replica_rps = most_rps(engine.profile, mean.inputs, mean.outputs, objective)
    grid = [
        (0.5, 0.25, 155.0),
        *product((0.4, 0.5), (0.15, 0.25, 0.35), (30.0, 100.0)),
    ]
    return {
        f"up {up:g}, down {down:g}, cooldown {s:g} s": blind(
            partial(SageServe, replica_rps, engine.cache_tokens, up_at=up, down_at=down, up_cooldown_s=s)
        )
        for up, down, s in grid
    }

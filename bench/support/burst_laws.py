"""The laws of the ramp on bursts: the same settings as shipped, and to choose from also ones that leave more room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

from bench.support.comparison import Settings, Workload
from bench.support.ramp_laws import Engine, Mean, blind, laws
from forebay.api.batch_class import BatchClassSpec
from forebay.planning.work import EngineProfile
from forebay.simulation.law import Law
from forebay.simulation.laws.behavior import Rule
from forebay.simulation.laws.capacity import full_s
from forebay.simulation.laws.clairvoyant import Clairvoyant, Foresight
from forebay.simulation.laws.forebay import Forebay, pool_of
from forebay.simulation.laws.hpa import Hpa
from forebay.simulation.laws.kpa import Kpa
from forebay.simulation.laws.llmd import Llmd
from forebay.simulation.laws.sageserve import SageServe
from forebay.simulation.laws.wva import Wva
from forebay.simulation.run import Setup
from forebay.simulation.score import Objective

QUEUE_ONLY = "hpa queue only"
"""A HorizontalPodAutoscaler whose second trigger is left out: the queue alone drives it."""


def burst_laws(engine: Engine, setup: Setup, objective: Objective, mean: Mean) -> dict[str, Settings]:
    """Every law that answers to what it sees, by name; the first setting of each is as shipped."""
    known = laws(engine, setup, objective, mean)
    queue = {name: make for name, make in known["hpa"].items() if "in flight" not in name} | _queue()
    return {
        "forebay": _forebay(engine, setup, objective),
        "hpa": known["hpa"] | queue | _in_flight(mean),
        QUEUE_ONLY: queue,
        "kpa": known["kpa"] | {f"target {t:g}, window {s:g} s": blind(partial(Kpa, t, stable_s=s)) for t, s in _kpa(mean)},
        "llmd": known["llmd"]
        | {f"up {u:g}, down {d:g}": blind(partial(Llmd, objective, engine.profile, up_at=u, down_at=d)) for u, d in _BANDS},
        "wva": known["wva"] | _wva(engine),
        "dynamo": known["dynamo"],
        "sageserve": known["sageserve"] | _sageserve(engine, mean),
        "static": known["static"],
    }


def clairvoyants(profile: EngineProfile, start_s: float) -> Settings:
    """The bound, over the share of its time that a replica is given work for, within bins of so many seconds."""

    def law(share: float, bin_s: float, workload: Workload) -> Law:
        ahead = Foresight(bin_s, ((at, full_s(profile, inputs, outputs)) for at, inputs, outputs in workload))
        return Clairvoyant(ahead.needs(share), bin_s, start_s)

    grid = product((0.2, 0.35, 0.5, 0.7, 0.9, 1.2), (15.0, 60.0))
    return {f"{share:.0%} of a replica, by {bin_s:g} s": partial(law, share, bin_s) for share, bin_s in grid}


def _forebay(engine: Engine, setup: Setup, objective: Objective) -> Settings:
    def law(quantile: float, stabilization_s: int) -> Law:
        scale_down = {"stabilization": f"{stabilization_s}s"}
        pool = pool_of(engine.profile, min_replicas=setup.min_replicas, max_replicas=setup.max_replicas, scaleDown=scale_down)
        return Forebay(pool, promised_each(objective, quantile), setup.start_s)

    grid = [(0.95, 300), (0.95, 120), (0.95, 600), (0.95, 900), (0.99, 300), (0.99, 600), (0.99, 900), (0.9, 300), (0.9, 120)]
    return {f"p{100 * q:g}, stabilization {s} s": blind(partial(law, q, s)) for q, s in grid}


def promised_each(objective: Objective, quantile: float) -> BatchClassSpec:
    """The class that owes this objective, of requests of any length."""
    objectives = {
        "timeToFirstToken": {"quantile": quantile, "target": f"{objective.first_token_s:g}s"},
        "interTokenLatency": {"quantile": quantile, "target": f"{objective.per_token_s:g}s"},
    }
    return BatchClassSpec.model_validate({"tier": "Interactive", "objectives": objectives, "queue": {"maxWait": "10m"}})


def _queue() -> Settings:
    """Thresholds of the queue, and how long a smaller count must have been enough."""
    windows: Sequence[tuple[float, Rule]] = [(s, Rule(s, ((1.0, 0, 15.0),))) for s in (60.0, 600.0)]
    return {f"{n:g} waiting, down after {s:g} s": blind(partial(Hpa, n, down=rule)) for n in (1.0, 5.0) for s, rule in windows}


def _in_flight(mean: Mean) -> Settings:
    found: dict[str, Callable[[Workload], Law]] = {}
    for share, window_s in product((0.1, 0.2, 0.3), (300.0, 900.0)):
        n, rule = mean.full * share, Rule(window_s, ((1.0, 0, 15.0),))
        found[f"5 waiting or {n:g} in flight, down after {window_s:g} s"] = blind(partial(Hpa, 5.0, n, down=rule))
    return found


def _kpa(mean: Mean) -> list[tuple[float, float]]:
    return [(mean.full * share, window_s) for share, window_s in product((0.1, 0.2, 0.3), (60.0, 300.0))]


_BANDS = ((0.30, 0.15), (0.20, 0.10), (0.10, 0.05))


def _wva(engine: Engine) -> Settings:
    def law(up: float, down: float, interval_s: float) -> Law:
        return Wva(engine.cache_tokens, sequences=engine.profile.max_concurrency, up_at=up, down_at=down, interval_s=interval_s)

    grid = product(((0.1, 0.05), (0.2, 0.1), (0.35, 0.2)), (15.0, 60.0))
    return {f"up {up:g}, down {down:g}, every {s:g} s": blind(partial(law, up, down, s)) for (up, down), s in grid}


def _sageserve(engine: Engine, mean: Mean) -> Settings:
    def law(up: float, down: float, cooldown_s: float) -> Law:
        return SageServe(1.0, engine.cache_tokens, up_at=up, down_at=down, up_cooldown_s=cooldown_s)

    grid = product(((0.05, 0.01), (0.1, 0.03), (0.2, 0.1)), (30.0, 100.0))
    return {f"up {up:g}, down {down:g}, cooldown {s:g} s": blind(partial(law, up, down, s)) for (up, down), s in grid}

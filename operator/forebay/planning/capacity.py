"""The model asked the other way round: which rate one replica holds, and how long requests take on a number of replicas."""

from __future__ import annotations

from forebay.planning.queueing import EngineProfile, Load, Metric, Promise, occupancy, work_of
from forebay.planning.sharing import EVEN, Router
from forebay.planning.sizing import CLOSE, Demanded, Infeasible, kind_of, tail_of


def capacity_rps(load_shape: Load, engine: EngineProfile, promises: tuple[Promise, ...]) -> float:
    """The largest rate, requests/s, at which one replica alone holds all promises for requests of this shape; 0 where it never does."""
    try:
        pool = kind_of((Demanded(load_shape, promises),), engine)
    except Infeasible:
        return 0.0
    low, high = 1e-3 * pool.most_rps, pool.most_rps
    if pool.failure(1, low):
        low, high = 1e-9 * high, low
    while high > low * CLOSE:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if pool.failure(1, middle) else (middle, high)
    return low


def tail_s(load: Load, engine: EngineProfile, metric: Metric, quantile: float, replicas: int, router: Router = EVEN) -> float:
    """The time that `quantile` of requests stay within when `replicas` share this load, seconds; inf where they cannot keep up."""
    work = work_of(load, engine)
    state = occupancy(work, engine, load.requests_per_s, replicas, router, dispersion=load.dispersion)
    return tail_of(state, work, Promise(metric, quantile, 1.0))

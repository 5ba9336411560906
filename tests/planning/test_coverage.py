"""Which quantile of demand is provided for: what the user fixed, else what a miss costs against an idle replica."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.planning.builders import H100, a_class, a_snapshot, a_spec, demand, learned, running

from forebay.planning.coverage import LEAST, MOST, UNPRICED, coverage
from forebay.planning.measured import StepMoments
from forebay.planning.memory import Shape, TunedProfile
from forebay.planning.planner import plan
from forebay.planning.profiles import key, speed
from forebay.planning.snapshot import Snapshot
from forebay.planning.variants import engine_profile, preferred_profile

SHAPE = Shape(input_tokens=200, output_tokens=100)
MEMORY = learned([2.0 + 0.2 * (minute % 7) * (minute / 30) for minute in range(120)])


def a_pool(
    miss_usd_per_1k: float | None, usd_per_hour: dict[str, float] | None = None, fixed: float | None = None, **capacity: object
) -> Snapshot:
    objectives: dict[str, object] = {"timeToFirstToken": {"quantile": 0.95, "target": "1s"}}
    if miss_usd_per_1k is not None:
        objectives["missUsdPer1k"] = miss_usd_per_1k
    accelerator = {**H100, "usdPerHour": {"onDemand": 55, "spot": 20} if usd_per_hour is None else usd_per_hour}
    forecast = {} if fixed is None else {"coverage": fixed}
    spec = a_spec(scaling={"minReplicas": 1, "maxReplicas": 50, "forecast": forecast}, capacity={"accelerators": [accelerator], **capacity})
    return a_snapshot(spec=spec, classes={"interactive": a_class(objectives=objectives)}, demand=demand(8.0), memory=MEMORY, **running(2))


def share(pool: Snapshot) -> float:
    return coverage(pool, "interactive", SHAPE).share


def test_what_the_user_fixed_wins() -> None:
    assert share(a_pool(100.0, fixed=0.8)) == 0.8


@pytest.mark.parametrize(
    "pool", [a_pool(None), a_pool(5.0, {}), a_pool(5.0, {"spot": 20})], ids=["no miss", "no price", "no on-demand price"]
)
def test_without_a_price_it_is_the_usual_one(pool: Snapshot) -> None:
    assert coverage(pool, "interactive", SHAPE) == coverage(a_pool(None), "interactive", SHAPE)
    assert share(pool) == UNPRICED


def test_a_replica_too_few_costs_as_much_as_one_too_many_at_the_quantile() -> None:
    """8 GPUs for $55: $6.875 a replica. At 90 % of its throughput a replica answers 6.21 requests/s, each at $0.002: $44.7 an hour."""
    found = coverage(a_pool(2.0), "interactive", SHAPE)
    assert found.share == pytest.approx(44.7 / (44.7 + 6.875), abs=0.001)
    assert "too few would cost $" in found.why and "one too many $6.88" in found.why


def test_replicas_that_are_slower_than_declared_miss_less_each() -> None:
    """A profile that promises three times too much: a replica too few costs a third, and the quantile is another."""
    pool = a_pool(2.0)
    (choice,) = preferred_profile(pool.spec)
    declared = engine_profile(pool.spec, choice[1])
    slow = TunedProfile(
        base_s=3 * declared.base_s,
        per_token_s=3 * declared.per_token_s,
        per_kv_token_s=3 * declared.per_kv_token_s,
        covariance=((1e-6, 0.0, 0.0), (0.0, 1e-6, 0.0), (0.0, 0.0, 1e-6)),
        moments=StepMoments(count=500.0),
        at=pool.now,
        looked_at=pool.now,
    )
    tuned = pool.model_copy(update={"memory": pool.memory.model_copy(update={"profiles": {key(pool.spec, choice): slow}})})
    assert speed(tuned, choice).engine.base_s == pytest.approx(3 * declared.base_s)
    found = coverage(tuned, "interactive", SHAPE)
    assert found.share == pytest.approx(44.7 / 3 / (44.7 / 3 + 6.875), abs=0.002)


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0.01, 1e5))
def test_dearer_misses_provide_for_more_and_dearer_replicas_for_less(miss: float, further: float, price: float) -> None:
    low, high = share(a_pool(miss, {"onDemand": price})), share(a_pool(miss + further, {"onDemand": price}))
    assert LEAST <= low <= high <= MOST
    assert share(a_pool(miss, {"onDemand": price + further})) <= low


def test_the_next_replica_of_a_pool_on_spot_costs_what_spot_costs() -> None:
    on_demand, spot = share(a_pool(1.0)), share(a_pool(1.0, spot={"enabled": True}))
    assert spot > on_demand


def test_the_plan_provides_for_what_misses_cost_and_says_what_they_do() -> None:
    cheap, dear = plan(a_pool(0.1)), plan(a_pool(1000.0))
    low, high = (d.status.demand.forecast[0].input_tokens_per_second for d in (cheap, dear))
    assert low is not None and high is not None and low.p50 == high.p50 and low.upper < high.upper
    assert dear.status.demand.forecast[0].coverage == MOST and cheap.status.demand.forecast[0].coverage < 0.6
    assert "one too many $6.88" in " ".join(dear.why)

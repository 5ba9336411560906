"""The laws of two weeks: those of the ramp with all that they may be set to, for the requests of a trace; and the bound."""

from __future__ import annotations

from functools import partial

from bench.ramp import OBJECTIVE, PROFILE, load_engine
from bench.support.burst_laws import promised_each
from bench.support.comparison import Settings
from bench.support.ramp_laws import MINUTE_S, RAMP, Engine, Mean, blind, laws, promised
from bench.support.recorded_bursts import full_with
from bench.support.trace_load import Trace
from forebay.runtime.errors import ForebayError
from forebay.simulation.law import Law
from forebay.simulation.laws.capacity import full_s, most_rps
from forebay.simulation.laws.clairvoyant import Clairvoyant, Foresight
from forebay.simulation.laws.forebay import Forebay, pool_of
from forebay.simulation.laws.static import Static
from forebay.simulation.run import Setup

BOUND = "clairvoyant"
MOST_REPLICAS = 40
STATIC = (6, 5, 4, 3, 7, 8)

SHARES = [k / 80 for k in range(24, 113)]
"""What a replica of the bound is given, as a share of the most that the means of its latencies allow: from what holds to what does not."""


def engine_for(mean: Mean) -> Engine:
    """The ramp's; with requests of other lengths its cache holds as many whole ones as it has places."""
    engine = load_engine(PROFILE)
    return engine if mean == RAMP else engine.holding(mean)


def mean_of(trace: Trace) -> Mean:
    """A mean request of the trace."""
    inputs, outputs = trace.lengths.mean
    if (inputs, outputs) == (RAMP.inputs, RAMP.outputs):
        return RAMP
    engine = load_engine(PROFILE).profile
    if most_rps(engine, inputs, outputs, OBJECTIVE) <= 0.0:
        what = f"{inputs:.0f} tokens in and {outputs:.0f} out"
        raise ForebayError(f"a mean request has {what}, and misses its objective on a replica of its own: give other lengths")
    return Mean(inputs, outputs, full_with(engine, inputs, outputs, OBJECTIVE))


def setup_for(engine: Engine, lead_s: float) -> Setup:
    """What all laws have in common."""
    return Setup(engine.profile, lead_s, 1, MOST_REPLICAS, first_replicas=3, sample_s=5.0)


def trace_laws(mean: Mean, lead_s: float) -> dict[str, Settings]:
    """Every law that answers to what it sees, by name, its settings by what distinguishes them; the first is as shipped."""
    engine = engine_for(mean)
    every = laws(engine, setup_for(engine, lead_s), OBJECTIVE, mean)
    static: Settings = {f"{n} replicas": blind(partial(Static, n)) for n in STATIC}
    return every | {"forebay": _forebay(engine, lead_s, mean), "static": static}


def _forebay(engine: Engine, lead_s: float, mean: Mean) -> Settings:
    """As shipped: what there is to choose it chooses by itself."""
    pool = pool_of(engine.profile, min_replicas=1, max_replicas=MOST_REPLICAS)
    owed = promised(OBJECTIVE, 0.95) if mean == RAMP else promised_each(OBJECTIVE, 0.95)
    return {"as shipped": blind(partial(Forebay, pool, owed, lead_s))}


def bound(trace: Trace, share: float, lead_s: float, since_s: float, until_s: float) -> Law:
    """A clairvoyant whose replicas are given this share of what they can do, in mean requests by the minute."""
    mean = mean_of(trace)
    engine = engine_for(mean).profile
    one_s = full_s(engine, mean.inputs, mean.outputs)
    requests = trace.between(since_s, until_s)
    ahead = Foresight(MINUTE_S, ((at, full_s(engine, inputs, outputs) / one_s) for at, inputs, outputs in requests))
    return Clairvoyant(ahead.needs(share * most_rps(engine, mean.inputs, mean.outputs, OBJECTIVE)), MINUTE_S, lead_s)


def given(mean: Mean, share: float) -> str:
    """That setting, for people."""
    return f"{share * most_rps(engine_for(mean).profile, mean.inputs, mean.outputs, OBJECTIVE):.3g} rps a replica"

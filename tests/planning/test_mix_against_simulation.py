"""Mixes that the model says hold, tried on simulated replicas of two speeds behind the gateway's own way of routing."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from forebay.planning.mix import Fleet, kind
from forebay.planning.sizing import Demanded
from forebay.planning.work import EngineProfile, Load, Promise
from forebay.simulation.fleet import Fleet as Replicas
from forebay.simulation.law import Observation
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup

FAST = EngineProfile(0.02, 6.2738e-05, 2.5e-08, 136)
SLOW = EngineProfile(0.04, 1.25476e-04, 5e-08, 136)
INPUTS, OUTPUTS, REQUESTS = 4000, 500, 4000
PROMISES = (Promise("timeToFirstToken", 0.95, 2.0), Promise("endToEnd", 0.95, 45.0))


class Still:
    """Changes nothing."""

    interval_s = 1e9

    def decide(self, seen: Observation) -> Mapping[str, int]:
        return {}


@pytest.mark.parametrize("counts", [(1, 1), (2, 3), (1, 5), (4, 1)])
def test_what_a_mix_is_said_to_hold_it_holds(counts: tuple[int, int]) -> None:
    """At the largest rate that the model allows; and not at a quarter more, or the model would be worth little."""
    classes = (Demanded(Load(1.0, INPUTS, OUTPUTS), PROMISES),)
    fleet = Fleet(classes, (kind("fast", classes, FAST), kind("slow", classes, SLOW)))
    rate = fleet.largest_rate(counts)
    first, end = _shares(counts, 0.98 * rate)
    assert first >= 0.94 and end >= 0.94
    assert min(_shares(counts, 1.25 * rate)) < 0.95


def _shares(counts: tuple[int, int], rate: float) -> tuple[float, float]:
    """Of requests within each promise, after a warm-up."""
    chance, at, requests = random.Random(7), 0.0, []
    for _ in range(REQUESTS):
        at += chance.expovariate(rate)
        requests.append(Request(at, INPUTS, OUTPUTS))
    replicas = Replicas({"fast": FAST, "slow": SLOW}, lambda _: 1.0, dict(zip(("fast", "slow"), counts, strict=True)))
    chance.shuffle(replicas.serving)
    outcome = Run(Setup(FAST, 1.0, 0, 0, 0), Still(), replicas).through(requests)
    settled = [i for i, arrived in enumerate(outcome.arrived) if arrived > 0.2 * at]
    first = sum(outcome.first_token_s[i] <= PROMISES[0].target_s for i in settled) / len(settled)
    end = sum(outcome.end_to_end_s[i] <= PROMISES[1].target_s for i in settled) / len(settled)
    return first, end

"""What breaks autoscalers, in simulated fleets: each test is named after a failure that users of others report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf

import pytest

from forebay.api.batch_class import BatchClassSpec
from forebay.api.inference_pool import Tuning
from forebay.planning.measured import Demand
from forebay.planning.memory import Memory
from forebay.planning.snapshot import Snapshot
from forebay.planning.work import EngineProfile
from forebay.simulation.arrivals import renewal, stages
from forebay.simulation.fleet import Fleet
from forebay.simulation.law import Observation
from forebay.simulation.laws.forebay import CLASS, Forebay, pool_of
from forebay.simulation.outcome import Outcome
from forebay.simulation.request import Request
from forebay.simulation.run import Run, Setup

ENGINE = EngineProfile(0.02, 0.00005, 2e-7, 32)
"""One replica holds about 4 requests/s of 300 tokens in and 150 out."""
INPUTS, OUTPUTS = 300, 150
START_S = 100.0
WINDOW_S = 300.0
CLASS_SPEC = BatchClassSpec.model_validate(
    {"tier": "Interactive", "objectives": {"timeToFirstToken": {"quantile": 0.95, "target": "2s"}}, "queue": {"maxWait": "5m"}}
)


class Watched:
    """A law, with what it asked for and what it saw written down; `seen_as` may change what it sees."""

    def __init__(self, law: Forebay, seen_as: Callable[[Observation], Observation] = lambda seen: seen) -> None:
        self.law, self._seen_as = law, seen_as
        self.interval_s = law.interval_s
        self.asked: list[tuple[float, int, int]] = []

    def decide(self, seen: Observation) -> int:
        wanted = self.law.decide(self._seen_as(seen))
        self.asked.append((seen.now, seen.ready, wanted))
        return wanted

    def between(self, since_s: float, until_s: float) -> list[int]:
        return [wanted for at, _, wanted in self.asked if since_s <= at < until_s]


def a_law(profile: EngineProfile = ENGINE, most: int = 40, least: int = 1, **scaling: object) -> Forebay:
    return Forebay(pool_of(profile, min_replicas=least, max_replicas=most, **scaling), CLASS_SPEC, START_S)


def requests(plan: Sequence[tuple[float, float]], seed: int = 5) -> Iterator[Request]:
    return (Request(at, INPUTS, OUTPUTS, CLASS) for at in renewal(stages(plan), seed))


def simulated(law: Watched, workload: Iterable[Request], first: int = 1, start_s: Callable[[str], float] | None = None) -> Outcome:
    setup = Setup(ENGINE, START_S, 1, 40, first, by_class=True)
    fleet = Fleet({"": ENGINE}, start_s or (lambda _: START_S), {"": first})
    return Run(setup, law, fleet).through(workload)


def within(outcome: Outcome, since_s: float, target_s: float = 2.0) -> float:
    firsts = [f for at, f in zip(outcome.arrived, outcome.first_token_s, strict=True) if at >= since_s]
    return sum(f <= target_s for f in firsts) / len(firsts)


def test_long_requests_from_a_cold_start_are_provided_for_before_one_is_answered() -> None:
    """An HPA on the queue orders at once; not so who waits for the first answers, which a crowded replica gives late."""
    law = Watched(a_law())
    long = (Request(at, 8192, 256, CLASS) for at in renewal(stages([(3.0, 120.0)]), 5))
    outcome = simulated(law, long)
    assert law.between(15, 29)[-1] >= 3
    ended = min(at + took for at, took in zip(outcome.arrived, outcome.end_to_end_s, strict=True))
    assert ended > 29, "by then nothing was answered"


def test_cascade_while_pending() -> None:
    """AIBrix #2670: 2 → 4 → 8 → 16 while the first ones are still starting."""
    law = Watched(a_law())
    simulated(law, requests([(2.0, 300.0), (8.0, 900.0)]))
    settled = max(law.between(900, 1200))
    assert max(law.between(300, 900)) <= 2 * settled, law.asked


def test_collapse_when_a_panic_ends_before_pods_are_ready() -> None:
    """Knative #3153, #9121: the burst is over before anything started, and all is given up again while the backlog is there."""
    law = Watched(a_law())
    outcome = simulated(law, requests([(1.0, 300.0), (20.0, 60.0), (4.0, 900.0)]))
    during = law.between(330, 330 + START_S)
    assert max(during) > 2 and min(law.between(360, 360 + START_S)) >= max(law.between(330, 361)) - 1
    assert within(outcome, 800.0) > 0.95


def test_demand_times_50_in_a_minute() -> None:
    law = Watched(a_law(most=40))
    outcome = simulated(law, requests([(0.4, 300.0), (20.0, 1200.0)]))
    assert max(law.between(300, 400)) >= 6
    assert within(outcome, 900.0) > 0.95 and outcome.lost == 0


@pytest.mark.parametrize("wrong_by", [3.0, 1 / 3.0])
def test_a_profile_wrong_by_3(wrong_by: float) -> None:
    """It converges to what replicas do; until then the floor of what is measured holds the objective where it promises too much."""
    wrong = replace(
        ENGINE, base_s=ENGINE.base_s / wrong_by, per_token_s=ENGINE.per_token_s / wrong_by, per_kv_token_s=ENGINE.per_kv_token_s / wrong_by
    )
    law = Watched(a_law(wrong))
    outcome = simulated(law, requests([(2.0, 300.0), (12.0, 2400.0)]))
    assert within(outcome, 1500.0) > 0.95, law.asked[-10:]
    (tuned,) = law.law._memory.profiles.values()
    learned = tuned.base_s, tuned.per_token_s, tuned.per_kv_token_s
    assert learned == pytest.approx((ENGINE.base_s, ENGINE.per_token_s, ENGINE.per_kv_token_s), rel=0.05)
    right = Watched(a_law())
    simulated(right, requests([(2.0, 300.0), (12.0, 2400.0)]))
    assert law.between(600, 2700) == right.between(600, 2700), "it is sized as with the profile that is right"


def test_a_profile_wrong_by_3_that_is_to_be_kept() -> None:
    """Where it may not be tuned, what saturated replicas were seen to finish is the floor."""
    wrong = replace(ENGINE, base_s=ENGINE.base_s / 3, per_token_s=ENGINE.per_token_s / 3, per_kv_token_s=ENGINE.per_kv_token_s / 3)
    spec = pool_of(wrong, min_replicas=1, max_replicas=40)
    kept = spec.model_copy(update={"profiles": [spec.profiles[0].model_copy(update={"tuning": Tuning.DISABLED})]})
    law = Watched(Forebay(kept, CLASS_SPEC, START_S))
    outcome = simulated(law, requests([(2.0, 300.0), (12.0, 2400.0)]))
    assert within(outcome, 1500.0) > 0.9 and law.law._memory.profiles == {}


class Restarted(Watched):
    """Nobody decides for a while; then another process does, with what was saved of the memory or with none."""

    def __init__(self, gone_s: float, back_s: float, remembers: bool) -> None:
        super().__init__(a_law())
        self._gone_s, self._back_s, self._remembers = gone_s, back_s, remembers

    def decide(self, seen: Observation) -> int:
        if self._gone_s <= seen.now < self._back_s:
            return seen.replicas
        if seen.now == self._back_s:
            memory, self.law = self.law._memory, a_law()
            self.law._memory = memory if self._remembers else Memory()
        return super().decide(seen)


@pytest.mark.parametrize("remembers", [True, False])
def test_operator_restart_mid_scale(remembers: bool) -> None:
    """Knative #4795: while replicas start none is given up and none asked for twice, though nothing of before is known."""
    workload = list(requests([(2.0, 300.0), (12.0, 900.0)]))
    undisturbed, law = Watched(a_law()), Restarted(345.0, 375.0, remembers)
    simulated(undisturbed, workload)
    simulated(law, workload)
    before = law.between(300, 345)[-1]
    assert before > law.between(0, 300)[-1], "it goes while they are pending"
    assert min(law.between(375, 1200)) >= before
    assert max(law.between(375, 1200)) <= max(undisturbed.between(300, 1200)) + 1


@pytest.mark.parametrize("remembers", [True, False])
def test_operator_restart_shrinks_nothing_for_a_window(remembers: bool) -> None:
    """Nobody looked while the load fell: that less is enough has to be seen for a whole window from now on."""
    law = Restarted(1020.0, 1260.0, remembers)
    simulated(law, requests([(12.0, 900.0), (0.5, 1200.0)]))
    before = law.between(900, 1020)[-1]
    assert min(law.between(1260, 1260 + WINDOW_S)) == before
    assert law.between(1260 + WINDOW_S, 1290 + WINDOW_S)[-1] < before


class Stale(Forebay):
    """From `since_s` on it is shown what was measured last, over and over."""

    def __init__(self, since_s: float) -> None:
        super().__init__(pool_of(ENGINE, min_replicas=1, max_replicas=40), CLASS_SPEC, START_S)
        self._since_s = since_s
        self._last: Demand | None = None

    def _snapshot(self, seen: Observation) -> Snapshot:
        snapshot = super()._snapshot(seen)
        if seen.now < self._since_s:
            self._last = snapshot.demand
        return snapshot.model_copy(update={"demand": self._last})


def test_all_metrics_stale() -> None:
    """The last that was measured would do with less, and is shown for ever: what there is stays, however long."""
    law = Watched(Stale(720.0))
    simulated(law, requests([(8.0, 600.0), (0.2, 1200.0)]))
    usual = Watched(a_law())
    simulated(usual, requests([(8.0, 600.0), (0.2, 1200.0)]))
    before = law.between(500, 600)[-1]
    assert set(law.between(600, 1800)) == {before} and usual.between(600, 1800)[-1] < before


def test_an_empty_load_profile() -> None:
    """AIBrix #1014, #1713: no load was ever seen, and nothing scales at all when it comes."""
    law = Watched(a_law())
    outcome = simulated(law, requests([(0.0001, 900.0), (6.0, 900.0)], seed=2))
    assert set(law.between(0, 900)) == {1} and max(law.between(900, 1800)) > 1
    assert within(outcome, 1500.0) > 0.95


def test_a_pod_stuck_pending() -> None:
    """Dynamo #14251: one replica never starts; the others are not held up by it, and it is not asked for again and again."""
    made = 0

    def start_s(_: str) -> float:
        nonlocal made
        made += 1
        return inf if made == 1 else START_S

    law = Watched(a_law(most=10))
    simulated(law, requests([(2.0, 300.0), (10.0, 1500.0)]), start_s=start_s)
    assert max(wanted for _, _, wanted in law.asked) < 10, law.asked
    assert made < 12
